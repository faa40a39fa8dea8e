"""The accuracy to be matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Target:
    """value: an accuracy. std: over scratch's seeds, None for one seed. n: how many. kind: where it comes from."""

    value: float
    std: float | None
    n: int
    kind: Literal["provisional"] = "provisional"


def provisional_target(final_accuracies: np.ndarray) -> Target:
    """Return the target from scratch's own seeds in this run.

    final_accuracies: (seeds,), validation accuracy at the end of horizon 1.
    """
    finals = np.asarray(final_accuracies, dtype=float)
    std = float(finals.std(ddof=1)) if len(finals) > 1 else None
    return Target(float(finals.mean()), std, len(finals))
