"""How much cheaper a strategy reaches the target than scratch, and how certain that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from bench.analysis.speedup.crossing import ROUNDING, find_crossing, find_crossings
from bench.analysis.speedup.student import paired_interval

Relation = Literal["=", "<", ">", "undetermined"]
_BOOTSTRAP_FROM = 10  # seeds; with fewer, a percentile bootstrap covers too little (3 seeds: 73 %, not 95 %)
_RESAMPLES = 2000
# Evaluations of every resample: NumPy multiplies larger matrices in threads, which spin beside a busy neighbour (10 s for 4 s).
_AT_ONCE = 16
# Costs at one evaluation may differ by so small a part of themselves: by the iterations of a head's fit.
_ONE_EVALUATION = 1e-3


@dataclass(frozen=True)
class Speedup:
    """Scratch's cost at the target over the strategy's.

    relation: "=" for a measured ratio; "<" if the strategy never held the target, so that the value is an upper bound;
    ">" if only scratch never did; "undetermined" if neither did (value is NaN).
    cost: the strategy's at the target, or its whole cost if it never held it. bracket: its cost one evaluation before
    the crossing, or None. low, high: 95 % interval, or None; note says how it was computed, or why there is none.
    """

    value: float
    relation: Relation
    cost: float
    bracket: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Run:
    """One strategy's curves in one currency.

    accuracy, cost: both (evaluations, seeds); cost is the total since the start of the trial.
    """

    accuracy: np.ndarray
    cost: np.ndarray

    @property
    def seeds(self) -> int:
        return self.accuracy.shape[1]

    @cached_property
    def measured(self) -> bool:
        """Whether the cost is known everywhere."""
        return not np.isnan(self.cost).any()

    @cached_property
    def common_cost(self) -> np.ndarray | None:
        """The cost at each evaluation, (evaluations,), if all seeds have the same (as in steps); otherwise None."""
        return self.cost[:, 0] if (self.cost == self.cost[:, :1]).all() else None

    def final_accuracy(self) -> float:
        """Return the across-seed mean at the end; for scratch at horizon 1, the provisional target. NaN if any seed's is."""
        return float(self.accuracy[-1].mean())

    @cached_property
    def mean_accuracy(self) -> np.ndarray:
        """The across-seed mean, (evaluations,)."""
        return self.accuracy.mean(axis=1)

    def crossing(self, target: float) -> int | None:
        """Return the evaluation from which the across-seed mean holds the target, or None."""
        if target not in self._crossed:  # scratch's are requested once per strategy
            self._crossed[target] = find_crossing(self.mean_accuracy, target)
        return self._crossed[target]

    @cached_property
    def _crossed(self) -> dict[float, int | None]:
        return {}

    @cached_property
    def _mean_costs(self) -> list[float]:
        return (self.cost.sum(axis=1) / self.seeds).tolist()

    def mean_cost(self, evaluation: int) -> float:
        """Return the across-seed mean cost at an evaluation; -1 for the whole run."""
        return self._mean_costs[evaluation]

    def seed_costs(self, target: float) -> np.ndarray:
        """Return each seed's own cost at the target, (seeds,), infinite for a seed that did not cross."""
        found = find_crossings(self.accuracy.T, target)
        reached = found < len(self.accuracy)
        return np.where(reached, self.cost[np.where(reached, found, -1), np.arange(self.seeds)], np.inf)

    def take(self, seeds: np.ndarray) -> Run:
        """Return the run of the seeds at these positions, which may repeat."""
        return Run(self.accuracy[:, seeds], self.cost[:, seeds])


def full_target(scratch: Run, published: float | None = None) -> float:
    """Return the accuracy to be matched: the published one or, without one, scratch's own final mean."""
    return scratch.final_accuracy() if published is None else published


def reference(scratch: Run, share: float = 1.0, published: float | None = None) -> Speedup:
    """Return scratch's own row: at the full target, its cost is its full horizon, by definition; at a share, its crossing."""
    crossing = -1 if share == 1.0 else scratch.crossing(share * full_target(scratch, published))
    return Speedup(1.0, "=", scratch.mean_cost(-1 if crossing is None else crossing), note="by definition")


@dataclass(frozen=True)
class Drawn:
    """Jointly resampled seeds, and the evaluation from which each resample's means hold the target.

    counts: (held, seeds), how often each seed was drawn, for the resamples in which both hold the target. theirs, ours: (held,),
    the evaluations at which scratch and the strategy cross. missed: the number of all other resamples.
    """

    counts: np.ndarray
    theirs: np.ndarray
    ours: np.ndarray
    missed: int


