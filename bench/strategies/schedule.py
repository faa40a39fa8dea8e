"""Learning-rate schedules: a factor of the scenario's peak rate for every step. Each ends with the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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


def _check_share(piece: str, name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise StrategyError(f"{piece}: {name} {value}, expected in 0..1. Change it.")


def _check_peak(piece: str, peak: float) -> None:
    if not 0 <= peak <= _HIGHEST_PEAK:
        raise StrategyError(
            f"{piece}: peak {peak}, expected a factor of the scenario's learning rate in 0..{_HIGHEST_PEAK}. Change it."
        )
