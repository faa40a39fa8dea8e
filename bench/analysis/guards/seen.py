"""A user's own model that may have been trained on held-out images: whether it was, and rows of strategies that continue it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # given checkpoints are compared without it
    import pandas as pd

SEEN = "may_have_seen"
Counts = tuple[Sequence[int], Sequence[int]]


def seen_p(cut_off: Counts, unseen: Counts) -> float:
    """Return the probability that a model which has seen neither gets so many more of the cut-off images right.

    cut_off, unseen: of each class, how many images are predicted correctly, and how many there are.
    One-sided exact conditional test of two proportions in several strata, here classes: Fisher's exact test for one class. So
    classes may be hard, and rarer in one of the two. Source: Agresti, Categorical Data Analysis, on 2 x 2 x K tables.
    """
    from scipy import stats  # takes 0.5 s, and leaderboards do without

    # Of the number right among the cut-off images: its least value, and probabilities from there.
    least, sums = 0, np.ones(1)
    for right, images, unseen_right, unseen_images in zip(*cut_off, *unseen, strict=True):
        known = right + unseen_right
        low, high = max(0, known - unseen_images), min(known, images)
        sums = np.convolve(sums, stats.hypergeom(images + unseen_images, known, images).pmf(np.arange(low, high + 1)))
        least += low
    return float(min(1.0, sums[sum(cut_off[0]) - least :].sum()))


def mark_seen(rows: pd.DataFrame, *trials: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the column may_have_seen: which held-out images the old model may have been trained on, or empty.

    rows: with a column strategy. trials: as returned by bench.records.collect, or tables that were marked. There is no such
    column where no trial has any.
    """
    found = seen_by_strategy(*trials)
    return rows.assign(**{SEEN: rows["strategy"].map(found).fillna("")}) if found and len(rows) else rows


def seen_by_strategy(*trials: pd.DataFrame) -> dict[str, str]:
    """Return, of each strategy that continues such a model, which images it may have been trained on, in words."""
    found: dict[str, str] = {}
    for part in trials:
        if SEEN in part:
            named = zip(part["strategy"], part[SEEN], strict=True)
            found |= {strategy: seen for strategy, seen in named if isinstance(seen, str) and seen}
    return found
