"""Notes below a leaderboard on how far it can be trusted."""

from __future__ import annotations

import pandas as pd

from bench.analysis.guards.guard import CONVERGENCE_SHARE
from bench.catalog import REFERENCE


def guard_notes(rows: pd.DataFrame) -> list[str]:
    """Return notes on scratch against its published target, on runs that converge too fast, and on NaN accuracies.

    rows: as returned by bench.analysis.ranking.leaderboard. Without a published target there is nothing to compare scratch with.
    """
    notes = []
    if "published_source" in rows:
        notes += [*_honesty(rows[rows["strategy"] == REFERENCE].iloc[0]), *_speed(rows)]
    if rows["validation_accuracy"][rows["n"] > 0].isna().any():
        notes.append("nan: a seed's accuracy is not a number. It counts as below every target.")
    return notes


def _honesty(scratch: pd.Series) -> list[str]:
    p = f", p = {scratch['scratch_p']:.3g}" if pd.notna(scratch["scratch_p"]) else ""
    found = f"{scratch['scratch_difference']:+.4f} from the published accuracy{p}: {scratch['scratch_verdict']}"
    notes = [f"Is scratch honest? It ends {found} (Welch's test, two-sided, at 0.05)."]
    if scratch["left_out"]:
        plural = "" if scratch["left_out"] == 1 else "s"
        trials = f"{scratch['left_out']} trial{plural} of seeds {scratch['published_seeds']}"
        notes.append(f"Not scored: {trials}, from which the published target was computed.")
    return notes


def _speed(rows: pd.DataFrame) -> list[str]:
    fast = rows[rows["too_fast"].eq(True)] if "too_fast" in rows else rows[:0]
    if fast.empty:
        return []
    found = ", ".join(
        f"{row['strategy']} at horizon {row['horizon']:g} (step {row['convergence_mean']:,.0f}, expected at least "
        f"{row['convergence_least']:,.0f})"
        for row in fast.to_dict("records")
    )
    return [
        f"Significantly faster to {CONVERGENCE_SHARE:g} of the target than published scratch (MLPerf's convergence points): "
        f"{found}. For a strategy, this is its claim; for scratch, it is a warning."
    ]
