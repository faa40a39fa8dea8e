"""Averaging: whether the weights that are evaluated and left behind are a mean over the last steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bench.errors import StrategyError

# FLOPs per number and step: difference, product and sum.
AVERAGING_PASSES = 3


@runtime_checkable
class Averaging(Protocol):
    """The seventh aspect. A frozen dataclass; its fields go into the strategy's hash."""

    def rates(self, steps: int) -> Sequence[float]:
        """Return one rate in 0..1 for each of `steps` steps: after it, average += rate * (weights - average).

        0 before the averaging begins, and above 0 from then on; the first of these is taken as 1. Until it begins, the weights
        themselves are evaluated. Batch-norm statistics are averaged like parameters. The optimizer never sees the average.
        """
        ...


@dataclass(frozen=True)
class NoAveraging:
    """The weights after the last step."""

    def rates(self, steps: int) -> Sequence[float]:
        return [0.0] * steps


@dataclass(frozen=True)
class TailMean:
    """The mean of the weights after each of the last `share` of the steps.

    Source: Polyak & Juditsky 1992; stochastic weight averaging, Izmailov et al. 2018, arXiv 1803.05407, who average after
    each epoch and compute the batch-norm statistics anew by a pass over the images. Here they are averaged too, see Averaging.
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        _check_share("TailMean", self.share)

    def rates(self, steps: int) -> Sequence[float]:
        tail = _tail(self.share, steps)
        return [0.0] * (steps - tail) + [1 / (number + 1) for number in range(tail)]


@dataclass(frozen=True)
class TailDecay:
    """An exponential moving average over the last `share` of the steps: average <- decay * average + (1 - decay) * weights.

    It begins as the weights. Source: Tarvainen & Valpola 2017, arXiv 1703.01780 (the mean teacher); its statistics of batch norm
    are averaged as in the models of timm and torchvision's reference scripts.
    """

    decay: float = 0.99
    share: float = 0.3

    def __post_init__(self) -> None:
        _check_share("TailDecay", self.share)
        if not 0 <= self.decay < 1:
            raise StrategyError(f"TailDecay: decay {self.decay}, expected at least 0 and below 1. Change it.")

    def rates(self, steps: int) -> Sequence[float]:
        tail = _tail(self.share, steps)
        return [0.0] * (steps - tail) + [1 - self.decay if number else 1.0 for number in range(tail)]


def _tail(share: float, steps: int) -> int:
    return max(1, round(share * steps))


def _check_share(piece: str, share: float) -> None:
    if not 0 < share <= 1:
        raise StrategyError(f"{piece}: share {share}, expected above 0 and at most 1. Use NoAveraging() for none.")
