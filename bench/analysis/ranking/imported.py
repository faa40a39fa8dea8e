"""Curves from elsewhere in a leaderboard: marked, below the others, without a rank."""

from __future__ import annotations

import pandas as pd

from bench.analysis.ranking.below import joined, put_below
from bench.analysis.ranking.leaderboard import leaderboard, require_scratch
from bench.catalog import REFERENCE


def with_imported(
    rows: pd.DataFrame,
    trials: pd.DataFrame,
    evals: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    currency: str = "flops",
    share: float = 1.0,
) -> pd.DataFrame:
    """Return a leaderboard with rows for imported curves below its own, and a column `imported`.

    rows: as leaderboard() returns it for trials and evals; they stay as they are. curves: as bench.records.imported returns them,
    of marked names. They say nothing but steps, FLOPs and accuracy, and are compared with scratch on the seeds that both have.
    """
    require_scratch(trials, evals)
    scratch = trials[(trials["strategy"] == REFERENCE) & (trials["horizon"] == 1.0)].iloc[0]
    asked = (
        "scenario",
        "scenario_title",
        "update",
        "updates",
        "scenario_hash",
        "data_hash",
        "rules_version",
        "training_version",
    )
    same = [
        name
        for name in (
            *asked,
            "chance",
            "validation_images",
            *(c for c in map(str, trials) if c.startswith("published_")),
        )
        if name in trials
    ]
    keys = curves[["strategy", "seed"]].drop_duplicates()
    more_trials = keys.assign(
        **{name: scratch[name] for name in same},
        title=keys["strategy"],
        horizon=1.0,
        status="finished",
        strategy_hash=keys["strategy"],
        machine="imported",
        device="imported",
        commit="imported",
        modified=False,
        old_share=1.0,
        shipped=False,
        total_steps=curves.groupby("strategy")["step"].max().reindex(keys["strategy"]).to_numpy(),
    )
    more_evals = curves[["strategy", "seed", "step"]].assign(
        scenario=scratch["scenario"],
        update=scratch["update"],
        horizon=1.0,
        train_flops=curves["cost"],
        aux_flops=0.0,
        validation_accuracy=curves["accuracy"],
    )
    plain = evals.astype({name: "object" for name in ("scenario", "strategy") if name in evals})
    every = leaderboard(joined(trials, more_trials), joined(plain, more_evals), currency=currency, share=share)
    added = every[every["strategy"].isin(set(curves["strategy"]))]
    return put_below(rows, added, "imported", own=False, below=True)
