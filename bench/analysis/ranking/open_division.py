"""The open division in a leaderboard: below the closed one, without a rank, and against nothing but its own reference."""

from __future__ import annotations

import pandas as pd

from bench.analysis.ranking.below import put_below
from bench.analysis.ranking.leaderboard import by_strategy, leaderboard
from bench.catalog import REFERENCE

_SCRATCH = (REFERENCE, 1.0)
NO_REFERENCE = "no scratch under the same freedom"


def with_open(
    rows: pd.DataFrame,
    trials: pd.DataFrame,
    evals: pd.DataFrame,
    *,
    currency: str = "flops",
    share: float = 1.0,
) -> pd.DataFrame:
    """Return a leaderboard with rows for strategies of the open division below its own, and a column `division`.

    rows: as leaderboard() returns it; they stay as they are. trials, evals: of the open division alone. A row has a ratio where
    the strategy that its trials name as their reference is there, too.
    """
    added, evals = [], evals.astype({"scenario": str, "strategy": str})
    for strategy, horizon, mine in by_strategy(trials):
        wanted = mine["reference"].iloc[0]
        lengths = trials.loc[(trials["strategy"] == wanted) & (trials["strategy"] != strategy), "horizon"]
        kept: dict[tuple[str, float], tuple[str, float]] = {
            (strategy, horizon): (strategy, horizon) if len(lengths) else _SCRATCH
        }
        if len(lengths):
            kept[wanted, float(lengths.max())] = _SCRATCH
        found = leaderboard(_renamed(trials, kept), _renamed(evals, kept), currency=currency, share=share)
        row = found[found["strategy"] == kept[strategy, horizon][0]].copy()
        if not len(lengths):
            ratios = [
                name for name in map(str, row) if name.startswith(("value_", "relation_", "low_", "high_", "bracket_"))
            ]
            row = row.assign(**dict.fromkeys(ratios), **{f"note_{currency}": NO_REFERENCE})
        added.append(row.assign(strategy=strategy, title=mine["title"].iloc[0], horizon=horizon))
    return put_below(rows, pd.concat(added, ignore_index=True), "division", own="closed", below="open")


def _renamed(frame: pd.DataFrame, kept: dict[tuple[str, float], tuple[str, float]]) -> pd.DataFrame:
    """Return the rows of these strategies at these horizons, under other names."""
    parts = [
        frame[(frame["strategy"] == strategy) & (frame["horizon"] == horizon)].assign(strategy=name, horizon=length)
        for (strategy, horizon), (name, length) in kept.items()
    ]
    return pd.concat(parts, ignore_index=True)
