"""Leaderboard columns that compare a run with published scratch: scratch's accuracy, and convergence that is too fast."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.analysis.guards.guard import CONVERGENCE_SHARE, compare_scratch, convergence_point, too_fast, trimmed_mean
from bench.analysis.published import Published, span
from bench.analysis.speedup.crossing import find_crossing
from bench.analysis.speedup.curves import Curves


def scratch_columns(published: Published, accuracies: np.ndarray, left_out: int) -> dict[str, Any]:
    """Return the columns on the published target, the same in every row of a leaderboard.

    accuracies: (seeds,), of the run's scored seeds of scratch at the end of horizon 1. left_out: number of trials not scored.
    """
    mean, n = float(accuracies.mean()), len(accuracies)
    std = float(accuracies.std(ddof=1)) if n > 1 else float("nan")
    found = compare_scratch(mean, std, n, published.accuracy, published.std, len(published.seeds))
    return {
        "published_source": published.source,
        "published_seeds": span(published.seeds),
        "published_n": len(published.seeds),
        "left_out": left_out,
        "scratch_difference": found.difference,
        "scratch_p": found.p,
        "scratch_verdict": found.verdict,
    }


def convergence_columns(published: Published, mine: Curves) -> dict[str, object]:
    """Return a row's columns on convergence, in steps to CONVERGENCE_SHARE of the target; empty for too few seeds.

    mine: one strategy's curves at one horizon.
    """
    steps = steps_at(mine, CONVERGENCE_SHARE * published.accuracy)
    if not published.convergence_steps or len(steps) < 3:
        return {}
    reference = convergence_point(published.convergence_steps)
    return {
        "convergence_mean": trimmed_mean(steps),
        "convergence_least": reference.least(len(steps)),
        "too_fast": bool(too_fast(steps, reference)),
    }


def steps_at(curves: Curves, target: float) -> np.ndarray:
    """Return the step from which each seed holds an accuracy, (seeds,), in the order of seeds; infinite for a miss."""
    found = [find_crossing(accuracy, target) for accuracy in curves.values["validation_accuracy"].T]
    return np.array([np.inf if place is None else float(curves.steps[place]) for place in found])
