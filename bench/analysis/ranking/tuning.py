"""What tuning a strategy cost, and after how many updates it has paid for itself."""

from __future__ import annotations

import math

import pandas as pd

from bench.catalog import REFERENCE


def tuning_columns(rows: pd.DataFrame, scratch_flops: float) -> dict[str, list[float]]:
    """Return tuning (FLOPs in units of one scratch training) and pays_after (updates), NaN where they are not known.

    rows: of one leaderboard, with tuning_flops, NaN where it is not recorded. scratch_flops: of one whole training of scratch.
    An update at the target saves 1 - 1 / speedup of that. pays_after is infinite for a strategy that saves nothing, or does not
    hold the target.
    """
    tuning, after = [], []
    for row in rows.to_dict("records"):
        flops = row["tuning_flops"]
        if row["strategy"] == REFERENCE or flops is None or math.isnan(flops):
            tuning.append(math.nan)
            after.append(math.nan)
            continue
        units = flops / scratch_flops
        held = row.get("relation_flops") in ("=", ">") and row["value_flops"] > 1
        tuning.append(units)
        after.append(math.ceil(units / (1 - 1 / row["value_flops"])) if held else math.inf)
    return {"tuning": tuning, "pays_after": after}
