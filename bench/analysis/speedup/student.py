"""Student's t distribution, as far as intervals need it."""

from __future__ import annotations

import math

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


def t_quantile(degrees: int) -> float:
    """Return the 0.975 quantile: a two-sided 95 % interval is the mean plus and minus it times the standard error.

    degrees: of freedom, at least 1. Source: scipy.special.stdtrit; tests/analysis/speedup/test_student.py.
    """
    if degrees <= len(_QUANTILES):
        return _QUANTILES[degrees - 1]
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
