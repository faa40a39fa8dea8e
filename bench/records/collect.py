"""Turning records into data frames."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import RecordError
from bench.records.published import PublishedTargets
from bench.records.schema import BaseCost, EvalRow, TrialRecord
from bench.records.store import find_trials, read_evals
from bench.target import TargetPart

_KEY = ["scenario", "strategy", "horizon", "seed", "update"]
# The totals of a base model that add up to a currency, as bench.analysis has them.
_BASE = {
    "steps": ["steps"],
    "images": ["images"],
    "flops": ["train_flops", "aux_flops"],
    "device_seconds": ["device_seconds"],
    "gpu_joules": ["gpu_joules"],
}


@dataclass(frozen=True)
class Records:
    """Every trial under a results folder.

    trials: a row a trial: scenario, strategy, horizon, seed, update, updates (how many the scenario has), title, status,
    reason, hashes, versions, device, commit, modified, total_steps, scratch_steps, old_share, previous_sha256,
    pieces (the strategy's four aspects as JSON), base_<currency>, the scenario's published target (published_accuracy,
    published_std, published_source, and as text with spaces published_seeds and published_steps; None where there is none),
    and the summary's fields where it is finished.
    evals: a row an evaluation of a finished trial: scenario, strategy, horizon, seed, update, and the fields of EvalRow.
    """

    trials: pd.DataFrame
    evals: pd.DataFrame

    @property
    def name(self) -> str:
        """The scenario's name, of one scenario's part."""
        return self.trials["scenario"].iloc[0]

    @property
    def chain(self) -> bool:
        """Whether one scenario's part is of more than one update."""
        return int(self.trials["updates"].iloc[0]) > 1

    @property
    def update(self) -> int:
        """The update, of one update's part."""
        return int(self.trials["update"].iloc[0])

    def find(self, name: str) -> tuple[str, float]:
        """Return (strategy, horizon) of a name like "optimized", or "optimized@0.5" where there are several horizons.

        Raises RecordError where there is none, or more than one.
        """
        strategy, at, horizon = name.partition("@")
        keys = sorted(set(zip(self.evals["strategy"], self.evals["horizon"], strict=True)))
        found = [key for key in keys if key[0] == strategy and (not at or f"{key[1]:g}" == horizon)]
        if len(found) != 1:
            known = ", ".join(f"{each}@{length:g}" for each, length in keys) or "none"
            raise RecordError(
                f"{name}: {len(found)} finished strategies of that name, expected one of: {known}. Change it."
            )
        return found[0]

    def by_update(self) -> list[Records]:
        """Return one scenario's part, update by update, those that have any trial."""
        return [
            Records(self.trials[self.trials["update"] == update], self.evals[self.evals["update"] == update])
            for update in sorted(self.trials["update"].unique())
        ]

    def scenarios(self) -> list[str]:
        """Return the names of the scenarios that have any trial, sorted."""
        return sorted(self.trials["scenario"].unique())

    def parts(self, scenario: str | None) -> list[Records]:
        """Return one scenario's part, or every scenario's. Raises RecordError where there is no trial at all."""
        names = [scenario] if scenario else self.scenarios()
        if not names:
            raise RecordError("no trials among the results, expected some. Run: bench run")
        return [self.of(name) for name in names]

    def of(self, scenario: str) -> Records:
        """Return one scenario's part. Raises RecordError where it has no trial."""
        trials = self.trials[self.trials["scenario"] == scenario]
        if trials.empty:
            known = ", ".join(self.scenarios()) or "none"
            raise RecordError(
                f"scenario {scenario}: no trials among the results, expected one of: {known}. "
                f"Run: bench run --scenario {scenario}"
            )
        return Records(trials, self.evals[self.evals["scenario"] == scenario])


def collect(results: Path) -> Records:
    """Read every record under `results`.

    Raises RecordError where the folder is not there or a finished trial's record is torn or incomplete.
    """
    if not results.is_dir():
        raise RecordError(f"{results}: no such folder of results. Run bench run first, or name it with --results.")
    trials, evals, targets = [], [], PublishedTargets()
    for folder, record in find_trials(results):
        trials.append({**_trial_row(record), **_target_columns(targets.of(record))})
        if record.status == "finished":
            rows = read_evals(folder)
            _check_complete(folder, record, rows)
            key = _key(record)
            evals.extend({**key, **row.model_dump()} for row in rows)
    trial_columns = [*_KEY, "status"]
    return Records(
        pd.DataFrame(trials) if trials else pd.DataFrame(columns=trial_columns),
        pd.DataFrame(evals) if evals else pd.DataFrame(columns=[*_KEY, *EvalRow.model_fields]),
    )


def _key(record: TrialRecord) -> dict[str, object]:
    return {
        "scenario": record.scenario["name"],
        "strategy": record.strategy["name"],
        "horizon": record.horizon,
        "seed": record.seed,
        "update": record.update,
    }


def _trial_row(record: TrialRecord) -> dict[str, object]:
    origin, base = record.provenance, record.base
    return {
        **_key(record),
        "updates": len(record.scenario["stages"]) - 1,
        "title": record.strategy["title"],
        "scenario_title": record.scenario["title"],
        "status": record.status,
        "reason": record.reason,
        "scenario_hash": record.scenario_hash,
        "strategy_hash": record.strategy_hash,
        "rules_version": record.rules_version,
        "training_version": record.training_version,
        "device": origin.cpu if origin.device_type == "cpu" else origin.device,
        "machine": origin.machine(),
        "data_hash": origin.data_hash,
        "commit": origin.commit,
        "modified": origin.modified,
        "total_steps": record.total_steps,
        "scratch_steps": record.scratch_steps,
        "old_share": record.old_share,
        "previous_sha256": record.previous_sha256,
        "pieces": _pieces(record.strategy),
        **{f"base_{currency}": _sum(base, fields) for currency, fields in _BASE.items()},
        **(record.summary.model_dump() if record.summary else {}),
    }


def _pieces(strategy: dict[str, Any]) -> str:
    """Return the four aspects, and a strategy's own code by its hash, as JSON with sorted keys."""
    source = strategy.get("source")
    own = hashlib.sha256(source.encode()).hexdigest()[:16] if source else None
    aspects = {name: strategy.get(name) for name in ("start", "regularizer", "selection", "schedule")}
    return json.dumps({**aspects, "source": own}, sort_keys=True)


def _target_columns(target: TargetPart | None) -> dict[str, object]:
    """Return what is known of a published target, in plain values, which every table format can hold."""
    steps = None if target is None else target.convergence_steps
    return {
        "published_accuracy": None if target is None else target.accuracy,
        "published_std": None if target is None else target.std,
        "published_source": None if target is None else target.source,
        "published_seeds": None if target is None else " ".join(map(str, target.seeds)),
        "published_steps": None if steps is None else " ".join(map(str, steps)),
    }


def _sum(base: BaseCost | None, fields: list[str]) -> float | None:
    """Return the sum of a base model's totals, or None where it is unknown."""
    values: list[float | None] = [getattr(base, field) for field in fields] if base else [None]
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _check_complete(folder: Path, record: TrialRecord, rows: list[EvalRow]) -> None:
    last = rows[-1].step if rows else 0
    if record.summary is None or last != record.total_steps:
        raise RecordError(
            f"{folder}: finished, but its evaluations end at step {last}, expected {record.total_steps}. Run it again."
        )
