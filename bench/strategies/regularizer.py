"""Regularization: what is added to the gradients of an update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from bench.errors import StrategyError


@runtime_checkable
class Regularizer(Protocol):
    """The second aspect. A frozen dataclass; its fields go into the strategy's hash.

    passes: FLOPs per parameter and step. anchor: the weights that it pulls toward: those that the update started from,
    those of the newly initialized network, or none.
    """

    passes: ClassVar[int]

    @property
    def anchor(self) -> Literal["start", "fresh"] | None: ...

    def apply(self, parameters: Sequence[Tensor], anchors: Sequence[Tensor]) -> None:
        """Change every parameter's gradient in place. On the clock, once a step, after backward.

        parameters, anchors: same order, same shapes; anchors is empty if `anchor` is None.
        """
        ...


@dataclass(frozen=True)
class NoRegularizer:
    """Nothing beyond the scenario's weight decay."""

    passes: ClassVar[int] = 0

    @property
    def anchor(self) -> None:
        return None

    def apply(self, parameters: Sequence[Tensor], anchors: Sequence[Tensor]) -> None:
        return None


@dataclass(frozen=True)
class L2Init:
    """loss + strength * sum (w - w_0)^2, as grad += 2 * strength * (w - w_0).

    anchor: w_0 is the "start" of the update, or the "fresh" network. Source: Kumar et al. 2023, arXiv 2308.11958.
    """

    strength: float
    anchor: Literal["start", "fresh"] = "start"
    passes: ClassVar[int] = 4  # scale w, add, scale w_0, subtract

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise StrategyError(f"L2Init: strength {self.strength}, expected above 0. Use NoRegularizer() for none.")
        if self.anchor not in ("start", "fresh"):
            raise StrategyError(f"L2Init: anchor {self.anchor!r}, expected 'start' or 'fresh'. Change it.")

    def apply(self, parameters: Sequence[Tensor], anchors: Sequence[Tensor]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        if len(gradients) != len(anchors):
            raise StrategyError(
                f"L2Init: {len(anchors)} anchors for {len(gradients)} gradients. Every parameter needs one."
            )
        with torch.no_grad():
            # All parameters in a few kernels; one by one, each would cost a kernel launch on a GPU.
            torch._foreach_add_(gradients, list(parameters), alpha=2 * self.strength)  # pyright: ignore
            torch._foreach_add_(gradients, list(anchors), alpha=-2 * self.strength)  # pyright: ignore
