"""When a curve has reached a target for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Crossing:
    """The first evaluation from which accuracy never again falls below the target.

    index: its place in the curve. before: the place of the evaluation before it, the other side of the bracket; None
    for the first one.
    """

    index: int

    @property
    def before(self) -> int | None:
        return self.index - 1 if self.index else None


def find_crossing(accuracies: Sequence[float] | np.ndarray, target: float) -> Crossing | None:
    """Return the crossing of one curve, or None for a censored one.

    accuracies: (evaluations,), in the order of steps. A dip below the target moves the crossing behind it; an accuracy
    that is not a number is below any target.
    """
    above = np.asarray(accuracies, dtype=float) >= target  # comparing NaN gives False
    if not len(above) or not above[-1]:
        return None
    below = np.flatnonzero(~above)
    return Crossing(int(below[-1]) + 1 if len(below) else 0)


def curves(evals: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return one column of one strategy's evaluations as (step, seed): a row a step, a column a seed.

    Raises ValueError where seeds were not measured on the same steps.
    """
    table = evals.pivot(index="step", columns="seed", values=column).sort_index()
    if len(table) and evals.groupby("seed").size().nunique() != 1:
        raise ValueError("seeds were measured on different steps")
    return table
