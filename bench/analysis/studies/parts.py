"""Final accuracy on old and on new classes, separately."""

from __future__ import annotations

import numpy as np
import pandas as pd

_SETS = ("validation", "test")
_COLUMNS = ["strategy", "title", "horizon", "n", "images", "old", "old_std", "new", "new_std", "all", "old_weight"]


def old_and_new(ranking: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each strategy, horizon and set of images with its final accuracies.

    ranking: as returned by bench.analysis.ranking.leaderboard.
    Columns: strategy, title, horizon, n, images ("validation" or "test"), old, old_std, new, new_std (over seeds), all, and
    old_weight: the share of old images in that set, which makes old_weight * old + (1 - old_weight) * new equal to all; NaN if
    no single share does. No rows if old and new are not distinguished.
    """
    parts = []
    for images in _SETS:
        columns = {f"{images}_accuracy_{part}": part for part in ("old", "new")}
        columns |= {f"{name}_std": f"{part}_std" for name, part in columns.items()}
        columns[f"{images}_accuracy"] = "all"
        if not set(columns) <= set(ranking.columns):
            continue
        known = ranking[ranking[list(columns)[:2]].notna().all(axis=1)]
        if known.empty:
            continue
        rows = known[["strategy", "title", "horizon", "n", *columns]].rename(columns=columns)
        parts.append(rows.assign(images=images, old_weight=_weight(rows)))
    return pd.concat(parts, ignore_index=True)[_COLUMNS] if parts else pd.DataFrame(columns=_COLUMNS)


def _weight(rows: pd.DataFrame) -> float:
    """Return the least-squares weight of old; NaN if it does not explain every row to within 1e-6."""
    apart, over = ((rows[name] - rows["new"]).to_numpy(float) for name in ("old", "all"))
    if not (apart**2).sum():
        return float("nan")
    weight = float(apart @ over / (apart @ apart))
    return weight if np.abs(weight * apart - over).max() < 1e-6 else float("nan")
