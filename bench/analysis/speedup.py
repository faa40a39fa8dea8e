"""How much cheaper a strategy reaches the target than scratch does, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
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
    low, high: 95 % interval, or None, and `interval_note` says why there is none.
    """

    value: float
    relation: Relation
    low: float | None = None
    high: float | None = None
    interval_note: str = ""


@dataclass(frozen=True)
class Run:
    """One strategy's curves in one currency.

    accuracy, cost: both (evaluations, seeds), cost being the total since the start of the trial.
    """

    accuracy: np.ndarray
    cost: np.ndarray

    def cost_at(self, target: float) -> float | None:
        """Return the across-seed mean cost where the across-seed mean accuracy crosses; None where it does not."""
        crossing = find_crossing(self.accuracy.mean(axis=1), target)
        return None if crossing is None else float(self.cost[crossing.index].mean())

    def whole_cost(self) -> float:
        """Return the across-seed mean cost of the whole horizon."""
        return float(self.cost[-1].mean())

    def seed_costs(self, target: float) -> np.ndarray:
        """Return each seed's own cost at the target, (seeds,), infinite for a seed that did not cross."""
        found = [find_crossing(column, target) for column in self.accuracy.T]
        return np.array([np.inf if c is None else self.cost[c.index, seed] for seed, c in enumerate(found)])

    def reach(self, target: float) -> float:
        """Return the share of seeds that crossed."""
        return float(np.isfinite(self.seed_costs(target)).mean())

    def take(self, seeds: np.ndarray) -> Run:
        """Return the run of some seeds, by place; a place may come more than once."""
        return Run(self.accuracy[:, seeds], self.cost[:, seeds])


def ratio(scratch_cost: float | None, scratch_whole: float, run: Run, target: float) -> tuple[float, Relation]:
    """Compare costs at the target. scratch_cost: None where scratch is censored; scratch_whole: its whole cost."""
    cost = run.cost_at(target)
    if cost is not None and scratch_cost is not None:
        return scratch_cost / cost, "="
    if scratch_cost is not None:
        return scratch_cost / run.whole_cost(), "<"
    if cost is not None:
        return scratch_whole / cost, ">"
    return float("nan"), "undetermined"


def compare(scratch: Run, strategy: Run, share: float = 1.0, *, seed: int = 0) -> Speedup:
    """Return the strategy's speedup at `share` of the provisional target, with its interval.

    scratch, strategy: paired, the same seeds in the same order. At the full target scratch's cost is its full horizon.
    seed: of the bootstrap.
    """
    target = share * scratch.accuracy[-1].mean()
    value, relation = ratio(_scratch_cost(scratch, share), scratch.whole_cost(), strategy, target)
    n = scratch.accuracy.shape[1]
    if relation != "=":
        return Speedup(value, relation, interval_note="censored")
    if n >= _BOOTSTRAP_FROM:
        low, high = _bootstrap(scratch, strategy, share, np.random.default_rng(seed))
        return Speedup(value, relation, low, high, f"bootstrap over {n} seeds")
    return _with_t_interval(value, scratch, strategy, share, target)


def _scratch_cost(scratch: Run, share: float) -> float | None:
    target = share * scratch.accuracy[-1].mean()
    return scratch.whole_cost() if share == 1.0 else scratch.cost_at(target)


def _bootstrap(scratch: Run, strategy: Run, share: float, random: np.random.Generator) -> tuple[float, float]:
    """Resample seeds jointly; average, set the target, cross and compare anew. A miss counts as infinite cost."""
    n = scratch.accuracy.shape[1]
    values = []
    for _ in range(_RESAMPLES):
        seeds = random.integers(n, size=n)
        old, new = scratch.take(seeds), strategy.take(seeds)
        value, relation = ratio(_scratch_cost(old, share), old.whole_cost(), new, share * old.accuracy[-1].mean())
        values.append(value if relation == "=" else 0.0)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _with_t_interval(value: float, scratch: Run, strategy: Run, share: float, target: float) -> Speedup:
    """Student's t on the paired log ratios of per-seed costs; none where it would say nothing."""
    n = scratch.accuracy.shape[1]
    ours = strategy.seed_costs(target)
    theirs = scratch.cost[-1] if share == 1.0 else scratch.seed_costs(target)
    if n < 3:
        return Speedup(value, "=", interval_note=f"n = {n} is too small")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return Speedup(value, "=", interval_note="not every seed crossed")
    logs = np.log(theirs / ours)
    if np.ptp(logs) < 1e-12:
        return Speedup(value, "=", interval_note="all seeds crossed at the same evaluation")
    half = stats.t.ppf(0.975, n - 1) * logs.std(ddof=1) / np.sqrt(n)
    return Speedup(value, "=", float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half)), f"t, n = {n}")
