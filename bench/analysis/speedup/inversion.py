"""At which costs a strategy may be as accurate as scratch: the paired t test, inverted, as in Fieller's theorem."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.analysis.speedup.student import t_quantile

_FEWEST = 3  # seeds
_TINY = 1e-12


@dataclass(frozen=True)
class CostInterval:
    """The costs at which equal accuracy is not rejected at the 5 % level: from the lowest to the highest of them.

    low_open, high_open: whether the interval may extend beyond the cheapest, or the costliest, horizon that was run.
    """

    low: float
    high: float
    low_open: bool
    high_open: bool


def equal_cost_interval(costs: np.ndarray, differences: np.ndarray) -> CostInterval | None:
    """Return the 95 % interval of the cost at which the mean difference in final accuracy is zero.

    costs: (horizons,), of whole trials, ascending. differences: (horizons, seeds), the strategy's final accuracy minus
    scratch's of the same seed. Between neighbouring horizons each seed's difference D is linear in log cost. The interval spans
    every cost c with |mean D(c)| <= t(.975, n - 1) * sd D(c) / sqrt(n).
    None where no such cost was run, and where nothing can be said: fewer than 3 seeds, a difference that is NaN, or no spread
    over seeds at all.
    Source: Fieller 1954, the confidence set of a ratio by inverting a t test. Coverage: tests/analysis/speedup/test_inversion.py.
    """
    horizons, n = differences.shape
    if n < _FEWEST or horizons < 2 or np.isnan(differences).any() or np.ptp(differences, axis=1).max() < _TINY:
        return None
    logs, found = np.log(costs), []
    for first in range(horizons - 1):
        for begin, end in _accepted(differences[first], differences[first + 1]):
            span = logs[first + 1] - logs[first]
            found += [logs[first] + begin * span, logs[first] + end * span]
    if not found:
        return None
    low, high = min(found), max(found)
    return CostInterval(float(np.exp(low)), float(np.exp(high)), low <= logs[0] + _TINY, high >= logs[-1] - _TINY)


def _accepted(left: np.ndarray, right: np.ndarray) -> list[tuple[float, float]]:
    """Return the parts of [0, 1] where the t test does not reject, u being the place between two horizons.

    left, right: (seeds,), the differences at the two. The test statistic's square against the quantile's is a parabola in u.
    """
    rise, n = right - left, len(left)
    scale = t_quantile(n - 1) ** 2 / n
    (var_left, both), (_, var_rise) = np.cov(left, rise)
    square = rise.mean() ** 2 - scale * var_rise
    linear = 2 * (left.mean() * rise.mean() - scale * both)
    constant = left.mean() ** 2 - scale * var_left
    roots = np.roots([square, linear, constant])
    inside = sorted(float(root.real) for root in roots if abs(root.imag) < _TINY and 0 < root.real < 1)
    marks = [0.0, *inside, 1.0]

    def excess(u: float) -> float:
        return (square * u + linear) * u + constant

    parts = [(a, b) for a, b in pairwise(marks) if excess((a + b) / 2) <= 0]
    # A double root touches zero at one point, between parts that are rejected.
    return parts or [(u, u) for u in marks if abs(excess(u)) <= _TINY**2]
