"""Made-up records for figures: learning curves by a formula, with every column that collect gives."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from bench.records.collect import Records

_IMAGES, _STEP_FLOPS, _AUX_FLOPS, _SECONDS, _WATTS = 64, 1.9e11, 4.0e6, 0.031, 290.0
_PIECES = {
    "start": {"type": "ShrinkAndPerturb", "shrink": 0.8, "perturb": 0.1},
    "regularizer": {"type": "L2Init", "strength": 5e-5},
    "selection": {"type": "LearningSpeed", "drop_fastest": 0.1},
    "schedule": {"type": "OneCycle", "warmup": 0.1},
}


def made_up(
    strategies: int = 3,
    *,
    seeds: int = 3,
    missed: bool = False,
    joules: bool = False,
    horizons: tuple[float, ...] = (),
    ablation: bool = False,
    name: str = "made-up",
    title: str = "CIFAR-100: 70 classes, then 30 more (ResNet-18)",
    long_titles: bool = False,
    draw: int = 7,
) -> Records:
    """Return one scenario's records for one update: `strategies` strategies, the first of them scratch.

    missed: only scratch reaches the target. joules: energy was measured. horizons: of all strategies except scratch.
    ablation: strategies that differ from "optimized" in one piece each. long_titles: to test their layout.
    draw: seed of the noise.
    """
    random = np.random.default_rng(draw)
    trials, evals = [], []
    for place in range(strategies):
        strategy = ("scratch", "naive", "optimized")[place] if place < 3 else f"other-{place:02d}"
        for horizon in (1.0,) if place == 0 else horizons or ((1.0, 0.5)[place % 2 == 0],):
            for seed in range(seeds):
                key = {"scenario": name, "strategy": strategy, "horizon": horizon, "seed": seed, "update": 1}
                rows = _curve(random, place, horizon, missed, joules)
                evals += [{**key, **row} for row in rows]
                trials.append(_trial(key, rows[-1], place, title, ablation, long_titles))
    return Records(pd.DataFrame(trials), pd.DataFrame(evals))


def _curve(random: np.random.Generator, place: int, horizon: float, missed: bool, joules: bool) -> list[dict]:
    steps = np.linspace(200, 4000 * horizon, max(4, round(20 * horizon))).astype(int)
    end = 0.70 if place == 0 else (0.66 if missed else 0.71) + 0.004 * (place % 5) - 0.03 * (horizon < 0.4)
    start = 0.1 if place == 0 else 0.35 + 0.02 * (place % 4)
    rows = []
    for step in steps:
        along = 1 - np.exp(-4 * step / (4000 * horizon))
        accuracy = start + (end - start) * along / (1 - np.exp(-4)) + random.normal(0, 0.004)
        new = accuracy + 0.05 - 0.02 * place
        old = (accuracy - 0.3 * new) / 0.7
        seconds = step * _SECONDS * (1 + 0.02 * random.random())
        rows.append(
            {
                "step": step,
                "images": step * _IMAGES,
                "train_flops": step * _STEP_FLOPS,
                "aux_flops": step * _AUX_FLOPS * (1 + place),
                "evaluate_flops": len(rows) * 9e12,
                "train_seconds": seconds,
                "device_seconds": seconds,
                "evaluate_seconds": 0.6 * (len(rows) + 1),
                "gpu_joules": seconds * _WATTS * (1 + 0.05 * random.random()) if joules else None,
                "validation_accuracy": accuracy,
                "validation_accuracy_old": old,
                "validation_accuracy_new": new,
                "test_accuracy": accuracy - 0.01,
                "test_accuracy_old": old - 0.012,
                "test_accuracy_new": new - (0.01 - 0.7 * 0.012) / 0.3,
            }
        )
    return rows


def _trial(key: dict, last: dict, place: int, title: str, ablation: bool, long_titles: bool) -> dict:
    kind = key["strategy"].replace("-", " ").capitalize()
    long = f"{kind}: shrink and perturb, L2 towards the start, the fastest tenth of the old images left out"
    names = ("steps", "images", "flops", "device_seconds", "gpu_joules")
    summary = {name: last[name] for name in last if name.endswith(("_flops", "_seconds", "_joules"))}
    busy = summary["train_seconds"] + summary["evaluate_seconds"] + 0.3 + 4.0 + 0.2
    return {
        **key,
        "updates": 1,
        "title": long if long_titles else kind,
        "scenario_title": title,
        "status": "finished",
        "reason": None,
        "scenario_hash": "h" * 16,
        "strategy_hash": f"{key['strategy']}@{key['horizon']}",
        "rules_version": 1,
        "training_version": 1,
        "device": "NVIDIA H100 80GB HBM3",
        "machine": "m",
        "data_hash": "d",
        "commit": "c" * 40,
        "modified": False,
        "old_share": 1.0,
        "scratch_steps": 4000,
        "total_steps": last["step"],
        "pieces": json.dumps(_pieces(place, ablation), sort_keys=True),
        "previous_sha256": None,
        **{f"base_{currency}": None if place == 0 else 1e4 for currency in names},
        **summary,
        "io_seconds": 0.3,
        "prepare_seconds": 4.0,
        "build_seconds": 0.2,
        "wall_seconds": busy + 0.1,
        "selection_seconds": 0.02 * summary["train_seconds"] * place,
        "regularizer_flops": 0.4 * place * last["aux_flops"] / (1 + place),
        "weights_sha256": None,
    }


def _pieces(place: int, ablation: bool) -> dict:
    """Return the pieces: "optimized" has all, its ablations all except one."""
    if ablation and place > 2:
        aspect = tuple(_PIECES)[place % 4]
        return {**_PIECES, aspect: {"type": f"Other{place}"}, "source": None}
    if place == 2:
        return {**_PIECES, "source": None}
    plain = {"regularizer": "NoRegularizer", "selection": "Uniform", "schedule": "Cosine"}
    start = "Fresh" if place == 0 else f"Keep{place}"
    return {"start": {"type": start}, **{name: {"type": kind} for name, kind in plain.items()}, "source": None}
