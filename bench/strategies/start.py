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
class BeforeDecay:
    """The base model as it was before its learning rate began to fall. Optimizer state is new.

    It needs a base training with a stable phase: a scenario with training.base_decay. In a chain, later updates start from
    what the strategy's own training was before its rate fell.
    """

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


@runtime_checkable
class GradientStart(Start, Protocol):
    """A start that changes the weights once more, by gradients. Its passes over all images are charged."""

    def by_gradients(
        self, weights: Weights, old: Weights, new: Weights, parameters: frozenset[str], charge: ChargeParameters
    ) -> Weights:
        """Return the state dict that the update starts from.

        weights: what `weights` returned. old, new: the loss's mean gradient there, by parameter, over the old and over the new
        images; all without augmentation. The others as for `weights`.
        """
        ...


@dataclass(frozen=True)
class DirectionAwareShrink:
    """Weights shrink the more, the less they point where the loss falls: w <- w * max(floor, cos(w, g)).

    g <- (1 - weight) * g - weight * gradient, from 0, over the mean gradients of the old and then of the new images. One cosine
    for each kernel of a convolution (output and input channel), for each row of a linear layer, and for each bias as a whole.
    All else, batch norm's parameters among it, is the base model's. floor, weight: the authors' lambda and alpha.
    Source: DASH, Shin et al. 2024, arXiv 2410.23495, and its code.
    """

    floor: float = 0.3
    weight: float = 0.3
    needs_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1 or not 0 < self.weight <= 1:
            raise StrategyError(
                f"DirectionAwareShrink: floor {self.floor}, weight {self.weight}, expected in 0..1, weight above 0. Change them."
            )

    def weights(self, base: Weights, fresh: Weights, parameters: frozenset[str], charge: ChargeParameters) -> Weights:
        return base

    def by_gradients(
        self, weights: Weights, old: Weights, new: Weights, parameters: frozenset[str], charge: ChargeParameters
    ) -> Weights:
        charge(10)  # g: 3; the cosine's three products and sums: 6; shrinking: 1
        changed = dict(weights)
        for key in _of_linear_maps(weights, parameters):
            falling = -self.weight * ((1 - self.weight) * old[key] + new[key])
            shape = _vectors(weights[key])
            cosine = torch.cosine_similarity(weights[key].reshape(shape), falling.reshape(shape), dim=-1)
            shrunk = weights[key].reshape(shape) * cosine.clamp(self.floor, 1)[..., None]
            changed[key] = shrunk.reshape(weights[key].shape)
        return changed


def _vectors(weight: Tensor) -> tuple[int, ...]:
    """Return the shape in which the last dimension is what one cosine is taken of."""
    if weight.ndim <= 1:
        return (1, weight.numel())
    return (*weight.shape[: max(1, min(2, weight.ndim - 1))], -1)


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
