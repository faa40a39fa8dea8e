"""One scenario's leaderboard: every strategy's speedup over scratch at matched accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd

from bench.analysis.honesty import convergence_columns, scratch_columns
from bench.analysis.published import Published, published_of, scored, span
from bench.analysis.speedup import Run, Speedup, compare, full_target, reference
from bench.analysis.survival import estimate_reach
from bench.catalog import REFERENCE
from bench.errors import RecordError

# Currency -> the fields of an evaluation that add up to it.
CURRENCIES = {
    "steps": ["step"],
    "images": ["images"],
    "flops": ["train_flops", "aux_flops"],
    "device_seconds": ["device_seconds"],
    "gpu_joules": ["gpu_joules"],
}
RELATIVE_TARGETS = (0.90, 0.95, 0.98, 0.99)
RELATIVE_TARGETS_AND_FULL = (*RELATIVE_TARGETS, 1.0)
# What is compared only between trials of one kind of machine.
ONE_DEVICE = {"device_seconds", "gpu_joules"}
_ACCURACIES = [f"{part}_accuracy{which}" for part in ("validation", "test") for which in ("", "_old", "_new")]
_BASE_COSTS = [f"base_{currency}" for currency in CURRENCIES]
_NOTHING = dict.fromkeys(Speedup.__dataclass_fields__)


def leaderboard(
    trials: pd.DataFrame, evals: pd.DataFrame, *, currency: str = "flops", share: float = 1.0
) -> pd.DataFrame:
    """Return a row for each strategy and horizon of one update of a scenario, the best speedup in `currency` first.

    share: of the target, which is the published one, or else scratch's final accuracy.

    trials, evals: as bench.records.collect gives them, of one scenario and update. A strategy is compared with scratch on the
    seeds that both have finished; one that shares none has a row with n = 0 and nothing else. Seeds that a published target
    was made from are not scored.
    Columns: rank, currency, share, scenario, scenario_title, update, updates, strategy, title, horizon, old_share, n, unfinished,
    missing (seeds that scratch has and the strategy has not), scratch_steps, target, target_std, reached (share of seeds),
    median and restricted_mean (of seeds' costs in `currency`, see survival.Reach); for each currency <c> the fields of
    Speedup as value_<c>, relation_<c>, cost_<c>, bracket_<c>, low_<c>, high_<c>, note_<c>, empty where the currency was not
    measured or machines differ; value_flops_at_<share>, relation_flops_at_<share>; validation_accuracy, test_accuracy
    and their _std at the end, of all, and as _old and _new; test_at_crossing; base_<c> (of the first update only: see life.py for
    the later ones of a chain); device; commit; modified. Where a target is published also the columns of honesty.py.
    Raises RecordError where there is no scratch to compare with, or trials that must not be compared.
    """
    refuse_mixtures(trials)
    published, asked = published_of(trials), len(trials)
    trials, evals = scored(trials, evals)
    scratch = scratch_of(trials, evals)
    scratch_trials = _of(trials, REFERENCE, 1.0)
    rows = []
    for strategy, horizon, group in by_strategy(trials):
        mine = _of(evals, strategy, horizon)
        common = set(mine["seed"]) & set(scratch["seed"])
        if common:
            theirs, ours = (frame[frame["seed"].isin(list(common))] for frame in (scratch, mine))
            one_device = len({*group["machine"], *scratch_trials["machine"]}) == 1
            missing = len(set(scratch["seed"]) - common)
            figures = _figures(theirs, ours, one_device, currency, share, published)
            rows.append({**_facts(group), "missing": missing, **figures})
        else:  # nothing to compare, and not to be hidden
            rows.append({**_facts(group), "missing": scratch["seed"].nunique(), "n": 0})
    table = pd.DataFrame(rows).assign(currency=currency, share=share)
    if published:
        ends = scratch[scratch["step"] == scratch["step"].max()]["validation_accuracy"].to_numpy(float)
        table = table.assign(**scratch_columns(published, ends, asked - len(trials)))
    if table[f"value_{currency}"].isna().all():
        raise RecordError(
            f"{trials['scenario'].iloc[0]}: no {currency} to compare: not measured, or on unlike machines. "
            "Choose another currency."
        )
    return _ranked(table, currency)


def mean_curves(trials: pd.DataFrame, evals: pd.DataFrame, currency: str) -> pd.DataFrame:
    """Return what accuracy against a currency is drawn from: a row for each strategy, horizon and evaluation.

    Of the seeds that are scored: not those that a published target was made from.
    Columns: strategy, title, horizon, step, cost, accuracy, std (over seeds, NaN for one), low, high (the mean minus
    and plus std), n.
    """
    trials, evals = scored(trials, evals)
    titles = dict(zip(trials["strategy"], trials["title"], strict=True))
    rows = []
    for strategy, horizon, mine in by_strategy(evals):
        run, steps = curves_of(mine, currency), np.unique(mine["step"])
        mean = run.accuracy.mean(axis=1)
        std = run.accuracy.std(axis=1, ddof=1) if run.seeds > 1 else np.full(len(steps), np.nan)
        frame = pd.DataFrame({"step": steps, "cost": run.cost.mean(axis=1), "accuracy": mean, "std": std})
        spread = frame["std"].fillna(0.0)
        named = frame.assign(low=frame["accuracy"] - spread, high=frame["accuracy"] + spread, n=run.seeds)
        rows.append(named.assign(strategy=strategy, title=titles[strategy], horizon=horizon))
    columns = ["strategy", "title", "horizon", "step", "cost", "accuracy", "std", "low", "high", "n"]
    return pd.concat(rows, ignore_index=True)[columns]


def by_strategy(frame: pd.DataFrame) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Yield (strategy, horizon, its rows), in order."""
    for key in sorted(set(zip(frame["strategy"], frame["horizon"], strict=True))):
        yield *key, _of(frame, *key)


def scratch_of(trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluations of scratch at horizon 1, of seeds that are scored.

    Raises RecordError where there are none, or where a seed ends with an accuracy that is no number.
    """
    found, name = _of(evals, REFERENCE, 1.0), trials["scenario"].iloc[0]
    if found.empty:
        published = published_of(trials)
        why = f"beside those of seeds {span(published.seeds)}, which its target was published from" if published else ""
        raise RecordError(
            f"{name}: no finished scratch trial at horizon 1{f' {why}' if why else ', so there is no target'}. "
            f"Run: bench run --scenario {name} --strategy scratch"
        )
    ends = found[found["step"] == found["step"].max()]
    lost = ends[~np.isfinite(ends["validation_accuracy"].astype(float))]
    if len(lost):
        raise RecordError(
            f"{name}: scratch seed {lost['seed'].iloc[0]} ends with a validation accuracy that is no number, so there is no "
            "target. Run it again with --fresh, or take its record away."
        )
    return found


def paired(
    trials: pd.DataFrame, evals: pd.DataFrame, currency: str
) -> Iterator[tuple[str, float, pd.DataFrame, pd.DataFrame]]:
    """Yield (strategy, horizon, scratch's evaluations, its own) on the seeds that both have finished, in order.

    What shares no seed with scratch is left out, and so are seeds that are not scored, and what cannot be compared in
    `currency`: it was not measured, or on unlike machines.
    Raises RecordError where there is no scratch, or trials that must not be compared.
    """
    refuse_mixtures(trials)
    trials, evals = scored(trials, evals)
    scratch = scratch_of(trials, evals)
    for strategy, horizon, mine in by_strategy(evals):
        common = set(mine["seed"]) & set(scratch["seed"])
        theirs, ours = (frame[frame["seed"].isin(common)] for frame in (scratch, mine))
        machines = pd.concat([_of(trials, *key) for key in ((strategy, horizon), (REFERENCE, 1.0))])["machine"]
        measured = not any(frame[CURRENCIES[currency]].isna().any(axis=None) for frame in (theirs, ours))
        if common and measured and (currency not in ONE_DEVICE or machines.nunique() == 1):
            yield strategy, horizon, theirs, ours


def _of(frame: pd.DataFrame, strategy: str, horizon: float) -> pd.DataFrame:
    return frame[(frame["strategy"] == strategy) & (frame["horizon"] == horizon)]


def _facts(group: pd.DataFrame) -> dict[str, object]:
    """Return what a row says without any comparison."""
    first, finished = group.iloc[0], group[group["status"] == "finished"]
    bases = {name: finished[name].astype(float).mean() for name in _BASE_COSTS if name in finished}
    return {
        "scenario": first["scenario"],
        "scenario_title": first["scenario_title"],
        "update": first["update"],
        "updates": first["updates"],
        "strategy": first["strategy"],
        "title": first["title"],
        "horizon": first["horizon"],
        "old_share": first["old_share"],
        "unfinished": len(group) - len(finished),
        **(bases if first["update"] == 1 else dict.fromkeys(bases)),
        "device": " / ".join(sorted(set(finished["device"]))),
        "commit": " / ".join(sorted({str(commit)[:10] for commit in finished["commit"]})),
        "modified": not all(modified is False for modified in finished["modified"]),  # unknown counts as modified
    }


def _figures(
    scratch: pd.DataFrame, mine: pd.DataFrame, one_device: bool, lead: str, share: float, published: Published | None
) -> dict[str, object]:
    """Return what a row says in comparison with scratch, both on the same seeds."""
    is_scratch = scratch.index.equals(mine.index)
    old, new = curves_of(scratch, "flops"), curves_of(mine, "flops")
    fixed = published.accuracy if published else None
    target = share * full_target(old, fixed)
    spread = share * published.std if published else _std(share * old.accuracy[-1])
    row: dict[str, object] = {"n": new.seeds, "target": target, "target_std": spread}
    row["scratch_steps"] = int(scratch["step"].max())
    for currency in CURRENCIES:
        runs = curves_of(scratch, currency), curves_of(mine, currency)
        comparable = not any(np.isnan(run.cost).any() for run in runs) and (one_device or currency not in ONE_DEVICE)
        found = None
        if comparable:
            found = reference(runs[0], share, fixed) if is_scratch else compare(*runs, share, published=fixed)
        row |= {f"{field}_{currency}": value for field, value in (asdict(found) if found else _NOTHING).items()}
    limit = float(curves_of(scratch, lead).cost[-1].max())  # scratch's whole cost: the same for every row
    row |= _reach(curves_of(mine, lead), target, limit)
    for relative in RELATIVE_TARGETS:
        found = compare(old, new, relative, published=fixed)
        row |= {f"value_flops_at_{relative:.2f}": found.value, f"relation_flops_at_{relative:.2f}": found.relation}
    last = mine[mine["step"] == mine["step"].max()]
    for column in _ACCURACIES:
        if column in last:
            values = last[column].astype(float)
            # A seed without a number is not left out of the mean: that would be the mean of the others.
            row |= {column: values.mean(skipna=False), f"{column}_std": _std(values.to_numpy())}
    crossing = -1 if is_scratch and share == 1.0 else new.crossing(target)
    steps = np.unique(mine["step"])
    row |= {"test_at_crossing": None if crossing is None else _test_from(mine, steps[crossing])}
    return row | (convergence_columns(published, mine) if published else {})


def _reach(run: Run, target: float, limit: float) -> dict[str, object]:
    """Return how many seeds reached the target, and at what cost; no cost in a currency that was not measured."""
    costs = run.seed_costs(target)
    reached = ~np.isinf(costs)
    if np.isnan(run.cost).any():
        return {"reached": float(reached.mean()), "median": None, "restricted_mean": None}
    found = estimate_reach(np.where(reached, costs, run.cost[-1]), reached, max(limit, run.cost[-1].max()))
    return {"reached": found.share, "median": found.median, "restricted_mean": found.restricted_mean}


def curves_of(evals: pd.DataFrame, currency: str) -> Run:
    """Return one strategy's evaluations as arrays. Raises RecordError where seeds were measured on different steps."""
    total = evals[CURRENCIES[currency]].astype(float).sum(axis=1, skipna=False)
    table = evals.assign(total=total).pivot(index="step", columns="seed", values=["validation_accuracy", "total"])
    if len(table) * evals["seed"].nunique() != len(evals):
        first = evals.iloc[0]
        raise RecordError(
            f"{first['scenario']}: {first['strategy']}: seeds were measured on different steps, expected one common grid. "
            "Run them again with --fresh."
        )
    table = table.sort_index()
    return Run(table["validation_accuracy"].to_numpy(float), table["total"].to_numpy(float))


def _test_from(evals: pd.DataFrame, step: int) -> float:
    """Return the mean test accuracy at the first evaluation from `step` on that took it."""
    taken = evals[(evals["step"] >= step) & evals["test_accuracy"].notna()]
    return float(evals[evals["step"] == taken["step"].min()]["test_accuracy"].astype(float).mean(skipna=False))


def _std(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _ranked(rows: pd.DataFrame, currency: str) -> pd.DataFrame:
    """Put those that reached the target first, by speedup; then the others, by final accuracy."""
    held = rows[f"relation_{currency}"].isin(["=", ">"])
    value = rows[f"value_{currency}"].astype(float)
    key = pd.DataFrame({"censored": ~held, "worse": -value.where(held, rows["validation_accuracy"])})
    order = key.sort_values(["censored", "worse"], kind="stable", na_position="last").index
    rows = rows.loc[order].reset_index(drop=True)
    rows.insert(0, "rank", np.arange(1, len(rows) + 1))
    return rows


def refuse_mixtures(trials: pd.DataFrame) -> None:
    """Raise RecordError where trials of one row, or of one table, do not ask the same."""
    name = trials["scenario"].iloc[0]
    for column in ("scenario_hash", "data_hash", "rules_version", "training_version"):
        found = sorted(map(str, trials[column].unique()))
        if len(found) > 1:
            raise RecordError(f"{name}: trials of different {column}: {', '.join(found)}. Keep them in folders apart.")
    for strategy, horizon, group in by_strategy(trials):
        if group["strategy_hash"].nunique() > 1:
            raise RecordError(
                f"{name}: {strategy} at horizon {horizon:g}: trials of different strategies under one name. "
                "Run them again with --fresh."
            )
