"""One scenario's leaderboard: every strategy's speedup over scratch at matched accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.analysis.crossing import curves, find_crossing
from bench.analysis.speedup import Run, compare
from bench.analysis.target import Target, provisional_target
from bench.errors import RecordError

# Currency -> how its total is read off an evaluation.
CURRENCIES = {
    "steps": ["step"],
    "images": ["images"],
    "flops": ["train_flops", "aux_flops"],
    "device_seconds": ["device_seconds"],
    "gpu_joules": ["gpu_joules"],
}
_ONE_DEVICE = {"device_seconds", "gpu_joules"}
RELATIVE_TARGETS = (0.90, 0.95, 0.98, 0.99)


def scratch_target(trials: pd.DataFrame, evals: pd.DataFrame) -> Target:
    """Return the provisional target of one scenario's records. Raises RecordError where scratch never finished."""
    return provisional_target(_finals(_scratch(trials, evals)))


def leaderboard(trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each strategy and horizon of one scenario, the best speedup in FLOPs first.

    trials, evals: as bench.records.collect gives them, of one scenario.
    Columns: rank, strategy, title, horizon, n, unfinished, reached (share of seeds), target; for each currency <c>:
    speedup_<c>, relation_<c>, low_<c>, high_<c>, note_<c>, cost_<c> (at the target; whole where censored), bracket_<c>
    (cost at the evaluation before); speedup_flops_at_<share>, relation_flops_at_<share>; validation_accuracy,
    test_accuracy and their _std at the end; test_at_crossing; base_flops; device; commit; modified.
    Raises RecordError where there is no scratch to compare with, or trials that must not be compared.
    """
    _refuse_mixtures(trials)
    scratch = _scratch(trials, evals)
    target = provisional_target(_finals(scratch)).value
    rows = []
    for (strategy, horizon), group in trials.groupby(["strategy", "horizon"]):
        mine = evals[(evals["strategy"] == strategy) & (evals["horizon"] == horizon)]
        common = sorted(set(mine["seed"]) & set(scratch["seed"]))
        if common:
            paired = scratch[scratch["seed"].isin(common)], mine[mine["seed"].isin(common)]
            rows.append(_row(group, *paired, target))
    table = pd.DataFrame(rows)
    held = table["relation_flops"].isin(["=", ">"])
    order = pd.DataFrame({"held": ~held, "value": -table["speedup_flops"].where(held, table["validation_accuracy"])})
    table = table.loc[order.sort_values(["held", "value"], kind="stable").index].reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def _row(group: pd.DataFrame, scratch: pd.DataFrame, mine: pd.DataFrame, target: float) -> dict[str, object]:
    first = group.iloc[0]
    finished = group[group["status"] == "finished"]
    is_scratch = first["strategy"] == "scratch" and first["horizon"] == 1.0
    accuracy = curves(mine, "validation_accuracy")
    last = mine[mine["step"] == mine["step"].max()]
    row: dict[str, object] = {
        "strategy": first["strategy"],
        "title": first["title"],
        "scenario_title": first["scenario_title"],
        "horizon": first["horizon"],
        "n": accuracy.shape[1],
        "unfinished": int((group["status"] != "finished").sum()),
        "target": target,
    }
    crossing = find_crossing(accuracy.mean(axis=1).to_numpy(), target)
    if is_scratch:  # by definition at its full horizon
        crossing = None
    for currency in CURRENCIES:
        old, new = _run(scratch, currency), _run(mine, currency)
        row |= _currency(currency, old, new, is_scratch, _comparable(currency, old, new, scratch, mine, group))
        if currency == "flops":
            row["reached"] = new.reach(target)
            for share in RELATIVE_TARGETS:
                relative = compare(old, new, share)
                row[f"speedup_flops_at_{share:.2f}"] = relative.value
                row[f"relation_flops_at_{share:.2f}"] = relative.relation
    row |= {
        "validation_accuracy": last["validation_accuracy"].mean(),
        "validation_accuracy_std": last["validation_accuracy"].std(),
        "test_accuracy": last["test_accuracy"].mean(),
        "test_accuracy_std": last["test_accuracy"].std(),
        "test_at_crossing": _test_after(mine, accuracy.index[crossing.index] if crossing else accuracy.index[-1]),
        "base_flops": finished["base_flops"].mean(),
        "device": " / ".join(sorted(set(finished["device"]))),
        "commit": " / ".join(sorted({str(c)[:10] for c in finished["commit"]})),
        "modified": bool((finished["modified"] != False).any()),  # noqa: E712 - unknown counts as modified
    }
    return row


def _currency(currency: str, old: Run, new: Run, is_scratch: bool, comparable: bool) -> dict[str, object]:
    names = ("speedup", "relation", "low", "high", "note", "cost", "bracket")
    if not comparable:
        return {f"{name}_{currency}": None for name in names}
    target = float(old.accuracy[-1].mean())
    crossing = None if is_scratch else find_crossing(new.accuracy.mean(axis=1), target)
    cost = new.whole_cost() if crossing is None else float(new.cost[crossing.index].mean())
    before = None if crossing is None or crossing.before is None else float(new.cost[crossing.before].mean())
    if is_scratch:
        values = (1.0, "=", None, None, "by definition", cost, None)
    else:
        found = compare(old, new)
        values = (found.value, found.relation, found.low, found.high, found.interval_note, cost, before)
    return {f"{name}_{currency}": value for name, value in zip(names, values, strict=True)}


def _comparable(
    currency: str, old: Run, new: Run, scratch: pd.DataFrame, mine: pd.DataFrame, group: pd.DataFrame
) -> bool:
    if np.isnan(old.cost).any() or np.isnan(new.cost).any():
        return False
    return currency not in _ONE_DEVICE or bool(scratch.attrs["devices"] == set(group["device"]))


def _run(evals: pd.DataFrame, currency: str) -> Run:
    total = evals[CURRENCIES[currency]].astype(float).sum(axis=1, skipna=False)
    cost = curves(evals.assign(cost=total), "cost").to_numpy()
    return Run(curves(evals, "validation_accuracy").to_numpy(), cost)


def _test_after(evals: pd.DataFrame, step: int) -> float:
    """Return the mean test accuracy at the first evaluation from `step` on that took it."""
    taken = evals[(evals["step"] >= step) & evals["test_accuracy"].notna()]
    return float(taken[taken["step"] == taken["step"].min()]["test_accuracy"].mean())


def _scratch(trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    mine = evals[(evals["strategy"] == "scratch") & (evals["horizon"] == 1.0)]
    if mine.empty:
        name = trials["scenario"].iloc[0]
        raise RecordError(
            f"{name}: no finished scratch trial at horizon 1, so there is no target. "
            f"Run: bench run --scenario {name} --strategy scratch"
        )
    mine = mine.copy()
    chosen = trials[(trials["strategy"] == "scratch") & (trials["horizon"] == 1.0)]
    mine.attrs["devices"] = set(chosen["device"])
    return mine


def _finals(evals: pd.DataFrame) -> np.ndarray:
    return evals[evals["step"] == evals["step"].max()]["validation_accuracy"].to_numpy()


def _refuse_mixtures(trials: pd.DataFrame) -> None:
    """Raise RecordError where trials of one row, or of one table, do not ask the same."""
    name = trials["scenario"].iloc[0]
    for column in ("scenario_hash", "rules_version", "training_version"):
        found = sorted(map(str, trials[column].unique()))
        if len(found) > 1:
            raise RecordError(f"{name}: trials of different {column}: {', '.join(found)}. Keep them in folders apart.")
    for (strategy, horizon), group in trials.groupby(["strategy", "horizon"]):
        if group["strategy_hash"].nunique() > 1:
            raise RecordError(
                f"{name}: {strategy} at horizon {horizon:g}: trials of different strategies under one name. "
                "Run them again with --fresh."
            )
