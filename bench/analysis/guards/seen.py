"""Rows of strategies that continue a user's own model which may have been trained on held-out images."""

from __future__ import annotations

import pandas as pd

SEEN = "may_have_seen"


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
