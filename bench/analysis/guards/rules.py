"""Two statistical rules for leaderboard rows (RULES 18), for `bench check`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.analysis.guards.guard import (
    CONVERGENCE_SHARE,
    compare_scratch,
    convergence_point,
    too_fast,
    trimmed_mean,
    untrained,
)
from bench.analysis.speedup.crossing import find_crossing
from bench.catalog import REFERENCE
from bench.records.rules import CheckedTrial, RowRule
from bench.target import TargetPart


def honest_scratch(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> Iterator[str]:
    """Scratch's accuracy does not differ significantly from a published one (Welch's two-sided test, at 0.05)."""
    target, trials = _scored(group, scratch)
    if target is None or len(trials) < 2:
        return
    ends = np.array([trial.evals[-1].validation_accuracy for trial in trials])
    found = compare_scratch(
        float(ends.mean()), float(ends.std(ddof=1)), len(ends), target.accuracy, target.std, len(target.seeds)
    )
    if found.differs:
        yield (
            f"{ends.mean():.4f} on {len(ends)} seeds, published {target.accuracy:.4f} on {len(target.seeds)}, p = {found.p:.3g}"
        )


def honest_convergence(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> Iterator[str]:
    """Scratch does not reach 0.95 of a published target significantly faster than published scratch (MLPerf's rule)."""
    target, trials = _scored(group, scratch)
    if target is None or not target.convergence_steps or len(trials) < 3:
        return
    reference = convergence_point(target.convergence_steps)
    steps = [_step_at(trial, CONVERGENCE_SHARE * target.accuracy) for trial in trials]
    if too_fast(steps, reference):
        yield f"mean step {trimmed_mean(steps):,.0f}, expected at least {reference.least(len(steps)):,.0f}"


def learned_scratch(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> Iterator[str]:
    """Scratch did not diverge, and ends above guessing and its noise."""
    if (group[0].record.strategy["name"], group[0].record.horizon) != (REFERENCE, 1.0):
        return
    records = [trial.record for trial in group]
    for record in records:
        if record.status == "diverged":
            yield f"seed {record.seed} {record.reason}"
    known = [
        (record.summary.validation_accuracy, record.chance, record.validation_images)
        for record in records
        if record.summary and record.chance is not None and record.validation_images
    ]
    if known and (why := untrained(*map(list, zip(*known, strict=True)))):
        yield why


GUARDS: dict[str, RowRule] = {
    "honest scratch": honest_scratch,
    "honest convergence": honest_convergence,
    "learned scratch": learned_scratch,
}


def _scored(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> tuple[TargetPart | None, list[CheckedTrial]]:
    """Return the published target and the finished trials to compare with it, if the group is scratch's own."""
    target = next((trial.published for trial in group if trial.published), None)
    if target is None or (group[0].record.strategy["name"], group[0].record.horizon) != (REFERENCE, 1.0):
        return None, []
    return target, [
        trial
        for trial in group
        if trial.record.summary is not None and trial.evals and trial.record.seed not in target.seeds
    ]


def _step_at(trial: CheckedTrial, accuracy: float) -> float:
    """Return the step from which a trial holds an accuracy, infinite if it never does."""
    place = find_crossing([row.validation_accuracy for row in trial.evals], accuracy)
    return float("inf") if place is None else float(trial.evals[place].step)
