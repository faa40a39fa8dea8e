"""What one piece of a recipe is worth: strategies that differ from a reference in exactly one aspect."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.analysis.leaderboard import by_strategy, curves_of
from bench.analysis.speedup import Run, compare
from bench.catalog import REFERENCE

ASPECTS = ("start", "regularizer", "selection", "schedule", "horizon")
_COLUMNS = [
    "strategy", "title", "horizon", "aspect", "change", "n", "value", "relation", "low", "high", "note",
    "accuracy", "difference", "difference_low", "difference_high",
]  # fmt: skip


def ablation(
    trials: pd.DataFrame,
    evals: pd.DataFrame,
    *,
    reference: str = "optimized",
    currency: str = "flops",
    share: float = 1.0,
) -> pd.DataFrame:
    """Return a row for `reference`, and one for each strategy that differs from it in one aspect alone.

    trials, evals: as bench.records.collect gives them, of one scenario and update. Where the reference was run at several
    horizons, its row is the one that most others differ from in one piece, the longest of equals.
    Columns: strategy, title, horizon, aspect (that differs, empty for the reference), change (in words), n; value, relation, low,
    high, note (the speedup over scratch, as in Speedup, on the seeds shared with scratch and the reference); accuracy (final,
    mean over these seeds); difference (of it to the reference's, paired), difference_low, difference_high (95 %, Student's t;
    NaN below 2 seeds, or where all differ alike). No rows where nothing differs in one aspect, or pieces were not recorded.
    """
    pieces = _pieces(trials)
    found = _variants(pieces, reference)
    scratch = evals[(evals["strategy"] == REFERENCE) & (evals["horizon"] == 1.0)]
    if not found or scratch.empty:
        return pd.DataFrame(columns=_COLUMNS)
    first, *_ = found
    titles = dict(zip(trials["strategy"], trials["title"], strict=True))
    base = _of(evals, first)
    rows = []
    for key, aspect in found.items():
        mine = _of(evals, key)
        seeds = sorted(set(mine["seed"]) & set(base["seed"]) & set(scratch["seed"]))
        if not seeds:
            continue
        runs = [curves_of(frame[frame["seed"].isin(seeds)], currency) for frame in (scratch, base, mine)]
        if any(np.isnan(run.cost).any() for run in runs):
            continue
        change = "" if aspect is None else f"{_words(pieces[first][aspect])} → {_words(pieces[key][aspect])}"
        facts = {"strategy": key[0], "title": titles[key[0]], "horizon": key[1], "aspect": aspect or ""}
        rows.append({**facts, "change": change, "n": len(seeds), **_figures(*runs, share)})
    return pd.DataFrame(rows if len(rows) > 1 else [], columns=_COLUMNS)


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the aspects in which two recipes differ. Own code on both sides, and not the same, cannot be told apart: all."""
    sources = one.get("source"), other.get("source")
    if all(sources) and sources[0] != sources[1]:
        return list(ASPECTS)
    return [aspect for aspect in ASPECTS if one[aspect] != other[aspect]]


def _pieces(trials: pd.DataFrame) -> dict[tuple[str, float], dict[str, Any]]:
    """Return each strategy's pieces by (strategy, horizon)."""
    if "pieces" not in trials:
        return {}
    known = trials[trials["pieces"].notna()]
    return {
        (strategy, horizon): {**json.loads(group["pieces"].iloc[0]), "horizon": horizon}
        for strategy, horizon, group in by_strategy(known)
    }


def _variants(pieces: dict[tuple[str, float], dict[str, Any]], reference: str) -> dict[tuple[str, float], str | None]:
    """Return (strategy, horizon) -> the one aspect that differs, the reference itself first; nothing where none does."""
    best: dict[tuple[str, float], str | None] = {}
    pieces_changed = -1
    for key in sorted((key for key in pieces if key[0] == reference), key=lambda key: -key[1]):
        apart = {other: differing(pieces[key], pieces[other]) for other in pieces if other != key}
        single = {other: aspects[0] for other, aspects in apart.items() if len(aspects) == 1}
        count = sum(aspect != "horizon" for aspect in single.values())
        if single and count > pieces_changed:
            ordered = sorted(single.items(), key=lambda item: (ASPECTS.index(item[1]), item[0]))
            best, pieces_changed = {key: None, **dict(ordered)}, count
    return best


def _figures(scratch: Run, base: Run, mine: Run, share: float) -> dict[str, object]:
    found = compare(scratch, mine, share)
    apart = mine.accuracy[-1] - base.accuracy[-1]
    low, high = paired_interval(apart)
    return {
        "value": found.value,
        "relation": found.relation,
        "low": found.low,
        "high": found.high,
        "note": found.note,
        "accuracy": mine.final_accuracy(),
        "difference": float(apart.mean()),
        "difference_low": low,
        "difference_high": high,
    }


def paired_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95 % t interval of the mean of paired differences, (seeds,); NaN where it would say nothing."""
    n = len(differences)
    if n < 2 or np.ptp(differences) < 1e-12:
        return float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return float(differences.mean()) - half, float(differences.mean()) + half


def _of(evals: pd.DataFrame, key: tuple[str, float]) -> pd.DataFrame:
    return evals[(evals["strategy"] == key[0]) & (evals["horizon"] == key[1])]


def _words(piece: Any) -> str:
    """Return "L2Init(strength=5e-05)", or a horizon's number."""
    if not isinstance(piece, dict):
        return f"{piece:g}"
    fields = ", ".join(f"{name}={value}" for name, value in piece.items() if name != "type")
    return f"{piece['type']}({fields})"
