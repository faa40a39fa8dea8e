"""Notes below a leaderboard on how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from bench.analysis.guards.guard import CONVERGENCE_SHARE
from bench.analysis.guards.seen import SEEN
from bench.catalog import REFERENCE

SEEN_MARK = " (seen?)"


def name_of(row: Any) -> str:
    """Return a row's strategy, marked where the old model may have been trained on held-out images."""
    return f"{row['strategy']}{seen_mark(row)}"


def seen_mark(row: Any) -> str:
    """Return the mark, or "" for a row that needs none."""
    seen = row.get(SEEN)
    return SEEN_MARK if isinstance(seen, str) and seen else ""


def seen_notes(rows: pd.DataFrame) -> list[str]:
    """Return what the mark means, where a row has it. rows: see bench.analysis.guards.seen.mark_seen."""
    return [seen_note(rows[SEEN])] if SEEN in rows and rows[SEEN].ne("").any() else []


def seen_note(seen: Iterable[str]) -> str:
    """Return what the mark means. seen: which images, in words."""
    words = max(seen, key=len)
    return (
        f"Seen?: the old model that was brought along may have been trained on {words} images, since they were cut off the old "
        "ones: its accuracy, and that of what continues it, may be too high. Name images of their own (bench update "
        "--validation, --test; data.validation, data.test), or list those that it was trained on (--trained-on; "
        "model.trained_on)."
    )


def guard_notes(rows: pd.DataFrame) -> list[str]:
    """Return notes on scratch against its published target, on runs that converge too fast, and on NaN accuracies.

    rows: as returned by bench.analysis.ranking.leaderboard. Without a published target there is nothing to compare scratch with.
    """
    notes = []
    if "published_source" in rows:
        notes += [*_honesty(rows[rows["strategy"] == REFERENCE].iloc[0]), *_speed(rows)]
    if rows["validation_accuracy"][rows["n"] > 0].isna().any():
        notes.append("nan: a seed's accuracy is not a number. It counts as below every target.")
    return notes + seen_notes(rows)


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
