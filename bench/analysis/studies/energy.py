"""Energy over time: how much a trial had used, and its power."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.analysis.published import scored
from bench.analysis.ranking.leaderboard import by_strategy
from bench.records.sharing import comparable

_COLUMNS = ["strategy", "title", "horizon", "n", "step", "seconds", "joules", "joules_std", "watts"]


def energy_curves(trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each strategy, horizon and evaluation at which the GPU's energy was measured for every seed.

    trials, evals: as returned by bench.records.collect, for one scenario and update.
    Columns: strategy, title, horizon, n, step, seconds (of training, mean over seeds), joules (mean), joules_std (over seeds,
    NaN for one), watts (mean power since the previous evaluation). No rows if machines differ or were shared.
    """
    nothing = pd.DataFrame(columns=_COLUMNS)
    if "gpu_joules" not in evals or evals["gpu_joules"].isna().all():
        return nothing
    trials, evals = scored(trials, evals)
    if not comparable(set(trials["machine"])):
        return nothing
    titles = dict(zip(trials["strategy"], trials["title"], strict=True))
    parts = []
    for strategy, horizon, mine in by_strategy(evals):
        if mine["gpu_joules"].isna().any():
            continue
        steps = mine.astype({"gpu_joules": float}).groupby("step")
        frame = pd.DataFrame({"seconds": steps["device_seconds"].mean(), "joules": steps["gpu_joules"].mean()})
        frame["joules_std"] = steps["gpu_joules"].std()
        frame["watts"] = np.diff(frame["joules"], prepend=0.0) / np.diff(frame["seconds"], prepend=0.0)
        facts = {"strategy": strategy, "title": titles[strategy], "horizon": horizon, "n": mine["seed"].nunique()}
        parts.append(frame.reset_index().assign(**facts))
    return pd.concat(parts, ignore_index=True)[_COLUMNS] if parts else nothing
