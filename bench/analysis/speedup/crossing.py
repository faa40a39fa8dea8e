"""When a curve has reached a target for good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A mean of equal accuracies is off by rounding (three times 0.8 has a mean above 0.8); one image in a million is not.
ROUNDING = 1e-9


def find_crossing(accuracies: Sequence[float] | np.ndarray, target: float) -> int | None:
    """Return the first evaluation from which accuracy never again falls below the target, or None: censored.

    accuracies: (evaluations,), in the order of steps. A dip below the target moves the crossing behind it; an accuracy
    that is not a number is below any target.
    """
    above = np.asarray(accuracies, dtype=float) >= target - ROUNDING  # comparing NaN gives False
    if not len(above) or not above[-1]:
        return None
    below = np.flatnonzero(~above)
    return int(below[-1]) + 1 if len(below) else 0


def find_crossings(accuracies: np.ndarray, targets: np.ndarray | float) -> np.ndarray:
    """Return what find_crossing does for several curves at once, (curves,), the number of evaluations where there is none.

    accuracies: (curves, evaluations), or (1, evaluations), one for all targets. targets: (curves,), or one for all.
    """
    below = ~(accuracies >= np.reshape(targets, (-1, 1)) - ROUNDING)
    if not below.shape[1]:
        return np.zeros(len(below), dtype=int)
    backwards = below[:, ::-1]
    last = backwards.argmax(axis=1)
    return np.where(backwards[np.arange(len(below)), last], below.shape[1] - last, 0)
