"""Continue or retrain? What paired differences in final accuracy, and the costs, allow to say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from bench.analysis.guards.seen import seen_by_strategy
from bench.analysis.published import scored
from bench.analysis.ranking.leaderboard import refuse_mixtures, require_scratch
from bench.analysis.speedup.curves import Measured
from bench.analysis.speedup.student import paired_interval, t_quantile
from bench.catalog import REFERENCE
from bench.errors import RecordError

Answer = Literal["continue", "retrain", "undecided"]
MARGIN = 0.005  # half a point
_MOST_SEEDS = 30


@dataclass(frozen=True)
class Candidate:
    """A way to continue, against scratch on the same seeds, each run to its end.

    accuracy: final validation accuracy, the mean over seeds; accuracy_low, accuracy_high: its 95 % interval by Student's t, NaN
    for one seed. difference, low, high: from scratch's, paired, with its 95 % interval; NaN likewise, and where
    all seeds differ by the same. std: of the paired
    differences. cost: share of scratch's FLOPs. n: seeds.
    """

    strategy: str
    horizon: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    difference: float
    low: float
    high: float
    std: float
    cost: float
    n: int


@dataclass(frozen=True)
class Decision:
    """The answer, for one update of a scenario.

    chosen: the strategy to use, None where that is scratch. margin: how much accuracy may be lost, as a fraction.
    scratch_accuracy: the mean over seeds, with its 95 % interval. remedy: what would decide it, "" unless undecided.
    candidates: all that were compared, the cheapest first. may_have_seen: which held-out images a given old model may have been
    trained on, in words; "" for none. likely_seen: what makes it likely that it was, in words; "" for nothing.
    """

    answer: Answer
    chosen: Candidate | None
    margin: float
    scratch_accuracy: float
    scratch_low: float
    scratch_high: float
    n: int
    candidates: tuple[Candidate, ...]
    remedy: str
    may_have_seen: str = ""
    likely_seen: str = ""


def decide(trials: pd.DataFrame, evals: pd.DataFrame, margin: float = MARGIN) -> Decision:
    """Return whether to continue the old model or to train a new one. trials, evals: of one scenario and update.

    "continue": a way to continue costs fewer FLOPs than scratch, and the 95 % interval of its paired difference in final
    validation accuracy lies above -margin; of several, the cheapest. "retrain": the interval of each of them lies below -margin.
    "undecided": anything else, also with one seed, which gives no interval.
    Raises RecordError without scratch, or where nothing was run beside it on the same seeds.
    """
    refuse_mixtures(trials)
    trials, evals = scored(trials, evals)
    require_scratch(trials, evals)
    measured, key = Measured(evals), (REFERENCE, 1.0)
    found = [
        _candidate(measured, each, measured.seeds(each) & measured.seeds(key))
        for each in measured.keys
        if each[0] != REFERENCE and measured.seeds(each) & measured.seeds(key)
    ]
    if not found:
        raise RecordError(
            f"{trials['scenario'].iloc[0]}: no strategy beside {REFERENCE} on its seeds, expected one. Run one."
        )
    candidates = tuple(sorted(found, key=lambda each: (each.cost, each.strategy)))
    cheaper = [each for each in candidates if each.cost < 1]
    equal = next((each for each in cheaper if each.low > -margin), None)
    if equal:
        answer: Answer = "continue"
    else:
        answer = "retrain" if cheaper and all(each.high < -margin for each in cheaper) else "undecided"
    ends = measured.curves(key).values["validation_accuracy"][-1]
    mean, low, high = _mean(ends)
    remedy = _remedy(cheaper, margin) if answer == "undecided" else ""
    seen = max(seen_by_strategy(trials).values(), key=len, default="")
    return Decision(answer, equal, margin, mean, low, high, len(ends), candidates, remedy, seen)


def _candidate(measured: Measured, key: tuple[str, float], seeds: frozenset[int]) -> Candidate:
    mine, scratch = (measured.curves(each, seeds) for each in (key, (REFERENCE, 1.0)))
    ends = mine.values["validation_accuracy"][-1]
    differences = ends - scratch.values["validation_accuracy"][-1]
    low, high = paired_interval(differences)
    accuracy, accuracy_low, accuracy_high = _mean(ends)
    return Candidate(
        strategy=key[0],
        horizon=key[1],
        accuracy=accuracy,
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        difference=float(differences.mean()),
        low=low,
        high=high,
        std=float(differences.std(ddof=1)) if len(differences) > 1 else math.nan,
        cost=float(mine.run("flops").cost[-1].mean() / scratch.run("flops").cost[-1].mean()),
        n=len(differences),
    )


def _mean(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of seeds and its 95 % interval by Student's t; NaN for the interval of one seed."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = t_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _remedy(cheaper: list[Candidate], margin: float) -> str:
    """Return what would decide it: more seeds where the best is on the right side of the margin, or else a longer run."""
    if not cheaper:
        return "nothing that was run costs less than retraining; run a shorter horizon"
    best = max(cheaper, key=lambda each: each.difference)
    if best.n < 2:
        return "one seed gives no interval; run at least 3"
    room = abs(best.difference + margin)
    needed = next(
        (n for n in range(best.n + 1, _MOST_SEEDS + 1) if t_quantile(n - 1) * best.std / math.sqrt(n) < room), None
    )
    name = f"{best.strategy} at {best.horizon:g}"
    if best.difference > -margin and needed:
        return f"about {needed} seeds, if {name} goes on as it is; or a longer horizon, or a wider margin"
    if best.difference > -margin:
        return f"more than {_MOST_SEEDS} seeds at the present spread: a longer horizon for {name}, or a wider margin"
    return f"{name} lies below the margin, though not certainly: a longer horizon, or more seeds to be sure"
