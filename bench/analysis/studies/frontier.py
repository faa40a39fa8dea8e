"""The frontier: a strategy's final accuracy against its cost, over several horizons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.guards.seen import mark_seen
from bench.analysis.published import published_of, scored
from bench.analysis.ranking.leaderboard import ONE_DEVICE
from bench.analysis.speedup.crossing import ROUNDING
from bench.analysis.speedup.curves import Key, Measured
from bench.analysis.speedup.inversion import equal_cost_interval
from bench.analysis.speedup.speedup import full_target, hold, ratio, reference
from bench.analysis.speedup.student import paired_interval
from bench.catalog import REFERENCE
from bench.records.sharing import comparable

_COLUMNS = [
    "strategy",
    "horizons",
    "n",
    "target",
    "cost",
    "value",
    "relation",
    "low",
    "high",
    "low_open",
    "high_open",
    "note",
    "attributable",
    "value_inside",
    "relation_inside",
]
_COST_INTERVAL = ["cost_low", "cost_high", "cost_low_open", "cost_high_open"]


def frontiers(
    trials: pd.DataFrame, evals: pd.DataFrame, *, currency: str = "flops", share: float = 1.0
) -> pd.DataFrame:
    """Return a row for each strategy that was run at more than one horizon, of one scenario and update.

    trials, evals: as returned by bench.records.collect. Seeds are those finished by scratch at horizon 1 and at every horizon
    of the strategy. A strategy has no row if there is no such seed, if the currency was not measured, or, in seconds and joules,
    if machines differ. share: of the target, which is the published one, or else scratch's final accuracy.
    Columns: strategy, horizons (in words), n, target; cost (the lowest at and beyond which every horizon ends at the target, NaN
    if the longest misses), value (scratch's full cost over it, or over the costliest horizon's as a bound), relation ("=" or
    "<"); low, high (95 % interval of value, by inverting the paired t test, see bench.analysis.speedup.inversion; NaN if there is
    none), low_open, high_open (whether that end lies outside the horizons that were run), note (how the interval was made, or why
    there is none); attributable (scratch's own least cost at the target, over its horizons, over the strategy's: what continuing
    saves and a shorter scratch does not; NaN if scratch was run at one horizon, or on other seeds); value_inside, relation_inside
    (the speedup inside the one run of the longest horizon: at the evaluation from which its mean never again falls below the
    target, as in a leaderboard's row. It is shown for comparison: it flatters a schedule that lowers the learning rate early).
    """
    published = published_of(trials)
    trials, evals = scored(trials, evals)
    horizons = trials.groupby("strategy")["horizon"].nunique()
    several = sorted(horizons[horizons > 1].index)
    if not several:
        return pd.DataFrame(columns=_COLUMNS)
    measured, rows = Measured(evals[evals["strategy"].isin([*several, REFERENCE])]), []
    for strategy in several:
        keys = [key for key in measured.keys if key[0] == strategy]
        seeds = sorted(measured.seeds((REFERENCE, 1.0)).intersection(*map(measured.seeds, keys)))
        if len(keys) < 2 or not seeds:
            continue
        machines = trials[(trials["strategy"].isin([strategy, REFERENCE])) & trials["seed"].isin(seeds)]["machine"]
        if currency in ONE_DEVICE and not comparable(set(machines)):
            continue
        full = measured.curves((REFERENCE, 1.0), seeds).run(currency)
        ended = [full if key == (REFERENCE, 1.0) else measured.curves(key, seeds).run(currency) for key in keys]
        costs = np.array([run.mean_cost(-1) for run in ended])
        if np.isnan(costs).any() or np.isnan(full.cost).any():
            continue
        fixed = published.accuracy if published else None
        target = share * full_target(full, fixed)
        found = cost_at(costs, np.array([run.final_accuracy() for run in ended]), target)
        aims = np.full(len(seeds), target) if published else share * full.accuracy[-1]
        order = np.argsort(costs, kind="stable")
        longest = ended[-1]  # keys are in order
        inside = (
            reference(full, share, fixed)
            if longest is full
            else ratio(full, longest, hold(full, longest, share, fixed))
        )
        differences = np.stack([ended[place].accuracy[-1] - aims for place in order])
        rows.append(
            {
                "strategy": strategy,
                "horizons": ", ".join(f"{horizon:g}" for _, horizon in keys),
                "n": len(seeds),
                "target": target,
                "cost": np.nan if found is None else found,
                "value": full.mean_cost(-1) / (costs.max() if found is None else found),
                "relation": "<" if found is None else "=",
                **_interval(full.mean_cost(-1), costs[order], differences),
                "value_inside": inside.value,
                "relation_inside": inside.relation,
            }
        )
    return mark_seen(_attributed(pd.DataFrame(rows, columns=_COLUMNS)), trials)


def _attributed(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the attributable ratio: scratch's own least cost at the target over the strategy's, where both are known."""
    own = rows[rows["strategy"] == REFERENCE]
    if own.empty:
        return rows
    scratch = own.iloc[0]
    comparable = (rows["n"] == scratch["n"]) & (rows["strategy"] != REFERENCE)
    return rows.assign(attributable=(scratch["cost"] / rows["cost"].astype(float)).where(comparable))


def cost_at(costs: np.ndarray, accuracies: np.ndarray, target: float) -> float | None:
    """Return the lowest cost at and beyond which every horizon ends at the target, or None if the longest misses.

    costs, accuracies: (horizons,), of whole trials. Each accuracy is first lowered to the worst at that cost or more, so that of
    several crossings the most expensive counts. Between the two horizons around the target, interpolation is linear in log cost;
    the result is never below the lowest cost that was run.
    """
    order = np.argsort(costs, kind="stable")
    spent, reached = costs[order], lasting(accuracies[order])
    above = np.flatnonzero(reached >= target - ROUNDING)
    if not len(above):
        return None
    first = int(above[0])
    if first == 0:
        return float(spent[0])
    low, high = accuracies[order][first - 1], reached[first]
    if np.isnan(low):
        return float(spent[first])
    along = min(1.0, (target - low) / (high - low))
    return float(spent[first - 1] * (spent[first] / spent[first - 1]) ** along)


def lasting(accuracies: np.ndarray) -> np.ndarray:
    """Return each accuracy lowered to the worst of itself and the longer horizons; -inf where one of these is NaN.

    accuracies: (horizons,), in the order of costs.
    """
    known = np.where(np.isnan(accuracies), -np.inf, accuracies)
    return np.minimum.accumulate(known[::-1])[::-1]


def _interval(scratch_cost: float, costs: np.ndarray, differences: np.ndarray) -> dict[str, object]:
    """Return the columns that say how sure a frontier speedup is. differences: (horizons, seeds), in the order of costs."""
    n = differences.shape[1]
    found = equal_cost_interval(costs, differences)
    # Where the longest misses for sure, no shorter one that may be as accurate holds the target for good.
    missed = paired_interval(differences[-1])[1] < 0
    if found is not None and not missed:
        low, high = scratch_cost / found.high, scratch_cost / found.low
        ends = {"low": low, "high": high, "low_open": found.high_open, "high_open": found.low_open}
        return {**ends, "note": f"paired t, inverted, n = {n}"}
    if n < 3:
        why = f"n = {n} is too small"
    elif np.isnan(differences).any():
        why = "an accuracy is not a number"
    elif np.ptp(differences, axis=1).max() < 1e-12:
        why = "the same difference for every seed"
    elif found is not None:
        why = "significantly below the target at the longest horizon"
    else:
        why = f"significantly {'above' if differences[0].mean() > 0 else 'below'} the target at every horizon"
    return {"low": np.nan, "high": np.nan, "low_open": False, "high_open": False, "note": f"none: {why}"}


def frontier_points(
    trials: pd.DataFrame, evals: pd.DataFrame, *, currency: str = "flops", share: float = 1.0
) -> pd.DataFrame:
    """Return the points of the frontiers: a row for each horizon of every strategy in `frontiers`, sorted by cost.

    trials, evals: as returned by bench.records.collect. If there are any rows, scratch at horizon 1 is among them.
    Columns: strategy, title, horizon, n, cost (of the whole trial), accuracy (validation, at its end), std (over seeds, NaN for
    one), frontier (the accuracy lowered to the worst at that cost or more), target, cost_at_target, value, relation (these four
    as in `frontiers`); cost_low, cost_high, cost_low_open, cost_high_open (the 95 % interval of cost_at_target, and which of its
    ends lie outside the horizons that were run; empty without an interval). All after target are empty for scratch if it was run
    at one horizon.
    """
    found = frontiers(trials, evals, currency=currency, share=share)
    trials, evals = scored(trials, evals)
    titles = dict(zip(trials["strategy"], trials["title"], strict=True))
    measured, scratch = Measured(evals), (REFERENCE, 1.0)
    parts = []
    for _, row in found.iterrows():
        keys = [key for key in measured.keys if key[0] == row["strategy"]]
        seeds = measured.seeds(scratch).intersection(*map(measured.seeds, keys))
        points = [_point(measured, key, seeds, currency) for key in keys]
        full = measured.curves(scratch, seeds).run(currency).mean_cost(-1)
        same = {
            "target": row["target"],
            "cost_at_target": row["cost"],
            "value": row["value"],
            **_cost_interval(row, full),
        }
        rows = pd.DataFrame(points).sort_values("cost", kind="stable").assign(**same, relation=row["relation"])
        parts.append(rows.assign(frontier=lasting(rows["accuracy"].to_numpy())))
    if parts and REFERENCE not in set(found["strategy"]):
        alone = _point(measured, scratch, measured.seeds(scratch), currency)
        parts.insert(0, pd.DataFrame([alone]).assign(target=found["target"].iloc[0]))
    columns = ["strategy", "title", "horizon", "n", "cost", "accuracy", "std", "frontier", "target", "cost_at_target"]
    columns += ["value", "relation", *_COST_INTERVAL]
    if not parts:
        return pd.DataFrame(columns=columns)
    together = pd.concat(parts, ignore_index=True)
    return together.assign(title=together["strategy"].map(titles)).reindex(columns=columns)


def _cost_interval(row: pd.Series, full: float) -> dict[str, Any]:
    """Return a frontier's interval as costs. full: scratch's; the speedup's upper end is the lower end of the cost."""
    if np.isnan(row["low"]):
        return {}
    ends = full / row["high"], full / row["low"], bool(row["high_open"]), bool(row["low_open"])
    return dict(zip(_COST_INTERVAL, ends, strict=True))


def _point(measured: Measured, key: Key, seeds: frozenset[int], currency: str) -> dict[str, object]:
    run = measured.curves(key, seeds).run(currency)
    std = float(run.accuracy[-1].std(ddof=1)) if run.seeds > 1 else np.nan
    ended = {"cost": run.mean_cost(-1), "accuracy": run.final_accuracy(), "std": std}
    return {"strategy": key[0], "horizon": key[1], "n": run.seeds, **ended}
