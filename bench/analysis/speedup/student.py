"""Student's t distribution, as far as intervals and tests of paired differences need it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The 0.975 quantile at 1, 2, ... 30 degrees of freedom, as printed in every table of the distribution, with all digits. Most
# intervals here are of a few seeds, and importing scipy.special for them takes 0.1 to 0.2 s.
_QUANTILES = (
    12.706204736174694,
    4.302652729749462,
    3.1824463052837078,
    2.7764451051977934,
    2.5705818356363146,
    2.4469118511449786,
    2.364624251592784,
    2.306004135204166,
    2.262157162798205,
    2.228138851986274,
    2.200985160091639,
    2.1788128296672284,
    2.1603686564627913,
    2.144786687917804,
    2.131449545559776,
    2.1199052992212546,
    2.1098155778333156,
    2.1009220402410382,
    2.0930240544083087,
    2.085963447265864,
    2.0796138447276795,
    2.0738730679040254,
    2.0686576104190486,
    2.0638985616280245,
    2.0595385527532972,
    2.0555294386428735,
    2.0518305164802846,
    2.0484071417952454,
    2.045229642132703,
    2.0422724563012378,
)


@dataclass(frozen=True)
class Mean:
    """A mean of paired differences. low, high: its 95 % interval. p: two-sided, that it is zero. All three NaN if not tested."""

    mean: float
    low: float
    high: float
    p: float


def t_quantile(degrees: float) -> float:
    """Return the 0.975 quantile: a two-sided 95 % interval is the mean plus and minus it times the standard error.

    degrees: of freedom, at least 1. Source: scipy.special.stdtrit; tests/analysis/speedup/test_student.py.
    """
    if degrees <= len(_QUANTILES) and degrees == int(degrees):
        return _QUANTILES[int(degrees) - 1]
    from scipy import special

    return float(special.stdtrit(degrees, 0.975))


def paired_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95 % paired t interval of the mean of differences, (seeds,).

    NaN if it would be meaningless: fewer than 2 seeds, or all differences equal.
    """
    n = len(differences)
    if n < 2 or np.ptp(differences) < 1e-12:
        return float("nan"), float("nan")
    half = t_quantile(n - 1) * float(differences.std(ddof=1)) / math.sqrt(n)
    return float(differences.mean()) - half, float(differences.mean()) + half


def mean_of_means(groups: Sequence[np.ndarray]) -> Mean:
    """Return the mean of several scenarios' mean differences, with its 95 % interval and test.

    groups: (seeds,) each. Every scenario counts alike, however many seeds it has, and is taken as given: the interval is about
    these scenarios, not about others. Seeds are independent between scenarios, so the standard error is the root of the sum of
    s^2 / n, divided by the number of scenarios; its degrees of freedom are Welch's and Satterthwaite's. For one group, this is
    the paired t test. Not tested if a group has fewer than 2 seeds, or if in every group all differences are equal.
    Source: Satterthwaite 1946, Biometrics Bulletin 2:110; Welch 1947, Biometrika 34:28.
    """
    mean = float(np.mean([group.mean() for group in groups]))
    if min(map(len, groups)) < 2 or all(np.ptp(group) < 1e-12 for group in groups):
        return Mean(mean, math.nan, math.nan, math.nan)
    from scipy import special

    parts = [float(group.var(ddof=1)) / len(group) for group in groups]
    error = math.sqrt(sum(parts)) / len(groups)
    degrees = sum(parts) ** 2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    nearest = round(degrees)
    half = t_quantile(nearest if math.isclose(degrees, nearest, rel_tol=1e-12) else degrees) * error
    return Mean(mean, mean - half, mean + half, 2 * float(special.stdtr(degrees, -abs(mean) / error)))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, by Holm's step-down method; NaN, for what was not tested, does not count.

    Rejecting those below 0.05 makes a false rejection among all of them at most 5 % likely, however they depend on each other.
    Source: Holm 1979, Scandinavian Journal of Statistics 6:65; p.adjust(method = "holm") of R.
    """
    given = np.asarray(ps, dtype=float)
    corrected = np.full(len(given), math.nan)
    order = [place for place in np.argsort(given, kind="stable") if not math.isnan(given[place])]
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, float(given[place]) * (len(order) - rank)))
        corrected[place] = largest
    return corrected.tolist()
