"""The table of trials that run, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.records.status import Progress, State
from bench.reporting.layout import Cells, Column
from bench.reporting.plans import duration

_ORDER: tuple[State, ...] = (
    "running",
    "starting",
    "cut off",
    "interrupted",
    "failed",
    "unreadable",
    "diverged",
    "finished",
)


def status_cells(results: str, trials: Sequence[Progress], *, whole: bool = False) -> Cells:
    """Return how far trials are, those that run first. whole: those that are finished, too, instead of their number alone."""
    counts = Counter(trial.state for trial in trials)
    said = ", ".join(f"{counts[state]:,} {state}" for state in _ORDER if counts[state])
    heading = f"{results}: {said or 'no trials'}"
    shown = sorted(
        (trial for trial in trials if whole or trial.state != "finished"), key=lambda trial: _ORDER.index(trial.state)
    )
    if not shown:
        return Cells(heading, (), ())
    columns = (
        Column("trial", "trial", left=True),
        Column("state", "state", left=True),
        Column("steps", "steps"),
        Column("validation", "validation", 2),
        Column("left", "left, about", 1),
        Column("note", "by whom, or why", 3, left=True, prose=True),
    )
    rows = tuple(
        (
            trial.place,
            trial.state,
            f"{trial.steps:,} of {trial.total_steps:,}" if trial.total_steps else "-",
            "-" if trial.accuracy is None else f"{trial.accuracy:.4f}",
            "-" if trial.seconds_left is None else duration(trial.seconds_left),
            trial.who or trial.why or "-",
        )
        for trial in shown
    )
    resumable = counts["cut off"] + counts["interrupted"] + counts["failed"]
    notes = (
        ("The command that began a trial which was cut off, interrupted or failed goes on with it.",)
        if resumable
        else ()
    )
    return Cells(heading, columns, rows, notes)
