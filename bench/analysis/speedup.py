"""How much cheaper a strategy reaches the target than scratch does, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from bench.analysis.crossing import find_crossing

Relation = Literal["=", "<", ">", "undetermined"]
_BOOTSTRAP_FROM = 10  # seeds; a percentile bootstrap of fewer covers too little (3 seeds: 73 %, not 95 %)
_RESAMPLES = 2000


@dataclass(frozen=True)
class Speedup:
    """Scratch's cost at the target over the strategy's.

    relation: "=" for a measured ratio; "<" where the strategy never held the target, so that the value is a bound it
    stays below; ">" where only scratch never did; "undetermined" where neither did (value is NaN).
    cost: the strategy's at the target, its whole cost where it never held it. bracket: its cost one evaluation before
    the crossing, or None. low, high: 95 % interval, or None; note says how it was made, or why there is none.
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

    accuracy, cost: both (evaluations, seeds), cost being the total since the start of the trial.
    """

    accuracy: np.ndarray
    cost: np.ndarray

    @property
    def seeds(self) -> int:
        return self.accuracy.shape[1]

    def final_accuracy(self) -> float:
        """Return the across-seed mean at the end: of scratch at horizon 1, the provisional target. NaN where a seed's is."""
        return float(self.accuracy[-1].mean())

    def crossing(self, target: float) -> int | None:
        """Return the evaluation from which the across-seed mean holds the target, or None."""
        return find_crossing(self.accuracy.mean(axis=1), target)

    def mean_cost(self, evaluation: int) -> float:
        """Return the across-seed mean cost at an evaluation; -1 for the whole."""
        return float(self.cost[evaluation].mean())

    def seed_costs(self, target: float) -> np.ndarray:
        """Return each seed's own cost at the target, (seeds,), infinite for a seed that did not cross."""
        found = [find_crossing(curve, target) for curve in self.accuracy.T]
        return np.array([np.inf if place is None else self.cost[place, seed] for seed, place in enumerate(found)])

    def take(self, seeds: np.ndarray) -> Run:
        """Return the run of some seeds, by place; a place may come more than once."""
        return Run(self.accuracy[:, seeds], self.cost[:, seeds])


def full_target(scratch: Run, published: float | None = None) -> float:
    """Return the accuracy to be matched: the published one, or where there is none scratch's own mean at its end."""
    return scratch.final_accuracy() if published is None else published


def reference(scratch: Run, share: float = 1.0, published: float | None = None) -> Speedup:
    """Return scratch's own row: its cost at the full target is its full horizon, by definition; at a share, its crossing."""
    crossing = -1 if share == 1.0 else scratch.crossing(share * full_target(scratch, published))
    return Speedup(1.0, "=", scratch.mean_cost(-1 if crossing is None else crossing), note="by definition")


def compare(
    scratch: Run, strategy: Run, share: float = 1.0, *, published: float | None = None, seed: int = 0
) -> Speedup:
    """Return the strategy's speedup at `share` of the target, with its interval.

    scratch, strategy: paired, the same seeds in the same order. published: the target, which then does not vary with the seeds;
    None takes the provisional one. seed: of the bootstrap.
    """
    point = _ratio(scratch, strategy, share, published)
    if point.relation != "=":
        return replace(point, note="censored")
    if scratch.seeds >= _BOOTSTRAP_FROM:
        low, high = _bootstrap(scratch, strategy, share, published, np.random.default_rng(seed))
        return replace(point, low=low, high=high, note=f"bootstrap, n = {scratch.seeds}")
    return _with_t_interval(point, scratch, strategy, share, published)


def _ratio(scratch: Run, strategy: Run, share: float, published: float | None) -> Speedup:
    target = share * full_target(scratch, published)
    # At the full target scratch's cost is its full horizon, even where its mean happened to touch the target earlier.
    theirs = scratch.accuracy.shape[0] - 1 if share == 1.0 else scratch.crossing(target)
    ours = strategy.crossing(target)
    scratch_cost = scratch.mean_cost(-1 if theirs is None else theirs)
    cost = strategy.mean_cost(-1 if ours is None else ours)
    bracket = strategy.mean_cost(ours - 1) if ours else None
    if ours is None and theirs is None:
        return Speedup(float("nan"), "undetermined", cost)
    relation: Relation = "<" if ours is None else ">" if theirs is None else "="
    return Speedup(scratch_cost / cost, relation, cost, bracket)


def _bootstrap(
    scratch: Run, strategy: Run, share: float, published: float | None, random: np.random.Generator
) -> tuple[float, float]:
    """Resample seeds jointly; average, set a provisional target, cross and compare anew. A miss counts as infinite cost."""
    values = []
    for _ in range(_RESAMPLES):
        seeds = random.integers(scratch.seeds, size=scratch.seeds)
        point = _ratio(scratch.take(seeds), strategy.take(seeds), share, published)
        values.append(point.value if point.relation == "=" else 0.0)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _with_t_interval(point: Speedup, scratch: Run, strategy: Run, share: float, published: float | None) -> Speedup:
    """Add Student's t interval on the paired log ratios of per-seed costs; none where it would say nothing."""
    n, target = scratch.seeds, share * full_target(scratch, published)
    ours = strategy.seed_costs(target)
    theirs = scratch.cost[-1] if share == 1.0 else scratch.seed_costs(target)
    if n < 3:
        return replace(point, note=f"n = {n} is too small")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return replace(point, note=f"none: {np.isfinite(ours).sum()} of {n} seeds crossed")
    logs = np.log(theirs / ours)
    if np.ptp(logs) < 1e-12:
        return replace(point, note=f"none: all {n} seeds crossed at one evaluation")
    half = stats.t.ppf(0.975, n - 1) * logs.std(ddof=1) / np.sqrt(n)
    middle = logs.mean()
    return replace(point, low=float(np.exp(middle - half)), high=float(np.exp(middle + half)), note=f"t, n = {n}")
