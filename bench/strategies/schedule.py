"""Learning-rate schedules: a factor of the scenario's peak rate for every step. Each ends with the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from bench.errors import StrategyError

# Catches slips, such as 12 for 1.2.
_HIGHEST_PEAK = 10


@runtime_checkable
class Schedule(Protocol):
    """The fourth aspect. A frozen dataclass; its fields go into the strategy's hash."""

    def factors(self, steps: int) -> list[float]:
        """Return one factor, 0 or more, for each of `steps` optimizer steps."""
        ...


@dataclass(frozen=True)
class OneCycle:
    """Linear from near 0 to the peak over the first `warmup` of the steps, then linear to near 0 (Smith 2018).

    peak: the highest factor; above 1, the rate exceeds the scenario's.
    """

    warmup: float
    peak: float = 1.0

    def __post_init__(self) -> None:
        _check_share("OneCycle", "warmup", self.warmup)
        _check_peak("OneCycle", self.peak)

    def factors(self, steps: int) -> list[float]:
        rising = round(self.warmup * steps)
        falling = steps - rising
        up = [self.peak * (step + 1) / rising for step in range(rising)]
        return up + [self.peak * (falling - step) / (falling + 1) for step in range(falling)]


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over the first `warmup` of the steps, then half a cosine to near 0 (Loshchilov & Hutter 2017)."""

    warmup: float = 0.0
    peak: float = 1.0

    def __post_init__(self) -> None:
        _check_share("Cosine", "warmup", self.warmup)
        _check_peak("Cosine", self.peak)

    def factors(self, steps: int) -> list[float]:
        rising = round(self.warmup * steps)
        falling = steps - rising
        up = [self.peak * (step + 1) / rising for step in range(rising)]
        return up + [self.peak * (1 + math.cos(math.pi * step / falling)) / 2 for step in range(falling)]


@dataclass(frozen=True)
class Linear:
    """Linear from the peak to near 0."""

    peak: float = 1.0

    def __post_init__(self) -> None:
        _check_peak("Linear", self.peak)

    def factors(self, steps: int) -> list[float]:
        return [self.peak * (steps - step) / steps for step in range(steps)]


@dataclass(frozen=True)
class MultiStep:
    """The peak, multiplied by `gamma` at each milestone; milestones are shares of the horizon."""

    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)
    gamma: float = 0.2
    peak: float = 1.0

    def __post_init__(self) -> None:
        _check_share("MultiStep", "gamma", self.gamma)
        _check_peak("MultiStep", self.peak)
        for milestone in self.milestones:
            _check_share("MultiStep", "milestones", milestone)

    def factors(self, steps: int) -> list[float]:
        passed = [sum(step >= milestone * steps for milestone in self.milestones) for step in range(steps)]
        return [self.peak * self.gamma**count for count in passed]


@dataclass(frozen=True)
class WarmupStableDecay:
    """Linear warm-up over the first `warmup` of the steps, then the peak, then a decay over the last `decay` of them.

    shape: with x from 0 to nearly 1 over the decay, the factor is peak * (1 - x) if "linear", and peak * (1 - sqrt(x))
    if "sqrt". Source: Zhai et al. 2022, arXiv 2106.04560 (linear cooldown); the name from Hu et al. 2024,
    arXiv 2404.06395, who decay exponentially; both shapes in Hägele et al. 2024, arXiv 2405.18392.
    """

    warmup: float
    decay: float
    peak: float = 1.0
    shape: Literal["linear", "sqrt"] = "linear"

    def __post_init__(self) -> None:
        _check_share("WarmupStableDecay", "warmup", self.warmup)
        _check_share("WarmupStableDecay", "decay", self.decay)
        _check_peak("WarmupStableDecay", self.peak)
        if self.warmup + self.decay > 1:
            raise StrategyError(
                f"WarmupStableDecay: warmup {self.warmup} + decay {self.decay}, expected at most 1. Lower one."
            )
        if self.shape not in ("linear", "sqrt"):
            raise StrategyError(f"WarmupStableDecay: shape {self.shape!r}, expected 'linear' or 'sqrt'. Change it.")

    def factors(self, steps: int) -> list[float]:
        rising = round(self.warmup * steps)
        falling = min(round(self.decay * steps), steps - rising)  # both may round up
        power = 1.0 if self.shape == "linear" else 0.5
        up = [self.peak * (step + 1) / rising for step in range(rising)]
        down = [self.peak * (1 - (step / falling) ** power) for step in range(falling)]
        return up + [self.peak] * (steps - rising - falling) + down


def _check_share(piece: str, name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise StrategyError(f"{piece}: {name} {value}, expected in 0..1. Change it.")


def _check_peak(piece: str, peak: float) -> None:
    if not 0 <= peak <= _HIGHEST_PEAK:
        raise StrategyError(
            f"{piece}: peak {peak}, expected a factor of the scenario's learning rate in 0..{_HIGHEST_PEAK}. Change it."
        )
