"""What stands behind a leaderboard's rows: each seed's costs and accuracies, and the accuracies at the crossing."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.crossing import find_crossing
from bench.analysis.leaderboard import CURRENCIES
from bench.analysis.published import scored
from bench.catalog import REFERENCE

ACCURACIES = tuple(f"{part}_accuracy{which}" for part in ("validation", "test") for which in ("", "_old", "_new"))
_KEY = ["strategy", "horizon"]
_SCRATCH = (REFERENCE, 1.0)


def seed_results(rows: pd.DataFrame, trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each trial that a leaderboard's rows were made of, or left out, in the leaderboard's order.

    rows: as bench.analysis.leaderboard gives them. trials, evals: of the same scenario and update.
    Columns: strategy, horizon, seed, status, reason, scored (whether the seed is one of the row's n), <currency> (totals at the
    end), held (whether the seed's own curve holds the row's target, missing where the row has none), <currency>_at_target (totals
    at its crossing, NaN where it did not hold), and the accuracies at the end: validation_accuracy, test_accuracy, both also
    as _old and _new. What a trial that is not finished would have is NaN.
    """
    curves = _Curves(evals)
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
            found.append(one | curves.ends(key, seed, row.get("target")))
    at_target = [f"{currency}_at_target" for currency in CURRENCIES]
    columns = [*_KEY, "seed", "status", "reason", "scored", *CURRENCIES, "held", *at_target, *ACCURACIES]
    return pd.DataFrame(found, columns=columns)


def accuracies_at_target(rows: pd.DataFrame, trials: pd.DataFrame, evals: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each leaderboard row that held its target: the accuracies where its mean curve crossed.

    rows, trials, evals: as in seed_results. Scratch's crossing at the whole target is its end, as in the leaderboard.
    Columns: strategy, horizon, step; validation_accuracy there, test_accuracy at the first evaluation from there on that took
    it, both also as _old and _new, each a mean over the row's seeds, with its _std (NaN for one seed).
    """
    curves = _Curves(evals)
    scratch = _scratch_seeds(trials, evals)
    found = []
    for row in rows[rows["n"] > 0].to_dict("records"):
        key = (row["strategy"], row["horizon"])
        table = np.array([curves.places(key, seed) for seed in sorted(curves.seeds(key) & scratch)])
        mean = curves.accuracy[table].mean(axis=0)
        by_definition = key == _SCRATCH and row["share"] == 1.0
        crossing = len(mean) - 1 if by_definition else find_crossing(mean, row["target"])
        if crossing is not None:
            found.append({**dict(zip(_KEY, key, strict=True)), **curves.means(table, crossing)})
    columns = [*_KEY, "step", *(f"{name}{end}" for name in ACCURACIES for end in ("", "_std"))]
    return pd.DataFrame(found, columns=columns)


def _scratch_seeds(trials: pd.DataFrame, evals: pd.DataFrame) -> set[int]:
    """Return the seeds that a row can have: scratch has finished them, and no published target was made from them."""
    _, counted = scored(trials, evals)
    strategy, horizon = _SCRATCH
    return set(counted[(counted["strategy"] == strategy) & (counted["horizon"] == horizon)]["seed"])


class _Curves:
    """Evaluations by (strategy, horizon) and seed, in the order of steps: one pass over them, however many there are."""

    def __init__(self, evals: pd.DataFrame) -> None:
        ordered = evals.sort_values([*_KEY, "seed", "step"], kind="stable")
        groups = ordered.groupby([*_KEY, "seed"], sort=False, observed=True).indices
        self._places = {key: np.asarray(places) for key, places in groups.items()}
        self._seeds: dict[Hashable, set[int]] = {}
        for strategy, horizon, seed in self._places:  # type: ignore[misc]
            self._seeds.setdefault((strategy, horizon), set()).add(int(seed))
        self.accuracy = ordered["validation_accuracy"].to_numpy(float)
        self._steps = ordered["step"].to_numpy(float)
        self._totals = {
            currency: ordered[fields].astype(float).sum(axis=1, skipna=False).to_numpy()
            for currency, fields in CURRENCIES.items()
        }
        self._accuracies = {
            name: ordered[name].astype(float).to_numpy() if name in ordered else np.full(len(ordered), np.nan)
            for name in ACCURACIES
        }

    def seeds(self, key: tuple[str, float]) -> set[int]:
        return self._seeds.get(key, set())

    def places(self, key: tuple[str, float], seed: int) -> np.ndarray:
        """Return where one trial's evaluations stand, (evaluations,)."""
        return self._places[(*key, seed)]

    def ends(self, key: tuple[str, float], seed: int, target: float | None) -> dict[str, Any]:
        """Return one trial's totals at its end and at its crossing; nothing for a trial without evaluations."""
        if seed not in self.seeds(key):
            return {}
        places = self.places(key, seed)
        columns = {**self._totals, **self._accuracies}
        found: dict[str, Any] = {name: values[places[-1]] for name, values in columns.items()}
        if target is None or np.isnan(target):
            return found
        crossing = find_crossing(self.accuracy[places], target)
        if crossing is not None:
            found |= {f"{name}_at_target": totals[places[crossing]] for name, totals in self._totals.items()}
        return found | {"held": crossing is not None}

    def means(self, table: np.ndarray, crossing: int) -> dict[str, float]:
        """Return mean and spread of each accuracy at an evaluation; of the test accuracies where next they were taken.

        table: (seeds, evaluations), where each evaluation stands.
        """
        found: dict[str, float] = {"step": self._steps[table[0, crossing]]}
        for name, values in self._accuracies.items():
            taken = np.asarray(np.isfinite(values[table]).all(axis=0))
            later = np.flatnonzero(taken[crossing:]) if name.startswith("test") else np.array([0])
            column = values[table[:, crossing + later[0]]] if len(later) else np.full(len(table), np.nan)
            found[name] = float(column.mean())
            found[f"{name}_std"] = float(column.std(ddof=1)) if len(column) > 1 else np.nan
        return found
