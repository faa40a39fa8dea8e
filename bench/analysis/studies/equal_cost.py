"""What each piece of a recipe is worth at equal cost: variants without it, or with it alone, against the recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.guards.seen import mark_seen
from bench.analysis.ranking.leaderboard import refuse_mixtures
from bench.analysis.speedup.student import holm, mean_of_means

ALL = "all"  # the scenario of a row that is about all of them together
LEVEL = 0.05
COLUMNS = [
    "scenario",
    "strategy",
    "horizon",
    "aspect",
    "change",
    "piece",
    "recipe",
    "recipe_horizon",
    "n",
    "cost",
    "accuracy",
    "recipe_accuracy",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "comparisons",
    "verdict",
]


@dataclass(frozen=True)
class Compared:
    """A variant that is compared with the recipe. aspect, change ("left out" or "alone"), piece (in words): what it is."""

    strategy: str
    horizon: float
    aspect: str
    change: str
    piece: str


@dataclass(frozen=True)
class Study:
    """One scenario's part of an ablation. trials: its rows, as returned by bench.records.collect, of any strategies and seeds.

    recipe: (strategy, horizon). seeds: those to be compared.
    """

    scenario: str
    trials: pd.DataFrame
    recipe: tuple[str, float]
    variants: Sequence[Compared]
    seeds: Sequence[int]


def equal_cost_ablation(studies: Sequence[Study]) -> pd.DataFrame:
    """Return a row for each scenario and variant and, for several scenarios, one for each variant over all of them.

    Columns: scenario ("all" for all of them together), strategy, horizon (NaN for all together), aspect, change, piece, recipe,
    recipe_horizon; n (seeds that variant and recipe have finished); cost (measured FLOPs over the recipe's); accuracy,
    recipe_accuracy (validation, at the end, mean over these seeds); difference (accuracy minus recipe_accuracy); low, high, p
    (95 % interval and two-sided p value of the paired t test; NaN if it cannot be tested); p_holm (corrected for the number of
    comparisons, see holm); comparisons (this number: all rows with a p value); verdict (see `verdict`).
    A row over all is the mean over scenarios, see mean_of_means; its cost and accuracies are means over scenarios, too, and its n
    is the sum. Of a chain, accuracy is that after the last update, and cost that of all updates.
    Raises RecordError for trials that must not be compared.
    """
    found = [(study.scenario, variant, _differences(study, variant)) for study in studies for variant in study.variants]
    rows = [_row(name, variant, [ends]) for name, variant, ends in found]
    if len(studies) > 1:
        for variant in studies[0].variants:
            same = [ends for _, each, ends in found if each.strategy == variant.strategy]
            rows.append(_row(ALL, variant, same) | {"horizon": math.nan})
    corrected = holm([row["p"] for row in rows])
    comparisons = sum(not math.isnan(p) for p in corrected)
    about = {"recipe": studies[0].recipe[0], "recipe_horizon": studies[0].recipe[1], "comparisons": comparisons}
    told = [
        row | about | {"p_holm": p, "verdict": verdict(row["change"], row["difference"], p)}
        for row, p in zip(rows, corrected, strict=True)
    ]
    return mark_seen(pd.DataFrame(told, columns=COLUMNS), *(study.trials for study in studies))


def verdict(change: str, difference: float, p_holm: float) -> str:
    """Return what a variant with a piece left out says about the piece; empty for a piece alone.

    difference: the variant's accuracy minus the recipe's. p_holm: its corrected p value, NaN if it was not tested.
    """
    if change != "left out":
        return ""
    if math.isnan(p_holm):
        return "not tested"
    if p_holm >= LEVEL:
        return "no difference shown"
    return "earns its place" if difference < 0 else "costs accuracy"


@dataclass(frozen=True)
class _Ends:
    """Where a variant and the recipe ended, (seeds,), and what they had cost then."""

    accuracy: np.ndarray
    recipe_accuracy: np.ndarray
    cost: np.ndarray
    recipe_cost: np.ndarray


def _differences(study: Study, variant: Compared) -> _Ends:
    trials, keys = study.trials, ((variant.strategy, variant.horizon), study.recipe)
    mine = trials[[key in keys for key in zip(trials["strategy"], trials["horizon"], strict=True)]]
    if len(mine):
        refuse_mixtures(mine)
    ends = [_ends_of(mine[(mine["strategy"] == key[0]) & (mine["horizon"] == key[1])]) for key in keys]
    seeds = [seed for seed in study.seeds if all(seed in found.index for found in ends)]
    both = [found.loc[seeds] for found in ends]
    columns = [found[name].to_numpy(float) for name in ("accuracy", "cost") for found in both]
    return _Ends(*columns)


def _ends_of(trials: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each seed that has finished all updates: accuracy after the last one, cost of all of them in FLOPs."""
    finished = trials[trials["status"] == "finished"]
    rows = {}
    for seed, group in finished.groupby("seed"):
        last = group.sort_values("update").iloc[-1]
        if len(group) == int(last["updates"]):
            cost = float((group["train_flops"] + group["aux_flops"]).sum())
            rows[seed] = {"accuracy": float(last["validation_accuracy"]), "cost": cost}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy", "cost"])


def _row(scenario: str, variant: Compared, ends: Sequence[_Ends]) -> dict[str, Any]:
    sizes = [len(each.accuracy) for each in ends]
    row: dict[str, Any] = {"scenario": scenario, **vars(variant), "n": sum(sizes)}
    if min(sizes) == 0:
        names = ("cost", "accuracy", "recipe_accuracy", "difference", "low", "high", "p")
        return row | dict.fromkeys(names, math.nan)
    differences = [each.accuracy - each.recipe_accuracy for each in ends]
    found = mean_of_means(differences)
    return row | {
        "cost": float(np.mean([each.cost.mean() / each.recipe_cost.mean() for each in ends])),
        "accuracy": float(np.mean([each.accuracy.mean() for each in ends])),
        "recipe_accuracy": float(np.mean([each.recipe_accuracy.mean() for each in ends])),
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "p": found.p,
    }
