"""Ratios of what was measured in turns, pair by pair."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.speedup.student import paired_interval


@dataclass(frozen=True)
class Ratio:
    """A ratio over pairs. value: the geometric mean; low, high: its 95 % interval, None with fewer than two pairs.

    median: of the pairs' ratios, which a disturbance of a few of them does not move.
    """

    value: float
    low: float | None
    high: float | None
    median: float
    pairs: int


def paired_ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return the ratio above[k] / below[k] over pairs: the paired t interval of its logarithm, taken back.

    What slows down both of a pair, such as a neighbour on the machine, cancels. All values are positive.
    """
    logs = np.log(np.asarray(above, dtype=float) / np.asarray(below, dtype=float))
    low, high = (None if math.isnan(end) else math.exp(end) for end in paired_interval(logs))
    return Ratio(math.exp(float(logs.mean())), low, high, math.exp(statistics.median(logs.tolist())), len(logs))
