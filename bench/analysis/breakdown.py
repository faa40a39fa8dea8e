"""Where an update's cost goes: FLOPs and seconds by what they were spent on."""

from __future__ import annotations

import pandas as pd

from bench.analysis.leaderboard import by_strategy
from bench.analysis.published import not_scored

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
_COLUMNS = ["strategy", "title", "horizon", "n", "part", "cost", "std", "whole", "share"]


def breakdown(trials: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return a row for each strategy, horizon and part of its cost, of one scenario and update.

    trials: as bench.records.collect gives them; the finished ones of seeds that are scored count. unit: "flops" or "seconds".
    Columns: strategy, title, horizon, n, part, cost (mean over seeds), std (NaN for one seed), whole (the sum of the means),
    share (cost / whole). Training holds a strategy's own passes and, in seconds, its data selection: records do not keep them
    apart. No rows where a part was not recorded, or, in seconds, where machines differ.
    """
    fields = list(PARTS[unit].values())
    if not set(fields) <= set(trials.columns):
        return pd.DataFrame(columns=_COLUMNS)
    counted = ~trials["seed"].isin(not_scored(trials))
    finished = trials[counted & (trials["status"] == "finished") & trials[fields].notna().all(axis=1)]
    if unit == "seconds" and finished["machine"].nunique() > 1:
        return pd.DataFrame(columns=_COLUMNS)
    rows = []
    for strategy, horizon, group in by_strategy(finished):
        costs = group[fields].astype(float)
        whole = float(costs.mean().sum())
        facts = {"strategy": strategy, "title": group["title"].iloc[0], "horizon": horizon, "n": len(group)}
        for part, field in PARTS[unit].items():
            cost = float(costs[field].mean())
            row = {"part": part, "cost": cost, "std": costs[field].std(), "whole": whole}
            rows.append({**facts, **row, "share": cost / whole if whole else float("nan")})
    return pd.DataFrame(rows, columns=_COLUMNS)
