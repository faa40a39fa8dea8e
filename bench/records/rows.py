"""Reading records: one row per trial, and their evaluations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench.errors import RecordError
from bench.records.bulk import Trial, evaluations
from bench.records.copies import Copies
from bench.records.listing import Listing
from bench.records.published import PublishedTargets
from bench.records.schema import BaseCost, Summary, TrialRecord
from bench.records.sharing import marked
from bench.records.store import read_trial
from bench.target import TargetPart

_PART_TRIALS = 10_000  # 30 MB of text
# A regularizer's FLOPs per parameter and step, for records that do not hold them.
_REGULARIZER_PASSES = {"NoRegularizer": 0, "L2Init": 4}
# The totals of a base model that add up to each currency, as in bench.analysis.
_BASE = {
    "steps": ["steps"],
    "images": ["images"],
    "flops": ["train_flops", "aux_flops"],
    "device_seconds": ["device_seconds"],
    "gpu_joules": ["gpu_joules"],
}


@dataclass
class Reading:
    """The records of a listing, as they are being read.

    schema, tables: of the evaluations, see bulk.evaluations. lost: folder -> why it cannot be read; complete once the tables
    have been read.
    """

    schema: pa.Schema
    tables: Iterator[pa.Table]
    lost: dict[str, str]
    _rows: list[tuple[str, dict[str, object]]]

    @property
    def count(self) -> int:
        """The number of trials that can be read."""
        return sum(folder not in self.lost for folder, _ in self._rows)

    def parts(self) -> Iterator[str]:
        """Yield Records.trials as JSON, some thousand trials at a time, each with all columns. Only once the tables are read."""
        rows = [row for folder, row in self._rows if folder not in self.lost]
        names = dict.fromkeys(name for row in rows for name in row)
        for begin in range(0, len(rows), _PART_TRIALS):
            part = rows[begin : begin + _PART_TRIALS]
            yield json.dumps({name: [row.get(name) for row in part] for name in names})


def read_rows(listing: Listing, lost: Mapping[str, str] | None = None) -> Reading:
    """Read the records of a listing. lost: folder -> why of those that are known to be damaged, and are not read again."""
    # Each record is freed once its row is made: 10,000 of them took 200 MB.
    targets, rows, ended, known = PublishedTargets(), [], [], dict(lost or {})
    texts: dict[str, str] = {}
    copies = Copies(listing.results)
    for name in listing.folders:
        if name in known:
            continue
        folder = Path(name)
        try:
            if (record := read_trial(folder)) is None:
                continue
            row = _trial_row(record) | _target_columns(targets.of(record))
        except RecordError as cause:
            known[name] = str(cause)
            continue
        copies.add(folder, record)
        for column, value in row.items():
            if isinstance(value, str):  # most texts are the same in many trials
                row[column] = texts.setdefault(value, value)
        rows.append((name, row))
        if record.ended:
            ended.append(_ended_trial(folder, row, record))
    known |= copies.found()
    schema, tables = evaluations([each for each in ended if str(each.folder) not in known], known)
    return Reading(schema, tables, known, rows)


def _ended_trial(folder: Path, row: dict[str, object], record: TrialRecord) -> Trial:
    points = record.scenario["evaluation"]["points"]
    grid = (points, record.scratch_steps, record.total_steps, record.diverged and record.diverged.step)
    return Trial(folder, row, record.status, grid, record.evals_sha256)


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
        "chance": record.chance,
        "validation_images": record.validation_images,
        "scenario_hash": record.scenario_hash,
        "strategy_hash": record.strategy_hash,
        "rules_version": record.rules_version,
        "training_version": record.training_version,
        "device": origin.cpu if origin.device_type == "cpu" else origin.device,
        "machine": marked(origin.machine(), record.summary.shared if record.summary else None),
        "data_hash": origin.data_hash,
        "commit": origin.commit,
        "modified": origin.modified,
        "commit_reason": origin.commit_reason,
        "command": origin.command,
        "started": origin.started,
        "python": origin.python,
        "packages": ", ".join(f"{name} {version}" for name, version in origin.packages.items()),
        "threads": origin.threads,
        "precision": origin.precision,
        "compiled": origin.compiled,
        "own_code": record.strategy.get("source") is not None,
        "division": record.strategy.get("division", "closed"),
        "reference": record.strategy.get("reference"),
        "points": record.scenario["evaluation"]["points"],
        "total_steps": record.total_steps,
        "scratch_steps": record.scratch_steps,
        "old_share": record.old_share,
        "previous_sha256": record.previous_sha256,
        "pieces": _pieces(record.strategy),
        "may_have_seen": _may_have_seen(record),
        "tuning_flops": (record.strategy.get("tuning") or {}).get("flops"),
        **{f"base_{currency}": _sum(base, fields) for currency, fields in _BASE.items()},
        **(_ended(record, record.summary) if record.summary else {}),
    }


def _ended(record: TrialRecord, summary: Summary) -> dict[str, object]:
    """Return the summary's fields.

    Before schema 3, the regularizer's FLOPs are derived from its type. Before schema 4, no features were kept, nor heads fitted.
    """
    # Without the list of every segment, and without what says nothing of the trial alone.
    fields: dict[str, object] = summary.model_dump(exclude={"gpu_power", "shared", "peak_memory_bytes"})
    passes = _REGULARIZER_PASSES.get(str((record.strategy.get("regularizer") or {}).get("type")))
    if summary.regularizer_flops is None and passes is not None:
        fields["regularizer_flops"] = passes * summary.steps * record.parameters
    for name in ("feature_flops", "head_flops"):
        fields[name] = fields[name] or 0
    return fields


def _may_have_seen(record: TrialRecord) -> str | None:
    """Return which held-out images a given old model may have been trained on; before schema 7, nobody asked."""
    if record.given is None:
        return None
    seen = record.given.may_have_seen
    return " and ".join(("validation", "test") if seen is None else seen) or None


def _pieces(strategy: dict[str, Any]) -> str:
    """Return the aspects, and the hash of a strategy's own code, as JSON with sorted keys."""
    source = strategy.get("source")
    text = source + json.dumps(strategy["modules"], sort_keys=True) if source and strategy.get("modules") else source
    own = hashlib.sha256(text.encode()).hexdigest()[:16] if text else None
    aspects = {name: strategy.get(name) for name in ("start", "regularizer", "selection", "schedule")}
    aspects |= {
        name: strategy[name] for name in ("freezing", "head", "averaging", "teacher", "objective") if name in strategy
    }
    return json.dumps({**aspects, "source": own}, sort_keys=True)


def _target_columns(target: TargetPart | None) -> dict[str, object]:
    """Return a published target as plain values, which every table format can hold."""
    steps = None if target is None else target.convergence_steps
    return {
        "published_accuracy": None if target is None else target.accuracy,
        "published_std": None if target is None else target.std,
        "published_source": None if target is None else target.source,
        "published_seeds": None if target is None else " ".join(map(str, target.seeds)),
        "published_steps": None if steps is None else " ".join(map(str, steps)),
    }


def _sum(base: BaseCost | None, fields: list[str]) -> float | None:
    """Return the sum of a base model's totals, or None if it is unknown."""
    values: list[float | None] = [getattr(base, field) for field in fields] if base else [None]
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
