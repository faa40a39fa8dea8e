"""A target to publish, computed from finished scratch trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.guards.guard import CONVERGENCE_SHARE
from bench.analysis.guards.honesty import steps_at
from bench.analysis.published import span
from bench.analysis.ranking.leaderboard import refuse_mixtures, require_scratch
from bench.analysis.speedup.curves import Measured
from bench.catalog import REFERENCE, scenario_argument
from bench.errors import RecordError
from bench.target import LEAST_SEEDS, TargetPart


def make_targets(
    trials: pd.DataFrame, evals: pd.DataFrame, seeds: Sequence[int], source: str | None = None
) -> list[TargetPart]:
    """Return the target of each update of one scenario, from scratch at horizon 1 on `seeds`.

    trials, evals: as returned by bench.records.collect, for all updates of one scenario. source: where the trials were run, in
    words; None names their devices and commits. Accuracies are not rounded, so that an equal accuracy reaches the target.
    Raises RecordError for fewer than five seeds, for an unfinished one, or for trials that must not be mixed.
    """
    name = trials["scenario"].iloc[0]
    if len(seeds) < LEAST_SEEDS:
        raise RecordError(
            f"{name}: {len(seeds)} seeds for a published target, expected at least {LEAST_SEEDS}. Add more with --seeds."
        )
    mine, theirs = (
        frame[(frame["strategy"] == REFERENCE) & (frame["horizon"] == 1.0) & frame["seed"].isin(seeds)]
        for frame in (trials, evals)
    )
    updates = range(1, int(trials["updates"].iloc[0]) + 1)
    for update in updates:
        missing = set(seeds) - set(theirs[theirs["update"] == update]["seed"])
        if missing:
            which = f" of update {update}" if len(updates) > 1 else ""
            where, numbers = scenario_argument(name), ",".join(map(str, sorted(seeds)))
            raise RecordError(
                f"{name}: scratch at horizon 1 has no finished trial{which} for seeds {span(sorted(missing))}, expected all of "
                f"{span(seeds)}. Run: bench run --scenario {where} --strategy scratch --seeds {numbers}"
            )
    refuse_mixtures(mine)
    return [
        _target(mine[mine["update"] == update], theirs[theirs["update"] == update], source or _origin(mine))
        for update in updates
    ]


def _target(trials: pd.DataFrame, evals: pd.DataFrame, source: str) -> TargetPart:
    scratch = Measured(require_scratch(trials, evals)).curves((REFERENCE, 1.0))
    ends = scratch.values["validation_accuracy"][-1]
    steps = steps_at(scratch, CONVERGENCE_SHARE * float(ends.mean()))
    return TargetPart(
        accuracy=float(ends.mean()),
        std=float(ends.std(ddof=1)),
        seeds=tuple(int(seed) for seed in scratch.seeds),
        source=source,
        convergence_steps=tuple(int(step) for step in steps) if np.isfinite(steps).all() else None,
    )


def _origin(trials: pd.DataFrame) -> str:
    """Return where trials were run, in words: devices and commits."""
    devices = " / ".join(sorted(set(trials["device"])))
    commits = " / ".join(sorted({str(commit)[:10] for commit in trials["commit"]}))
    changed = "" if all(modified is False for modified in trials["modified"]) else ", modified"
    return f"bench, {trials['seed'].nunique()} trials of scratch on {devices}, commit {commits}{changed}"
