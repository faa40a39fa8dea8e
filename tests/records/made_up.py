"""Made-up records: in the form that bench writes, but without training anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.records.store import record_digest

_BATCH, _STEP_FLOPS = 64, 3000
_PLACE: dict[str, Any] = {
    "bench_version": "0.1.0",
    "commit": "c" * 40,
    "modified": False,
    "command": "bench run",
    "started": "2026-01-01T00:00:00+00:00",
    "python": "3.11.7",
    "packages": {"torch": "2.6.0", "numpy": "1.26.0"},
    "platform": "Linux",
    "cpu": "A processor",
    "cpus": 2,
    "threads": 2,
    "device": "cpu",
    "device_type": "cpu",
    "driver": None,
    "precision": "fp32",
    "compiled": False,
    "allocator": "glibc",
    "load_average": 0.5,
    "data_source": "made up",
    "data_hash": "d" * 16,
}
_BASE = {
    "key": "base",
    "steps": 100,
    "images": 100 * _BATCH,
    "train_flops": 100 * _BATCH * _STEP_FLOPS,
    "aux_flops": 7,
    "train_seconds": 10.0,
    "device_seconds": 10.0,
    "gpu_joules": None,
    "validation_accuracy": 0.9,
    "test_accuracy": 0.9,
}


def evaluation(step: int, accuracy: float, /, **changes: Any) -> dict[str, Any]:
    """Return a line of evals.jsonl; a change to "missing" leaves the key out."""
    seconds = step * 0.1 + accuracy / 100
    line: dict[str, Any] = {
        "step": step,
        "epoch": step / 10,
        "images": step * _BATCH,
        "train_flops": step * _BATCH * _STEP_FLOPS,
        "aux_flops": step * 7,
        "evaluate_flops": step * 11,
        "train_seconds": seconds,
        "device_seconds": seconds,
        "evaluate_seconds": seconds / 10,
        "gpu_joules": None,
        "evaluate_gpu_joules": None,
        "cpu_seconds": seconds * 1.9,
        "cpu_joules": None,
        "learning_rate": 0.1,
        "train_loss": 1 / step,
        "validation_accuracy": accuracy,
        "validation_accuracy_old": accuracy,
        "validation_accuracy_new": accuracy,
    }
    return {name: value for name, value in (line | changes).items() if value != "missing"}


def trial(
    scenario: str = "made-up",
    strategy: str = "scratch",
    *,
    horizon: float = 1.0,
    seed: int = 0,
    update: int = 1,
    stages: int = 2,
    steps: int = 40,
    last: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the content of trial.json: finished where `last`, its last evaluation, is given, otherwise running."""
    summary = None
    if last is not None:
        totals = ("images", "train_flops", "aux_flops", "evaluate_flops", "train_seconds", "device_seconds")
        summary = {"steps": last["step"], **{name: last[name] for name in totals}}
        summary |= {name: last[name] for name in ("evaluate_seconds", "gpu_joules", "validation_accuracy")}
        summary |= {"cpu_seconds": last.get("cpu_seconds"), "test_accuracy": last.get("test_accuracy", 0.5)}
        summary |= {"gpu_joules_reason": None if last["gpu_joules"] is not None else "no GPU", "sittings": 1}
        summary |= {"io_seconds": 0.1, "prepare_seconds": 0.2, "build_seconds": 0.3, "unaccounted_share": 0.0}
        summary |= {"wall_seconds": last["train_seconds"] + last["evaluate_seconds"] + 0.6}
        summary |= {"weights_sha256": f"{scenario}-{strategy}-{horizon:g}-{seed}-{update}"}
    return {
        "schema_version": 2,
        "rules_version": 1,
        "training_version": 1,
        "scenario": {
            "name": scenario,
            "title": scenario.title(),
            "stages": [{"classes": 1}] * stages,
            "training": {"batch_size": _BATCH},
            "evaluation": {"points": max(1, steps // 10)},
        },
        "scenario_hash": f"hash of {scenario}",
        "strategy": {"name": strategy, "title": strategy.title()},
        "strategy_hash": f"hash of {strategy}",
        "update": update,
        "seed": seed,
        "horizon": horizon,
        "total_steps": steps,
        "scratch_steps": steps,
        "flops_per_image": {"forward": _STEP_FLOPS // 3, "step": _STEP_FLOPS, "forward_fvcore": _STEP_FLOPS // 3},
        "parameters": 10,
        "base": None if strategy == "scratch" else _BASE,
        "provenance": _PLACE,
        "status": "running" if summary is None else "finished",
        "summary": summary,
        **changes,
    }


def write(results: Path, content: dict[str, Any], lines: list[dict[str, Any]]) -> Path:
    """Write a trial where it belongs, and return its folder."""
    folder = results / content["scenario"]["name"] / content["strategy"]["name"] / f"{content['horizon']:g}"
    folder /= f"seed-{content['seed']}"
    if len(content["scenario"]["stages"]) > 2:
        folder /= f"update-{content['update']}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "evals.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    """Write the digests of a trial's evaluations and of its record, as if bench had written them so."""

    def seal_evaluations(content: dict[str, Any]) -> None:
        if content["schema_version"] >= 7 and content["status"] in ("finished", "diverged"):
            content["evals_sha256"] = hashlib.sha256((folder / "evals.jsonl").read_bytes()).hexdigest()

    change(folder, seal_evaluations)


def change(folder: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change a trial's record as if bench had written it so."""
    path = folder / "trial.json"
    content = json.loads(path.read_text())
    how(content)
    if content["schema_version"] >= 8:
        content["record_sha256"] = record_digest(content)
    path.write_text(json.dumps(content, indent=1) + "\n")


def finished(results: Path, accuracies: list[float], **facts: Any) -> Path:
    """Write a finished trial with evaluations at steps 10, 20, ..., and return its folder. facts: as for `trial`."""
    lines = [evaluation(10 * place, accuracy) for place, accuracy in enumerate(accuracies, 1)]
    lines[-1]["test_accuracy"] = accuracies[-1]
    return write(results, trial(steps=lines[-1]["step"], last=lines[-1], **facts), lines)
