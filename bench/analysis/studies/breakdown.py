"""Where an update's cost goes: FLOPs and seconds by what they were spent on."""

from __future__ import annotations

import pandas as pd

from bench.analysis.published import not_scored
from bench.analysis.ranking.leaderboard import by_strategy
from bench.records.sharing import comparable

# Unit -> part -> the summary's field.
PARTS = {
    "flops": {"training": "train_flops", "element-wise": "aux_flops", "evaluation": "evaluate_flops"},
    "seconds": {
        "training": "train_seconds",
        "evaluation": "evaluate_seconds",
        "preparing": "prepare_seconds",
        "building": "build_seconds",
        "reading and writing": "io_seconds",
    },
}
# Unit -> parts that are split if every record allows it: part -> (what is left, {what is taken out: its field}).
WITHIN = {
    "flops": {
        "training": ("training", {"features": "feature_flops", "fit of the head": "head_flops"}),
        "element-wise": ("optimizer and start", {"regularizer": "regularizer_flops"}),
    },
    "seconds": {"training": ("training", {"selection": "selection_seconds"})},
}
_COLUMNS = ["strategy", "title", "horizon", "n", "part", "cost", "std", "whole", "share"]


def breakdown(trials: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return a row for each strategy, horizon and part of its cost, of one scenario and update.

    trials: as returned by bench.records.collect; only finished trials of scored seeds count. unit: "flops" or "seconds".
    Columns: strategy, title, horizon, n, part, cost (mean over seeds), std (NaN for one seed), whole (the sum of the means),
    share (cost / whole). The FLOPs of keeping features and of fitting a head are separate from those of training, the
    regularizer's from those of optimizer and start, and the seconds spent selecting images from those of training, unless a
    record does not separate them (before schema 3: selection, and a regularizer of the user's own); then they form one part
    in all rows, "element-wise" or "training". What was taken out and is zero everywhere has no rows. No rows at all if a
    part was not recorded or, in seconds, if machines differ or were shared.
    """
    fields = list(PARTS[unit].values())
    if not set(fields) <= set(trials.columns):
        return pd.DataFrame(columns=_COLUMNS)
    counted = ~trials["seed"].isin(not_scored(trials))
    finished = trials[counted & (trials["status"] == "finished") & trials[fields].notna().all(axis=1)]
    if unit == "seconds" and not comparable(set(finished["machine"])):
        return pd.DataFrame(columns=_COLUMNS)
    parts, rows = _parts(finished, unit), []
    for strategy, horizon, group in by_strategy(finished):
        costs = parts.loc[group.index]
        whole = float(costs.mean().sum())
        facts = {"strategy": strategy, "title": group["title"].iloc[0], "horizon": horizon, "n": len(group)}
        for part in parts:
            cost = float(costs[part].mean())
            row = {"part": part, "cost": cost, "std": costs[part].std(), "whole": whole}
            rows.append({**facts, **row, "share": cost / whole if whole else float("nan")})
    return pd.DataFrame(rows, columns=_COLUMNS)


def _parts(finished: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return what each trial spent on each part, (trials, parts)."""
    found: dict[str, pd.Series] = {}
    for part, whole in PARTS[unit].items():
        cost = finished[whole].astype(float)
        left, taken = WITHIN[unit].get(part, (part, {}))
        if any(field not in finished or finished[field].isna().any() for field in taken.values()):
            left, taken = part, {}
        inside = {name: finished[field].astype(float) for name, field in taken.items()}
        found[left] = cost - sum(inside.values())
        found |= {name: each for name, each in inside.items() if each.any()}
    return pd.DataFrame(found)