@dataclass(frozen=True)
class Held:
    """The evaluation from which scratch and a strategy hold a target, or None; for their means, and resampled.

    It depends on accuracies alone, so it is the same in every currency. drawn: None without a bootstrap.
    """

    theirs: int | None
    ours: int | None
    drawn: Drawn | None = None


def hold(scratch: Run, strategy: Run, share: float = 1.0, published: float | None = None) -> Held:
    """Find where the across-seed means hold `share` of the target."""
    return hold_each(scratch, strategy, [share], published)[0]


def hold_each(scratch: Run, strategy: Run, shares: Sequence[float], published: float | None = None) -> list[Held]:
    """Do the same for several shares of the target, in their order."""
    full, end = full_target(scratch, published), len(strategy.accuracy)
    ours = find_crossings(strategy.mean_accuracy[None], np.array([share * full for share in shares]))
    # At the full target, scratch's cost is its full horizon, even if its mean reached the target earlier.
    theirs = [len(scratch.accuracy) - 1 if share == 1.0 else scratch.crossing(share * full) for share in shares]
    return [Held(place, None if mine == end else mine) for place, mine in zip(theirs, ours.tolist(), strict=True)]


def hold_resampled(
    scratch: Run, strategy: Run, share: float = 1.0, published: float | None = None, *, seed: int = 0
) -> Held:
    """Do the same for resamples too, if a bootstrap applies: seeds drawn jointly, a provisional target recomputed."""
    found = hold(scratch, strategy, share, published)
    if scratch.seeds < _BOOTSTRAP_FROM or found.theirs is None or found.ours is None:
        return found
    counts = _counts(scratch.seeds, seed)
    targets = share * (
        _means(scratch.accuracy[-1:], counts)[0] if published is None else np.full(len(counts), published)
    )
    last = np.full(len(counts), len(scratch.accuracy) - 1)
    theirs = last if share == 1.0 else _crossings(scratch.accuracy, counts, targets)
    ours = _crossings(strategy.accuracy, counts, targets)
    both = (theirs < len(scratch.accuracy)) & (ours < len(strategy.accuracy))
    return replace(found, drawn=Drawn(counts[both], theirs[both], ours[both], int((~both).sum())))


def compare(
    scratch: Run,
    strategy: Run,
    share: float = 1.0,
    *,
    published: float | None = None,
    seed: int = 0,
    held: Held | None = None,
) -> Speedup:
    """Return the strategy's speedup at `share` of the target, with its interval.

    scratch, strategy: paired, with the same seeds in the same order. published: the target, which then does not vary with the
    seeds; None uses the provisional one. seed: of the bootstrap. held: as returned by hold_resampled, if known.
    """
    return compare_each([(scratch, strategy)], share, published=published, seed=seed, held=held)[0]


def compare_each(
    pairs: Sequence[tuple[Run, Run]],
    share: float = 1.0,
    *,
    published: float | None = None,
    seed: int = 0,
    held: Held | None = None,
) -> list[Speedup]:
    """Do the same in several currencies: the pairs have the same accuracies and different costs."""
    if not pairs:
        return []
    held = held or hold_resampled(*pairs[0], share, published, seed=seed)
    points = [ratio(*pair, held) for pair in pairs]
    if points[0].relation != "=":  # then it is so in every currency
        return [replace(point, note="censored") for point in points]
    if held.drawn is None:
        return [_with_t_interval(point, *pair, share, published) for point, pair in zip(points, pairs, strict=True)]
    bounds, note = _bootstrap(pairs, held.drawn), f"bootstrap, n = {pairs[0][0].seeds}"
    return [replace(point, low=low, high=high, note=note) for point, (low, high) in zip(points, bounds, strict=True)]


def ratio(scratch: Run, strategy: Run, held: Held) -> Speedup:
    """Return the speedup without an interval."""
    theirs, ours = held.theirs, held.ours
    scratch_cost = scratch.mean_cost(-1 if theirs is None else theirs)
    cost = strategy.mean_cost(-1 if ours is None else ours)
    bracket = strategy.mean_cost(ours - 1) if ours else None
    if ours is None and theirs is None:
        return Speedup(float("nan"), "undetermined", cost)
    relation: Relation = "<" if ours is None else ">" if theirs is None else "="
    return Speedup(scratch_cost / cost, relation, cost, bracket)


