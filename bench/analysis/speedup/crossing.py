"""When a curve has reached a target for good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Above any rounding error (the mean of three times 0.8 is above 0.8), below the effect of one image in a million.
ROUNDING = 1e-9


def find_crossing(accuracies: Sequence[float] | np.ndarray, target: float) -> int | None:
    """Return the first evaluation from which accuracy never again falls below the target, or None if censored.

    accuracies: (evaluations,), in the order of steps. A dip below the target moves the crossing past it; a NaN accuracy
    is below any target.
    """
    above = np.asarray(accuracies, dtype=float) >= target - ROUNDING  # comparing NaN gives False
    if not len(above) or not above[-1]:
        return None
    below = np.flatnonzero(~above)
    return int(below[-1]) + 1 if len(below) else 0


def find_crossings(accuracies: np.ndarray, targets: np.ndarray | float) -> np.ndarray:
    """Return the crossings of several curves at once, (curves,); the number of evaluations for a curve without one.

    accuracies: (curves, evaluations), or (1, evaluations) shared by all targets. targets: (curves,), or one for all curves.
    """
    below = ~(accuracies >= np.reshape(targets, (-1, 1)) - ROUNDING)
    if not below.shape[1]:
        return np.zeros(len(below), dtype=int)
    backwards = below[:, ::-1]
    last = backwards.argmax(axis=1)
    return np.where(backwards[np.arange(len(below)), last], below.shape[1] - last, 0)
