"""What one piece of a recipe is worth: strategies that differ from a recipe in exactly one aspect."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.published import scored
from bench.analysis.ranking.leaderboard import by_strategy
from bench.analysis.speedup.student import paired_interval
from bench.analysis.studies.targets import speedups_by_target
from bench.catalog import REFERENCE

ASPECTS = (
    *("start", "regularizer", "selection", "schedule", "freezing", "head", "averaging", "teacher", "objective"),
    "horizon",
)
_COLUMNS = ["strategy", "title", "horizon", "aspect", "change", "n", "value", "relation", "low", "high"]
_ACCURACIES = ["accuracy", "difference", "difference_low", "difference_high"]
_Key = tuple[str, float]  # strategy, horizon


def ablation(
    trials: pd.DataFrame,
    evals: pd.DataFrame,
    *,
    recipe: str | None = None,
    currency: str = "flops",
    share: float = 1.0,
) -> pd.DataFrame:
    """Return a row for `recipe`, a strategy's name, and one for each strategy that differs from it in exactly one aspect.

    trials, evals: as returned by bench.records.collect, for one scenario and update. recipe: None for the strategy from which
    most others differ in one aspect, of equals "optimized" first. If the recipe was run at several
    horizons, its row is the one from which most others differ in one piece; of equals, the longest.
    Columns: strategy, title, horizon, aspect (that differs; empty for the recipe), change (in words), n; value, relation, low,
    high (the speedup over scratch, as in Speedup, on the seeds shared with scratch and the recipe); accuracy (final, mean
    over these seeds); difference (from the recipe's), difference_low, difference_high (95 %, see paired_interval).
    No rows if no strategy differs in exactly one aspect, or if pieces were not recorded.
    """
    trials, evals = scored(trials, evals)
    pieces = _pieces(trials)
    found = _most_varied(pieces) if recipe is None else _variants(pieces, recipe)
    ends = _final_accuracies(evals)
    rows = []
    for key, aspect in found.items():
        first = next(iter(found))
        seeds = set.intersection(*(set(ends.get(each, {})) for each in ((REFERENCE, 1.0), first, key)))
        speedup = _speedup(trials, evals, key, seeds, currency, share)
        if speedup is None:
            continue
        change = f"{_words(pieces[first].get(aspect))} → {_words(pieces[key].get(aspect))}" if aspect else ""
        mine, base = (np.array([ends[each][seed] for seed in sorted(seeds)]) for each in (key, first))
        rows.append({**speedup, "aspect": aspect or "", "change": change, **_accuracies(mine, base)})
    return pd.DataFrame(rows if len(rows) > 1 else [], columns=[*_COLUMNS, *_ACCURACIES])


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the aspects in which two recipes differ; all of them if both have custom code and it is not the same."""
    sources = one.get("source"), other.get("source")
    if all(sources) and sources[0] != sources[1]:
        return list(ASPECTS)
    return [aspect for aspect in ASPECTS if one.get(aspect) != other.get(aspect)]


def _pieces(trials: pd.DataFrame) -> dict[_Key, dict[str, Any]]:
    """Return each strategy's pieces, including its horizon."""
    if "pieces" not in trials:
        return {}
    known = trials[trials["pieces"].notna()]
    return {
        (strategy, horizon): {**json.loads(group["pieces"].iloc[0]), "horizon": horizon}
        for strategy, horizon, group in by_strategy(known)
    }


def _most_varied(pieces: dict[_Key, dict[str, Any]]) -> dict[_Key, str | None]:
    """Return the variants of the strategy that has most of them, other horizons not counted. Scratch is no one's variant."""
    continued = {key: value for key, value in pieces.items() if key[0] != REFERENCE}
    names = sorted({name for name, _ in continued}, key=lambda name: (name != "optimized", name))
    every = [_variants(continued, name) for name in names]
    return max(every, key=lambda found: sum(aspect not in (None, "horizon") for aspect in found.values()), default={})


def _variants(pieces: dict[_Key, dict[str, Any]], recipe: str) -> dict[_Key, str | None]:
    """Return (strategy, horizon) -> the one aspect that differs, the recipe itself first; empty if there is none."""
    best: dict[_Key, str | None] = {}
    most = -1
    for mine in sorted((key for key in pieces if key[0] == recipe), key=lambda key: -key[1]):
        apart = {key: differing(pieces[mine], pieces[key]) for key in pieces if key != mine}
        single = {key: aspects[0] for key, aspects in apart.items() if len(aspects) == 1}
        count = sum(aspect != "horizon" for aspect in single.values())
        if single and count > most:
            ordered = sorted(single.items(), key=lambda item: (ASPECTS.index(item[1]), item[0]))
            best, most = {mine: None, **dict(ordered)}, count
    return best


def _final_accuracies(evals: pd.DataFrame) -> dict[_Key, dict[int, float]]:
    """Return each strategy's final validation accuracies, by seed."""
    found = {}
    for strategy, horizon, mine in by_strategy(evals):
        last = mine[mine["step"] == mine["step"].max()]
        found[strategy, horizon] = dict(zip(last["seed"], last["validation_accuracy"].astype(float), strict=True))
    return found


def _speedup(
    trials: pd.DataFrame, evals: pd.DataFrame, key: _Key, seeds: set[int], currency: str, share: float
) -> dict[Any, Any] | None:
    """Return a strategy's speedup over scratch on some seeds, or None if there is nothing to compare."""
    wanted = {key, (REFERENCE, 1.0)}
    rows = zip(evals["strategy"], evals["horizon"], evals["seed"], strict=True)
    kept = evals[[(strategy, horizon) in wanted and seed in seeds for strategy, horizon, seed in rows]]
    if kept.empty:
        return None
    found = speedups_by_target(trials, kept, currency=currency, shares=(share,))
    mine = found[(found["strategy"] == key[0]) & (found["horizon"] == key[1])]
    return mine.drop(columns="share").iloc[0].to_dict() if len(mine) else None


def _accuracies(mine: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Return a row's columns on final accuracies. mine, base: (seeds,), paired."""
    low, high = paired_interval(mine - base)
    difference = float((mine - base).mean())
    return dict(zip(_ACCURACIES, (float(mine.mean()), difference, low, high), strict=True))


def _words(piece: Any) -> str:
    """Return "L2Init(strength=5e-05)", a horizon's number, or "none" for an aspect that a recipe leaves out."""
    if piece is None:
        return "none"
    if not isinstance(piece, dict):
        return f"{piece:g}"
    fields = ", ".join(f"{name}={value}" for name, value in piece.items() if name != "type")
    return f"{piece['type']}({fields})"
