"""One scenario's leaderboard: every strategy's speedup over scratch at matched accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.guards.guard import untrained
from bench.analysis.guards.honesty import convergence_columns, scratch_columns
from bench.analysis.guards.seen import mark_seen
from bench.analysis.published import Published, published_of, scored, span
from bench.analysis.ranking.tuning import tuning_columns
from bench.analysis.speedup.curves import ACCURACIES, CURRENCIES, Curves, Measured, positions
from bench.analysis.speedup.speedup import (
    Held,
    Run,
    Speedup,
    compare_each,
    full_target,
    hold_each,
    hold_resampled,
    ratio,
    reference,
)
from bench.analysis.speedup.survival import estimate_reach
from bench.catalog import REFERENCE, scenario_argument
from bench.errors import NothingToCompareError, RecordError
from bench.records.sharing import comparable, is_shared

RELATIVE_TARGETS = (0.90, 0.95, 0.98, 0.99)
RELATIVE_TARGETS_AND_FULL = (*RELATIVE_TARGETS, 1.0)
# What is compared only between trials of one kind of machine, which had it to themselves.
ONE_DEVICE = {"device_seconds", "gpu_joules"}
_BASE_COSTS = [f"base_{currency}" for currency in CURRENCIES]
_AT_CROSSING = {name: name.replace("_accuracy", "_at_crossing") for name in ACCURACIES}
_NOTHING = dict.fromkeys(Speedup.__dataclass_fields__)
_SCRATCH = (REFERENCE, 1.0)
_OF_TRIALS = (
    "status",
    "machine",
    "device",
    "commit",
    "modified",
    "commit_reason",
    "rules_version",
    "shipped",
    "tuning_flops",
)
_OF_A_ROW = ("scenario", "scenario_title", "update", "updates", "strategy", "title", "horizon", "old_share")


def leaderboard(
    trials: pd.DataFrame, evals: pd.DataFrame, *, currency: str = "flops", share: float = 1.0
) -> pd.DataFrame:
    """Return a row for each strategy and horizon of one update of a scenario: scratch, the reference, then the others by rank.

    trials, evals: as returned by bench.records.collect, of one scenario and update. share: of the target, which is the published
    one, or else scratch's final accuracy. A strategy is compared with scratch on the seeds that both have finished; one that
    shares none has a row with n = 0 and nothing else. Seeds that a published target was made from are not scored.

    Columns:
    rank (whole; empty for the reference, scratch at horizon 1), currency, share, scenario, scenario_title, update, updates,
    strategy, title, horizon, old_share, n, unfinished, missing (seeds that scratch has and the strategy has not), scratch_steps;
    target, target_std; reached (share of seeds that reached it; empty for the reference), median and restricted_mean (of the
    seeds' costs in `currency`, see survival.Reach);
    for each currency <c> the fields of Speedup as value_<c>, relation_<c>, cost_<c>, bracket_<c>, low_<c>, high_<c>, note_<c>,
    empty where the currency was not measured, machines differ or were shared; value_flops_at_<share>, relation_flops_at_<share>;
    validation_accuracy, test_accuracy and their _std at the end, of all, and as _old and _new; validation_at_crossing, and
    test_at_crossing at the next evaluation that took it, both of all and as _old and _new, empty without a crossing;
    base_<c> (of the first update only: life.py has the later ones of a chain); device, commit, modified, rules_version;
    commit_reason (why commits are unknown; only where one is);
    shared (whether some trials shared their device or a busy machine; only where one did);
    shipped (whether the records came with bench; only where such records were added); may_have_seen (which held-out images a
    given old model may have been trained on; only where there are any); tuning_flops, tuning, pays_after (see tuning_columns;
    only where a record says what tuning cost). Where a target is published, also the columns of honesty.py.

    Raises RecordError where there is no scratch to compare with, or trials that must not be compared.
    """
    refuse_mixtures(trials)
    published, every = published_of(trials), len(trials)
    trials, evals = scored(trials, evals)
    require_scratch(trials, evals)
    measured = Measured(evals)
    asked = {name: trials[name].tolist() for name in (*_OF_A_ROW, *_OF_TRIALS, *_BASE_COSTS) if name in trials}
    found = positions(trials)
    machines = {key: {asked["machine"][place] for place in places} for key, places in found.items()}
    seeds, references = measured.seeds(_SCRATCH), {}
    rows = []
    for key, places in found.items():
        facts, common = _facts(asked, places.tolist()), seeds & measured.seeds(key)
        if common:
            if common not in references:  # most strategies have the same seeds
                references[common] = measured.curves(_SCRATCH, common)
            scratch = references[common]
            mine = scratch if key == _SCRATCH else measured.curves(key, common)
            one_device = comparable(machines[key] | machines.get(_SCRATCH, set()))
            figures = _figures(scratch, mine, one_device, currency, share, published)
            rows.append({**facts, "missing": len(seeds - common), **figures})
        else:  # nothing to compare, and not to be hidden
            rows.append({**facts, "missing": len(seeds), "n": 0})
    table = pd.DataFrame(rows).assign(currency=currency, share=share)
    if published:
        ends = measured.curves(_SCRATCH).values["validation_accuracy"][-1]
        table = table.assign(**scratch_columns(published, ends, every - len(trials)))
    if table[f"value_{currency}"].isna().all():
        raise RecordError(
            f"{trials['scenario'].iloc[0]}: no {currency} to compare: not measured, or on different machines, or shared ones. "
            "Choose another currency."
        )
    if "tuning_flops" in table:
        if table["tuning_flops"].isna().all():
            table = table.drop(columns="tuning_flops")
        else:
            table = table.assign(**tuning_columns(table, measured.curves(_SCRATCH).run("flops").mean_cost(-1)))
    return mark_seen(_ranked(table, currency), trials)


def mean_curves(trials: pd.DataFrame, evals: pd.DataFrame, currency: str) -> pd.DataFrame:
    """Return what accuracy against a currency is drawn from: a row for each strategy, horizon and evaluation.

    Of the seeds that are scored: not those that a published target was made from.
    Columns: strategy, title, horizon, step, cost, accuracy, std (over seeds, NaN for one), low, high (the mean minus
    and plus std), n.
    """
    trials, evals = scored(trials, evals)
    titles = dict(zip(trials["strategy"], trials["title"], strict=True))
    measured, rows = Measured(evals), []
    for strategy, horizon in measured.keys:
        curves = measured.curves((strategy, horizon))
        run = curves.run(currency)
        mean = run.accuracy.mean(axis=1)
        std = run.accuracy.std(axis=1, ddof=1) if run.seeds > 1 else np.full(len(mean), np.nan)
        spread = np.where(np.isnan(std), 0.0, std)
        named = {"strategy": strategy, "title": titles[strategy], "horizon": horizon, "step": curves.steps}
        named |= {"cost": run.cost.mean(axis=1), "accuracy": mean, "std": std}
        rows.append(pd.DataFrame({**named, "low": mean - spread, "high": mean + spread, "n": run.seeds}))
    return pd.concat(rows, ignore_index=True)


def by_strategy(frame: pd.DataFrame) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Yield (strategy, horizon, its rows), in order."""
    for (strategy, horizon), places in positions(frame).items():
        yield strategy, horizon, frame.iloc[places]


def require_scratch(trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluations of scratch at horizon 1, of seeds that are scored.

    Raises NothingToCompareError where there are none, or where they set no target, because one diverged or they learned nothing;
    RecordError where a seed ends with an accuracy that is not a number.
    """
    found, name = evals[(evals["strategy"] == REFERENCE) & (evals["horizon"] == 1.0)], trials["scenario"].iloc[0]
    if found.empty:
        published = published_of(trials)
        why = (
            f"apart from those of seeds {span(published.seeds)}, which its target was published from"
            if published
            else ""
        )
        raise NothingToCompareError(
            f"{name}: no finished scratch trial at horizon 1{f' {why}' if why else ', so there is no target'}. "
            f"Run: bench run --scenario {scenario_argument(name)} --strategy scratch"
        )
    refuse_untrained(trials[(trials["strategy"] == REFERENCE) & (trials["horizon"] == 1.0)])
    ends = found[found["step"] == found["step"].max()]
    lost = ends[~np.isfinite(ends["validation_accuracy"].astype(float))]
    if len(lost):
        raise RecordError(
            f"{name}: scratch seed {lost['seed'].iloc[0]} ends with a validation accuracy that is not a number, so there is no "
            "target. Run it again with --fresh, or remove its record."
        )
    return found


def refuse_untrained(scratch: pd.DataFrame) -> None:
    """Raise NothingToCompareError where trials of scratch set no target. scratch: of one update, as in Records.trials."""
    name = scratch["scenario"].iloc[0]
    advice = "Lower training.learning_rate in the scenario, or train longer."
    diverged = scratch[scratch["status"] == "diverged"]
    if len(diverged):
        first = diverged.iloc[0]
        raise NothingToCompareError(
            f"{name}: scratch seed {first['seed']} {first['reason']}, so there is no target. {advice}"
        )
    done = scratch[scratch["status"] == "finished"]
    known = done[done["chance"].notna()] if "chance" in done else done.iloc[:0]
    why = (
        untrained(*(known[column].tolist() for column in ("validation_accuracy", "chance", "validation_images")))
        if len(known)
        else None
    )
    if why:
        raise NothingToCompareError(f"{name}: scratch {why}, so there is no target. {advice}")


def paired(trials: pd.DataFrame, evals: pd.DataFrame, currency: str) -> Iterator[tuple[str, float, Curves, Curves]]:
    """Yield (strategy, horizon, scratch's curves, its own) on the seeds that both have finished, in order.

    What shares no seed with scratch is left out, and so are seeds that are not scored, and what cannot be compared in
    `currency`: it was not measured, or on different machines, or shared ones. Scratch's own are one and the same.
    Raises RecordError where there is no scratch, or trials that must not be compared.
    """
    refuse_mixtures(trials)
    trials, evals = scored(trials, evals)
    require_scratch(trials, evals)
    measured, machines = Measured(evals), trials["machine"].to_numpy(object)
    ran_on = {key: set(machines[places]) for key, places in positions(trials).items()}
    seeds = measured.seeds(_SCRATCH)
    for key in measured.keys:
        common = seeds & measured.seeds(key)
        if not common or (currency in ONE_DEVICE and not comparable(ran_on[key] | ran_on[_SCRATCH])):
            continue
        theirs = measured.curves(_SCRATCH, common)
        mine = theirs if key == _SCRATCH else measured.curves(key, common)
        if all(curves.run(currency).measured for curves in (theirs, mine)):
            yield *key, theirs, mine


def _facts(trials: dict[str, list[Any]], places: Sequence[int]) -> dict[str, object]:
    """Return what a row says without any comparison, of the trials at these places. trials: values by column."""
    status = trials["status"]
    finished = [place for place in places if status[place] == "finished"]

    def every(column: str) -> list[Any]:
        values = trials[column]
        return [values[place] for place in finished]

    bases = {name: _mean(np.array(every(name), dtype=float)) for name in _BASE_COSTS if name in trials}
    first = {name: trials[name][places[0]] for name in _OF_A_ROW}
    return {
        **first,
        "unfinished": len(places) - len(finished),
        **(bases if first["update"] == 1 else dict.fromkeys(bases)),
        "device": " / ".join(sorted(set(every("device")))),
        "commit": " / ".join(sorted({str(commit)[:10] for commit in every("commit")})),
        **_unknown(trials.get("commit_reason", ()), places),
        "modified": not all(modified is False for modified in every("modified")),  # unknown counts as modified
        **({"shipped": any(every("shipped"))} if "shipped" in trials else {}),
        **({"tuning_flops": trials["tuning_flops"][places[0]]} if "tuning_flops" in trials else {}),
        **({"shared": True} if any(map(is_shared, every("machine"))) else {}),
        "rules_version": trials["rules_version"][places[0]],  # refuse_mixtures has seen that there is only one
    }


def _unknown(reasons: Sequence[Any], places: Sequence[int]) -> dict[str, str]:
    """Return why commits are unknown, as a column that a table without such a trial does not have."""
    found = sorted({reasons[place] for place in places if isinstance(reasons[place], str)}) if reasons else []
    return {"commit_reason": " / ".join(found)} if found else {}


def _figures(
    scratch: Curves, mine: Curves, one_device: bool, lead: str, share: float, published: Published | None
) -> dict[str, object]:
    """Return what a row says in comparison with scratch, both on the same seeds."""
    is_scratch, fixed = mine is scratch, published.accuracy if published else None
    runs = {currency: (scratch.run(currency), mine.run(currency)) for currency in CURRENCIES}
    old, new = runs["flops"]
    target = share * full_target(old, fixed)
    spread = share * published.std if published else _std(share * old.accuracy[-1])
    row: dict[str, object] = {"n": new.seeds, "target": target, "target_std": spread}
    row["scratch_steps"] = int(scratch.steps[-1])
    known = {
        currency: pair
        for currency, pair in runs.items()
        if (one_device or currency not in ONE_DEVICE) and all(run.measured for run in pair)
    }
    row |= _speedups(known, None if is_scratch else hold_resampled(old, new, share, fixed), share, fixed)
    limit = float(runs[lead][0].cost[-1].max())  # scratch's whole cost: the same for every row
    row |= _reach(runs[lead][1], target, limit)
    if is_scratch:  # it sets the target, and its seeds lie on both sides of their own mean
        row["reached"] = None
    for relative, held in zip(RELATIVE_TARGETS, hold_each(old, new, RELATIVE_TARGETS, fixed), strict=True):
        there = ratio(old, new, held)
        row |= {f"value_flops_at_{relative:.2f}": there.value, f"relation_flops_at_{relative:.2f}": there.relation}
    crossing = len(mine.steps) - 1 if is_scratch and share == 1.0 else new.crossing(target)
    row |= _ends(mine) | dict.fromkeys(_AT_CROSSING.values())
    if crossing is not None:
        row |= {_AT_CROSSING[name]: float(found.mean()) for name, found in mine.accuracies_from(crossing).items()}
    return row | (convergence_columns(published, mine) if published else {})


def _speedups(
    known: dict[str, tuple[Run, Run]], held: Held | None, share: float, fixed: float | None
) -> dict[str, object]:
    """Return the fields of Speedup for every currency, empty for those that are not known.

    known: currency -> scratch's run and the strategy's. held: None for scratch itself.
    """
    if held is None:
        found = [reference(scratch, share, fixed) for scratch, _ in known.values()]
    else:
        found = compare_each(list(known.values()), share, published=fixed, held=held)
    fields = {**dict.fromkeys(CURRENCIES, _NOTHING), **dict(zip(known, map(vars, found), strict=True))}
    return {f"{name}_{currency}": value for currency, each in fields.items() for name, value in each.items()}


def _ends(mine: Curves) -> dict[str, object]:
    """Return each accuracy at the end: its mean over seeds, and its _std, NaN for one seed."""
    names = [name for name in ACCURACIES if name in mine.values]
    ends = np.stack([mine.values[name][-1] for name in names])
    # A seed without a number is not left out of the mean: that would be the mean of the others.
    means = ends.mean(axis=1).tolist()
    stds = np.std(ends, axis=1, ddof=1).tolist() if len(mine.seeds) > 1 else [float("nan")] * len(names)
    found: dict[str, object] = {}
    for name, mean, std in zip(names, means, stds, strict=True):
        found |= {name: mean, f"{name}_std": std}
    return found


def _reach(run: Run, target: float, limit: float) -> dict[str, object]:
    """Return how many seeds reached the target, and at what cost; no cost in a currency that was not measured."""
    costs = run.seed_costs(target)
    reached = ~np.isinf(costs)
    if not run.measured:
        return {"reached": float(reached.mean()), "median": None, "restricted_mean": None}
    found = estimate_reach(np.where(reached, costs, run.cost[-1]), reached, max(limit, run.cost[-1].max()))
    return {"reached": found.share, "median": found.median, "restricted_mean": found.restricted_mean}


def _mean(values: np.ndarray) -> float:
    """Return the mean of those that are there, NaN where none is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _std(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _ranked(rows: pd.DataFrame, currency: str) -> pd.DataFrame:
    """Put scratch first, without a rank, and the others in the order of their ranks.

    By the share of seeds that reached the target, so that a strategy that missed it on one seed never leads one that reached it
    on all; for equal shares, those whose mean holds the target, by speedup; then the others, by final accuracy.
    """
    is_reference = (rows["strategy"] == REFERENCE) & (rows["horizon"] == 1.0)
    held = rows[f"relation_{currency}"].isin(["=", ">"])
    better = rows[f"value_{currency}"].astype(float).where(held, rows["validation_accuracy"].astype(float))
    missed = -rows["reached"].astype(float)
    key = pd.DataFrame({"place": ~is_reference, "missed": missed, "censored": ~held, "worse": -better})
    order = key.sort_values(["place", "missed", "censored", "worse"], kind="stable", na_position="last").index
    rows = rows.loc[order].reset_index(drop=True)
    ranks = (~is_reference.loc[order].reset_index(drop=True)).cumsum().astype("Int64")
    rows.insert(0, "rank", ranks.mask(rows["strategy"].eq(REFERENCE) & rows["horizon"].eq(1.0)))
    return rows


def refuse_mixtures(trials: pd.DataFrame) -> None:
    """Raise RecordError where trials of one row, or of one table, do not ask the same."""
    name = trials["scenario"].iloc[0]
    for column in ("scenario_hash", "data_hash", "rules_version", "training_version"):
        found = sorted(map(str, trials[column].unique()))
        if len(found) > 1:
            raise RecordError(
                f"{name}: trials of different {column}: {', '.join(found)}. Keep them in separate folders."
            )
    hashes = trials.groupby(["strategy", "horizon"])["strategy_hash"].nunique()
    for strategy, horizon in hashes[hashes > 1].index:
        raise RecordError(
            f"{name}: {strategy} at horizon {horizon:g}: trials of different strategies under one name. "
            "Run them again with --fresh."
        )
