"""The details of a leaderboard's rows: each seed's costs and accuracies, and the accuracies at the crossing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.published import scored
from bench.analysis.speedup.curves import ACCURACIES, CURRENCIES, Curves, Measured
from bench.catalog import REFERENCE

_KEY = ["strategy", "horizon"]
_SCRATCH = (REFERENCE, 1.0)


def seed_results(rows: pd.DataFrame, trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each trial that a leaderboard's rows include or leave out, in the leaderboard's order.

    rows: as returned by bench.analysis.ranking.leaderboard. trials, evals: of the same scenario and update.
    Columns: strategy, horizon, seed, status, reason, scored (whether the seed is one of the row's n), <currency> (totals at the
    end), held (whether the seed's own curve holds the row's target; missing if the row has none), <currency>_at_target (totals
    at the seed's crossing, NaN if it did not hold the target), and the final accuracies: validation_accuracy, test_accuracy,
    both also as _old and _new. The measurements of an unfinished trial are NaN.
    """
    measured = Measured(evals)
    scratch = _scratch_seeds(trials, evals)
    groups = trials.groupby(_KEY, sort=False).indices
    statuses, reasons, seeds = (trials[name].to_numpy() for name in ("status", "reason", "seed"))
    found = []
    for row in rows.to_dict("records"):
        key = (row["strategy"], row["horizon"])
        for place in sorted(groups[key], key=seeds.__getitem__):
            seed = int(seeds[place])
            one: dict[str, Any] = dict(zip(_KEY, key, strict=True))
            one |= {"seed": seed, "status": statuses[place], "reason": reasons[place]}
            one["scored"] = statuses[place] == "finished" and seed in scratch
            if seed in measured.seeds(key):
                one |= _ends(measured.curves(key, [seed]), row.get("target"))
            found.append(one)
    at_target = [f"{currency}_at_target" for currency in CURRENCIES]
    columns = [*_KEY, "seed", "status", "reason", "scored", *CURRENCIES, "held", *at_target, *ACCURACIES]
    return pd.DataFrame(found, columns=columns)


def accuracies_at_target(rows: pd.DataFrame, trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each leaderboard row that held its target: the accuracies at the crossing of its mean curve.

    rows, trials, evals: as in seed_results. Scratch's crossing at the full target is its end, as in the leaderboard.
    Columns: strategy, horizon, step; validation_accuracy at that step, test_accuracy at the first evaluation from there on that
    measured it, both also as _old and _new, each a mean over the row's seeds, with its _std (NaN for one seed).
    """
    measured = Measured(evals)
    scratch = _scratch_seeds(trials, evals)
    found = []
    for row in rows[rows["n"] > 0].to_dict("records"):
        key = (row["strategy"], row["horizon"])
        curves = measured.curves(key, measured.seeds(key) & scratch)
        by_definition = key == _SCRATCH and row["share"] == 1.0
        crossing = len(curves.steps) - 1 if by_definition else curves.run("flops").crossing(row["target"])
        if crossing is None:
            continue
        found.append({**dict(zip(_KEY, key, strict=True)), "step": float(curves.steps[crossing])})
        for name, values in curves.accuracies_from(crossing).items():
            std = float(values.std(ddof=1)) if len(values) > 1 else np.nan
            found[-1] |= {name: float(values.mean()), f"{name}_std": std}
    columns = [*_KEY, "step", *(f"{name}{end}" for name in ACCURACIES for end in ("", "_std"))]
    return pd.DataFrame(found, columns=columns)


def _scratch_seeds(trials: pd.DataFrame, evals: pd.DataFrame) -> set[int]:
    """Return the seeds that a row can use: finished by scratch, and not used to compute a published target."""
    _, counted = scored(trials, evals)
    strategy, horizon = _SCRATCH
    return set(counted[(counted["strategy"] == strategy) & (counted["horizon"] == horizon)]["seed"])


def _ends(one: Curves, target: float | None) -> dict[str, Any]:
    """Return one trial's totals at its end and at its crossing. one: curves of a single seed."""
    runs = {currency: one.run(currency) for currency in CURRENCIES}
    found: dict[str, Any] = {currency: run.cost[-1, 0] for currency, run in runs.items()}
    found |= {name: one.values[name][-1, 0] for name in ACCURACIES if name in one.values}
    if target is None or np.isnan(target):
        return found
    crossing = runs["flops"].crossing(target)
    if crossing is not None:
        found |= {f"{currency}_at_target": run.cost[crossing, 0] for currency, run in runs.items()}
    return found | {"held": crossing is not None}
