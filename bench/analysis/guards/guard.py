"""Is scratch as accurate as published scratch, and does a run converge too fast (RULES 18)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIGNIFICANCE = 0.05
# Where convergence is compared. At the full target, about half of scratch's own seeds miss; most reach 0.95 of it.
CONVERGENCE_SHARE = 0.95
_ROUNDING = 1e-9  # as for crossings; the standard deviation of equal accuracies may be 1e-17
_DROPPED = 1  # runs at each end, as in MLPerf


def untrained(ends: Sequence[float], chances: Sequence[float], images: Sequence[float]) -> str | None:
    """Return, in words, that runs of scratch did not learn more than guessing does, or None if they did.

    ends: (seeds,), final validation accuracies. chances: (seeds,), the largest class's share of the validation images. images:
    (seeds,), their numbers. Noise is two standard deviations: of the accuracy of a guess on so many images, or among seeds,
    whichever is larger.
    """
    mean, chance = float(np.mean(ends)), float(np.max(chances))
    spread = float(np.std(ends, ddof=1)) if len(ends) > 1 else 0.0
    noise = 2 * max(spread, float(np.sqrt(chance * (1 - chance) / np.min(images))))
    if mean > chance + noise:
        return None
    return f"ends at {mean:.4f}, not above guessing ({chance:.4f}) and its noise ({noise:.4f})"


@dataclass(frozen=True)
class ScratchTest:
    """A run's scratch compared with the published one.

    difference: the run's mean accuracy minus the published one. p: two-sided, None if not tested. verdict: in words.
    """

    mean: float
    std: float
    n: int
    difference: float
    p: float | None
    verdict: str

    @property
    def differs(self) -> bool:
        """Whether the difference is significant at 0.05."""
        return self.p is not None and self.p < SIGNIFICANCE


def compare_scratch(
    mean: float, std: float, n: int, published_mean: float, published_std: float, published_n: int
) -> ScratchTest:
    """Test whether two mean accuracies differ: Welch's two-sided t test, from summary statistics (Welch 1947).

    mean, std, n: of the run's scored scratch seeds, std with n - 1 (not read if n < 2); published_...: of the published ones.
    If neither side varies there is no test: p is 1 for equal means, otherwise 0.
    """
    difference = mean - published_mean
    if n < 2 or published_n < 2:
        return ScratchTest(mean, std, n, difference, None, f"not tested: n = {min(n, published_n)} is too small")
    if not np.isfinite(difference):
        return ScratchTest(mean, std, n, difference, None, "not tested: an accuracy is NaN")
    if max(std, published_std) < _ROUNDING:
        p = 1.0 if abs(difference) < _ROUNDING else 0.0
    else:
        from scipy import stats  # takes 0.4 s to import, and most tables do not need it

        found = stats.ttest_ind_from_stats(mean, std, n, published_mean, published_std, published_n, equal_var=False)
        p = float(found.pvalue)
    verdict = "differs from the published one" if p < SIGNIFICANCE else "no difference found"
    return ScratchTest(mean, std, n, difference, p, verdict)


@dataclass(frozen=True)
class ConvergencePoint:
    """The cost at which runs converge: the mean without the lowest and the highest, and the standard deviation of all.

    n: runs in the mean. std: of the population (over n, not n - 1), as in MLPerf.
    """

    mean: float
    std: float
    n: int

    def least(self, runs: int) -> float:
        """Return the lowest trimmed mean that `runs` other runs may have without being significantly low.

        One-sided Student's t test at 0.05 with the reference's deviation for both samples: mean - t * std * sqrt(1/n + 1/m),
        m = runs - 2, t the 0.95 quantile at n + m - 2 degrees of freedom. MLPerf finds it by bisection to within 0.0001.
        Raises ValueError for fewer than 3 runs, because trimming leaves none.
        Source: mlcommons/logging, mlperf_logging/rcp_checker; the same numbers in tests/analysis/guards/test_guard.py.
        """
        from scipy import special  # takes 0.2 s to import, and most tables do not need it

        other = _kept(runs)
        quantile = float(special.stdtrit(self.n + other - 2, 1 - SIGNIFICANCE))
        return self.mean - quantile * self.std * float(np.sqrt(1 / self.n + 1 / other))


def convergence_point(costs: Sequence[float] | np.ndarray) -> ConvergencePoint:
    """Return the convergence point of runs, MLPerf's "reference convergence point" (RCP).

    costs: (runs,), at the target, in any unit. Raises ValueError for fewer than 4, whose spread is meaningless, and for an
    infinite cost: a reference must have reached its target.
    """
    if len(costs) < 2 * _DROPPED + 2 or not np.isfinite(costs).all():
        raise ValueError(f"{len(costs)} costs, expected at least {2 * _DROPPED + 2}, all finite")
    return ConvergencePoint(trimmed_mean(costs), float(np.std(costs)), _kept(len(costs)))


def trimmed_mean(costs: Sequence[float] | np.ndarray) -> float:
    """Return the mean of costs without the lowest and the highest; infinite if more than one run missed.

    costs: (runs,), infinite for a miss. Raises ValueError for fewer than 3.
    """
    _kept(len(costs))
    return float(np.sort(np.asarray(costs, dtype=float))[_DROPPED:-_DROPPED].mean())


def too_fast(costs: Sequence[float] | np.ndarray, reference: ConvergencePoint) -> bool | None:
    """Return whether runs converge significantly faster than the reference; None for too few runs.

    costs: (runs,), infinite for a miss.
    """
    if len(costs) < 2 * _DROPPED + 1:
        return None
    return trimmed_mean(costs) < reference.least(len(costs))


def _kept(runs: int) -> int:
    if runs < 2 * _DROPPED + 1:
        raise ValueError(f"{runs} runs, expected at least {2 * _DROPPED + 1}")
    return runs - 2 * _DROPPED
