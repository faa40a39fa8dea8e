"""Initialization: the weights that an update starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor

from bench.errors import StrategyError

Weights = Mapping[str, Tensor]
ChargeParameters = Callable[[int], None]


@runtime_checkable
class Start(Protocol):
    """The first aspect. A frozen dataclass; its fields go into the strategy's hash."""

    needs_base: ClassVar[bool]

    def weights(self, base: Weights, fresh: Weights, parameters: frozenset[str], charge: ChargeParameters) -> Weights:
        """Return the state dict that the update starts from.

        base: the base model's state dict (empty if needs_base is false). fresh: a newly initialized network's.
        parameters: which keys are parameters; the others are buffers. charge: call it with the number of FLOPs
        spent per parameter. On the clock.
        """
        ...


@dataclass(frozen=True)
class Fresh:
    """New weights, new buffers, from the trial's own seed."""

    needs_base: ClassVar[bool] = False

    def weights(self, base: Weights, fresh: Weights, parameters: frozenset[str], charge: ChargeParameters) -> Weights:
        return fresh


@dataclass(frozen=True)
class Keep:
    """The base model as it is. Optimizer state is new."""

    needs_base: ClassVar[bool] = True

    def weights(self, base: Weights, fresh: Weights, parameters: frozenset[str], charge: ChargeParameters) -> Weights:
        return base


@dataclass(frozen=True)
class ShrinkAndPerturb:
    """w <- shrink * w_base + perturb * w_fresh, with w_fresh a newly initialized network.

    All parameters take part, batch-norm affine ones included. buffers: whose buffers (batch-norm statistics) to start
    from. Source: Ash & Adams 2020, arXiv 1910.08475; the authors' values are 0.4 and 0.1.
    """

    shrink: float
    perturb: float
    buffers: Literal["base", "fresh"] = "base"
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.shrink <= 1 or not 0 <= self.perturb <= 1:
            raise StrategyError(
                f"ShrinkAndPerturb: shrink {self.shrink}, perturb {self.perturb}, expected both in 0..1. Change them."
            )
        if self.buffers not in ("base", "fresh"):
            raise StrategyError(f"ShrinkAndPerturb: buffers {self.buffers!r}, expected 'base' or 'fresh'. Change it.")

    def weights(self, base: Weights, fresh: Weights, parameters: frozenset[str], charge: ChargeParameters) -> Weights:
        charge(3)  # two products and a sum
        kept = base if self.buffers == "base" else fresh
        return {
            key: self.shrink * base[key] + self.perturb * fresh[key] if key in parameters else kept[key] for key in base
        }
