"""Made-up records for the page: any number of scenarios, strategies and seeds, with any names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.records.collect import Records

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def made_up(
    strategies: Sequence[str],
    *,
    scenario: str = "made-up",
    seeds: int = 3,
    points: int = 4,
    updates: int = 1,
    best: float = 0.8,
    titles: dict[str, str] | None = None,
    device: str = "A card",
) -> Records:
    """Return one scenario's records: scratch, and strategies of half its length that end between 0.6 and `best` + 0.1.

    best: where scratch ends. The first strategy ends highest, the last lowest.
    """
    ends = {"scratch": best, **dict(zip(strategies, np.linspace(best + 0.1, 0.6, len(strategies)), strict=True))}
    trials, evals = [], []
    for update in range(1, updates + 1):
        for name, end in ends.items():
            horizon = 1.0 if name == "scratch" else 0.5
            for seed in range(seeds):
                key = {"scenario": scenario, "strategy": name, "horizon": horizon, "seed": seed, "update": update}
                trials.append({**key, **_facts(name, seed, update, updates, device, titles or {}, scenario)})
                for place in range(1, int(points * horizon) + 1):
                    share = place / (points * horizon)
                    accuracy = round(end * (0.5 + 0.5 * share) + 0.001 * seed, 6)
                    evals.append({**key, **_totals(place, accuracy)})
    return Records(pd.DataFrame(trials), pd.DataFrame(evals))


def together(parts: Sequence[Records]) -> Records:
    """Return several scenarios' records as one."""
    frames = [(part.trials, part.evals) for part in parts]
    trials, evals = (pd.concat(each, ignore_index=True) for each in zip(*frames, strict=True))
    return Records(trials, evals)


def _facts(
    name: str, seed: int, update: int, updates: int, device: str, titles: dict[str, str], scenario: str
) -> dict[str, object]:
    scratch = name == "scratch"
    return {
        "title": titles.get(name, f"The {name} way"),
        "scenario_title": f"Scenario {scenario}",
        "updates": updates,
        "status": "finished",
        "reason": None,
        "scenario_hash": "5ce0",
        "strategy_hash": f"hash of {name}",
        "data_hash": "da7a",
        "rules_version": 1,
        "training_version": 1,
        "device": device,
        "machine": device,
        "commit": COMMIT,
        "modified": False,
        "command": "bench run --scenario made-up",
        "started": f"2026-01-0{seed % 9 + 1}T00:00:00+00:00",
        "python": "3.11.7",
        "packages": "torch 2.6.0, numpy 2.0.0",
        "threads": 2,
        "precision": "fp32",
        "compiled": True,
        "own_code": False,
        "old_share": 1.0,
        "weights_sha256": f"{name} {seed} {update}",
        "previous_sha256": f"{name} {seed} {update - 1}" if update > 1 and not scratch else None,
        "base_steps": None if scratch else 10.0,
        "base_images": None if scratch else 640.0,
        "base_flops": None if scratch else 5000.0,
        "base_device_seconds": None if scratch else 5.0,
        "base_gpu_joules": None,
    }


def _totals(place: int, accuracy: float) -> dict[str, object]:
    return {
        "step": 10 * place,
        "images": 640 * place,
        "train_flops": 10_000 * place,
        "aux_flops": 100 * place,
        "device_seconds": 5.0 * place,
        "gpu_joules": None,
        "validation_accuracy": accuracy,
        "validation_accuracy_old": accuracy + 0.01,
        "validation_accuracy_new": accuracy - 0.02,
        "test_accuracy": accuracy - 0.005,
        "test_accuracy_old": accuracy + 0.005,
        "test_accuracy_new": accuracy - 0.025,
    }
