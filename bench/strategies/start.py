"""Initialization: the weights that an update starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from bench.errors import StrategyError
from bench.streams import torch_stream

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


@dataclass(frozen=True)
class ShrinkAndNoise:
    """w <- shrink * w_base + N(0, sigma^2), for the weights and biases of convolutions and linear layers only.

    All other parameters, batch-norm affine ones among them, and all buffers are the base model's. sigma is absolute,
    the same in every layer. A layer counts by the shape of its weight: two dimensions or more. The noise is seeded by
    the fresh network's weights: another for each seed, the same for each strategy, horizon and device.
    Source: the code of DASH (Shin et al. 2024, arXiv 2410.23495), where it is called shrink and perturb, with shrink
    0.3 and sigma 0.01.
    """

    shrink: float
    sigma: float
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.shrink <= 1 or not 0 <= self.sigma <= 1:
            raise StrategyError(
                f"ShrinkAndNoise: shrink {self.shrink}, sigma {self.sigma}, expected both in 0..1. Change them."
            )

    def weights(self, base: Weights, fresh: Weights, parameters: frozenset[str], charge: ChargeParameters) -> Weights:
        charge(3)  # two products and a sum
        changed = _of_linear_maps(base, parameters)
        seed = _seed_of(fresh, changed)
        return {
            key: self.shrink * value + self.sigma * _noise_like(value, torch_stream(seed, "shrink and noise", key))
            if key in changed
            else value
            for key, value in base.items()
        }


def _of_linear_maps(weights: Weights, parameters: frozenset[str]) -> list[str]:
    """Return the keys of the weights and biases of convolutions and linear layers, sorted."""
    layers = [
        key.removesuffix("weight")
        for key in parameters
        if key.rpartition(".")[2] == "weight" and weights[key].ndim >= 2
    ]
    return sorted(f"{layer}{part}" for layer in layers for part in ("weight", "bias") if f"{layer}{part}" in parameters)


def _seed_of(weights: Weights, keys: list[str]) -> int:
    """Return a number that depends on every bit of the weights, but not on their device."""
    content = hashlib.sha256()
    for key in keys:
        content.update(weights[key].detach().cpu().numpy().tobytes())  # in the order of the indices, however it lies
    return int.from_bytes(content.digest()[:8], "big")


def _noise_like(weight: Tensor, stream: Generator) -> Tensor:
    """Draw standard normal numbers on the CPU, where they are the same for every device."""
    return torch.randn(weight.shape, generator=stream, dtype=weight.dtype).to(weight.device)
