"""A chain's whole life: the cost of all updates together, against training from scratch every time."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pandas as pd

from bench.analysis.guards.seen import mark_seen
from bench.analysis.published import scored
from bench.analysis.ranking.leaderboard import ONE_DEVICE, by_strategy, leaderboard
from bench.analysis.speedup.curves import CURRENCIES, positions
from bench.catalog import REFERENCE
from bench.errors import RecordError
from bench.records.sharing import comparable

_OF_A_ROW = ["scenario_title", "strategy", "title", "horizon"]


def whole_life(trials: pd.DataFrame, evals: pd.DataFrame, *, share: float = 1.0) -> pd.DataFrame:
    """Return a row for each strategy, horizon and currency of a chain, scratch first in each currency.

    trials, evals: as returned by bench.records.collect, for all updates of one scenario. Every update is paid for in full,
    because the next one starts from its end. Costs are means over the seeds for which both the strategy and scratch finished
    every update.
    Columns: scenario_title, strategy, title, horizon, currency, n, updates; base (mean cost of the base model, which training
    from scratch every time needs too; NaN if no record has it, and then no total includes it); update_1, update_2, ...; total;
    held (number of updates that held the target); value (scratch's total over the strategy's); relation ("=" if every target
    was held, otherwise "<": the cost bought less than scratch's). A strategy that shares no seed with scratch has n = 0 and
    no other values. A currency has no rows if it was not measured or, in seconds and joules, if machines differ.
    Raises RecordError if an update did not start from the weights that the recorded previous update left.
    """
    _refuse_broken_chains(trials)
    updates = int(trials["updates"].iloc[0])
    trials, evals = scored(trials, evals)
    held, ends, rows = _held(trials, evals, updates, share), _ends(evals), []
    facts = {key: trials.iloc[places[0]][_OF_A_ROW].to_dict() for key, places in positions(trials).items()}
    for currency, fields in CURRENCIES.items():
        known = f"base_{currency}" in trials and not evals[fields].isna().any(axis=None)
        if not known or (currency in ONE_DEVICE and not comparable(set(trials["machine"]))):
            continue
        base, costs = float(trials[f"base_{currency}"].astype(float).mean()), _whole_costs(ends, fields, updates)
        nothing = pd.DataFrame(columns=range(1, updates + 1))
        theirs = costs.get((REFERENCE, 1.0), nothing)
        for key in sorted(facts, key=lambda found: found[0] != REFERENCE):
            mine = costs.get(key, nothing)
            seeds = mine.index.intersection(theirs.index)
            row = facts[key] | {"currency": currency, "n": len(seeds), "updates": updates}
            if len(seeds):
                row |= _figures(mine.loc[seeds].mean(), theirs.loc[seeds].mean(), base, held[key])
            rows.append(row)
    costs = [*(f"update_{update}" for update in range(1, updates + 1)), "total"]
    columns = ["scenario_title", "strategy", "title", "horizon", "currency", "n", "updates", "base", *costs]
    return mark_seen(pd.DataFrame(rows, columns=[*columns, "held", "value", "relation"]), trials)


def _figures(mine: pd.Series, theirs: pd.Series, base: float, held: int) -> dict[str, object]:
    """Return a row's values. mine, theirs: the mean cost of each update; base: see whole_life."""
    sunk = 0.0 if np.isnan(base) else base
    total = sunk + mine.sum()
    return {
        "base": base,
        **{f"update_{update}": cost for update, cost in mine.items()},
        "total": total,
        "held": held,
        "value": (sunk + theirs.sum()) / total,
        "relation": "=" if held == len(mine) else "<",
    }


def _held(trials: pd.DataFrame, evals: pd.DataFrame, updates: int, share: float) -> dict[tuple[str, float], int]:
    """Count the updates in which each strategy, at each horizon, held the target; scratch holds its own."""
    counts = {(strategy, horizon): 0 for strategy, horizon, _ in by_strategy(trials)}
    for update in range(1, updates + 1):
        asked, measured = trials[trials["update"] == update], evals[evals["update"] == update]
        if not ((measured["strategy"] == REFERENCE) & (measured["horizon"] == 1.0)).any():
            continue  # no target, so no seed has every update of scratch
        rows = leaderboard(asked, measured, share=share)
        for strategy, horizon, _ in by_strategy(rows[rows["relation_flops"].isin(["=", ">"])]):
            counts[strategy, horizon] += 1
    return counts


def _ends(evals: pd.DataFrame) -> pd.DataFrame:
    """Return the last evaluation of each trial."""
    return evals.loc[evals.groupby(["strategy", "horizon", "seed", "update"], observed=True)["step"].idxmax()]


def _whole_costs(ends: pd.DataFrame, fields: list[str], updates: int) -> dict[Hashable, pd.DataFrame]:
    """Return the costs of whole trials, (seeds, updates), by strategy and horizon, for seeds with every update."""
    costs = ends.assign(cost=ends[fields].astype(float).sum(axis=1))
    table = costs.pivot(index=["strategy", "horizon", "seed"], columns="update", values="cost")
    whole = table.reindex(columns=range(1, updates + 1)).dropna()
    return {
        key: rows.droplevel(["strategy", "horizon"])
        for key, rows in whole.groupby(level=["strategy", "horizon"], observed=True)
    }


def _refuse_broken_chains(trials: pd.DataFrame) -> None:
    """Raise RecordError if a record's starting weights are not those that the previous update left."""
    key = ["strategy", "horizon", "seed", "update"]
    left = dict(zip(trials[key].itertuples(index=False, name=None), trials["weights_sha256"], strict=True))
    for row in trials[trials["previous_sha256"].notna()].to_dict("records"):
        strategy, seed, update = row["strategy"], row["seed"], row["update"]
        before = left.get((strategy, row["horizon"], seed, update - 1))
        if isinstance(before, str) and before != row["previous_sha256"]:
            raise RecordError(
                f"{row['scenario']}: {strategy} seed {seed}: update {update} did not start from the weights that "
                f"update {update - 1} left. Keep the records of one run together, or run the chain again with --fresh."
            )