@lru_cache(maxsize=4)
def _counts(seeds: int, seed: int) -> np.ndarray:
    """Return how often each seed is in each resample: the same for all strategies with `seeds` seeds."""
    drawn = np.random.default_rng(seed).integers(seeds, size=(_RESAMPLES, seeds))
    places = drawn + seeds * np.arange(_RESAMPLES)[:, None]
    counts = np.bincount(places.ravel(), minlength=_RESAMPLES * seeds).reshape(_RESAMPLES, seeds).astype(float)
    counts.flags.writeable = False
    return counts


def _means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each resample's means, (evaluations, resamples), of values (evaluations, seeds)."""
    missing = np.isnan(values)
    means = np.where(missing, 0.0, values) @ counts.T / counts.shape[1]
    if missing.any():  # a mean is NaN only if such a seed was drawn
        means[missing @ counts.T > 0] = np.nan
    return means


def _crossings(accuracy: np.ndarray, counts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return each resample's crossing, (resamples,); the number of evaluations if there is none.

    A mean lies between the minimum and the maximum over its seeds. So evaluations only matter after the last one at which
    every resample must be below its target, and up to the last one at which any might be. They are searched from their end, a few
    at a time, as most resamples are soon found to be below. Arrays are (evaluations, resamples): NumPy is quick along long rows.
    """
    below_all = np.flatnonzero(accuracy.max(axis=1) < targets.min() - 2 * ROUNDING)
    unsure = np.flatnonzero(~(accuracy.min(axis=1) >= targets.max()))  # comparing NaN gives False
    start = int(below_all[-1]) + 1 if len(below_all) else 0
    stop = max(start, int(unsure[-1]) + 1 if len(unsure) else 0)
    found, left = np.full(len(counts), start), np.arange(len(counts))
    places = np.arange(1, _AT_ONCE + 1, dtype=np.uint8)[:, None]
    while len(left) and stop > start:
        begin = max(start, stop - _AT_ONCE)
        below = ~(_means(accuracy[begin:stop], counts[left]) >= targets[left] - ROUNDING)
        here = (below * places[: stop - begin]).max(axis=0)  # one after the last that is below, 0 without one
        found[left[here > 0]] = begin + here[here > 0]
        left, stop = left[here == 0], begin
    return found


def _bootstrap(pairs: Sequence[tuple[Run, Run]], drawn: Drawn) -> list[list[float]]:
    """Return the percentile bootstrap interval of each pair's ratio. A miss counts as infinite cost."""
    ratios = [
        _costs(scratch, drawn.theirs, drawn.counts) / _costs(strategy, drawn.ours, drawn.counts)
        for scratch, strategy in pairs
    ]
    values = np.concatenate([np.zeros((len(pairs), drawn.missed)), ratios], axis=1)
    # As np.percentile does, which takes three times as long.
    places = np.array([0.025, 0.975]) * (values.shape[1] - 1)
    first = places.astype(int)
    ordered = np.sort(values, axis=1)  # NumPy sorts faster than it partitions at two positions
    return (ordered[:, first] + (ordered[:, first + 1] - ordered[:, first]) * (places - first)).tolist()


def _costs(run: Run, at: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each resample's mean cost at its own evaluation, (resamples,)."""
    if run.common_cost is not None:  # whichever seeds are drawn
        return run.common_cost[at]
    return np.einsum("rs,rs->r", run.cost[at], counts) / counts.shape[1]


def _with_t_interval(point: Speedup, scratch: Run, strategy: Run, share: float, published: float | None) -> Speedup:
    """Add a paired t interval on the log ratios of per-seed costs; none if it would be meaningless."""
    n, target = scratch.seeds, share * full_target(scratch, published)
    ours = strategy.seed_costs(target)
    theirs = scratch.cost[-1] if share == 1.0 else scratch.seed_costs(target)
    if n < 3:
        return replace(point, note=f"n = {n} is too small")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return replace(point, note=f"none: {np.isfinite(ours).sum()} of {n} seeds crossed")
    logs = np.log(theirs / ours)
    if np.ptp(logs) < _ONE_EVALUATION:
        return replace(point, note=f"none: all {n} seeds crossed at one evaluation")
    low, high = paired_interval(logs)
    return replace(point, low=math.exp(low), high=math.exp(high), note=f"t, n = {n}")
