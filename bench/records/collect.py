"""Turning records into data frames."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.errors import RecordError
from bench.records.bulk import KEY, evaluations
from bench.records.listing import Listing, list_records
from bench.records.parquet import NAME, NotUsableError, read_parquet, write_parquet
from bench.records.published import PublishedTargets
from bench.records.schema import BaseCost, EvalRow, TrialRecord
from bench.records.store import read_trial
from bench.target import TargetPart

_KEY = list(KEY)
# Clocks of file systems stand still for up to 10 ms; 50 of them are enough.
_TICK_NANOSECONDS, _TRIES = 50_000_000, 20
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
    reason, hashes, versions, device, commit, modified, command, started, python, packages (as text), threads, precision,
    compiled, own_code (whether the strategy has pieces of the user's own), total_steps, scratch_steps, old_share,
    previous_sha256, pieces (the strategy's four aspects as JSON), base_<currency>, the scenario's published target
    (published_accuracy, published_std, published_source, and as text with spaces published_seeds and published_steps; None where
    there is none), and the summary's fields where it is finished.
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
        keys = sorted(self.evals[["strategy", "horizon"]].drop_duplicates().itertuples(index=False, name=None))
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
            Records(_where(self.trials, "update", update), _where(self.evals, "update", update))
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
        trials = _where(self.trials, "scenario", scenario)
        if trials.empty:
            known = ", ".join(self.scenarios()) or "none"
            raise RecordError(
                f"scenario {scenario}: no trials among the results, expected one of: {known}. "
                f"Run: bench run --scenario {scenario}"
            )
        return Records(trials, _where(self.evals, "scenario", scenario))


def _where(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """Return the rows with a value: without copying them where they stand together, as one scenario's do."""
    places = np.flatnonzero((frame[column] == value).to_numpy(bool))
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return frame.iloc[places[0] : places[-1] + 1]
    return frame.iloc[places]


@dataclass(frozen=True)
class Collected:
    """What a collected file holds. size: in bytes."""

    path: Path
    trials: int
    evals: int
    size: int


def collect(
    results: Path,
    tell: Callable[[str], object] = lambda note: None,
    columns: Sequence[str] = tuple(EvalRow.model_fields),
) -> Records:
    """Return every record under `results`: from its collected file where that is current, otherwise read one by one.

    Either way the same frames. tell: is told, in a line, why a collected file that is there was not used. columns: of the
    evaluations, besides the key; fewer take less time and memory.
    Raises RecordError where the folder is not there or a finished trial's record is torn or incomplete.
    """
    _require(results)
    listing, file = list_records(results), results / NAME
    if file.is_file():
        try:
            text, table = read_parquet(file, listing, [*KEY, *columns])
            return Records(_trials_frame(text), _evals_frame(table, columns))
        except NotUsableError as reason:
            tell(f"{file} {reason}: not used. Run: bench collect --results {results}")
    text, _, schema, tables = _read(listing)
    kept = [table.select([*KEY, *columns]) for table in (schema.empty_table(), *tables)]
    return Records(_trials_frame(text), _evals_frame(pa.concat_tables(kept), columns))


def write_collected(results: Path, output: Path | None = None) -> Collected:
    """Write every record under `results` into one file, by default where `collect` looks for it.

    Raises RecordError as `collect` does, where there is no trial, and where the file cannot be written.
    """
    _require(results)
    listing, path = _settled(results), output or results / NAME
    text, count, schema, tables = _read(listing)
    if not count:
        raise RecordError(f"{results}: no trials, expected some. Run: bench run")
    evals = write_parquet(path, text, tables, schema, listing)
    return Collected(path, count, evals, path.stat().st_size)


def _require(results: Path) -> None:
    if not results.is_dir():
        raise RecordError(f"{results}: no such folder of results. Run bench run first, or name it with --results.")


def _settled(results: Path) -> Listing:
    """List the records once the last of them was not written just now, when it could change without a new time."""
    listing = list_records(results)
    for _ in range(_TRIES):
        if not 0 <= time.time_ns() - listing.newest < _TICK_NANOSECONDS:
            break
        time.sleep(_TICK_NANOSECONDS / 1e9)
        listing = list_records(results)
    return listing


def _read(listing: Listing) -> tuple[str, int, pa.Schema, Iterator[pa.Table]]:
    """Return (Records.trials as JSON, how many they are, the columns of the evaluations, the evaluations)."""
    # A record is let go once its row is made: 10,000 of them took 200 MB.
    targets, rows = PublishedTargets(), []
    for folder in listing.folders:
        if (record := read_trial(folder)) is not None:
            rows.append((folder, _trial_row(record) | _target_columns(targets.of(record))))
    schema, tables = evaluations([(folder, row) for folder, row in rows if row["status"] == "finished"])
    names = dict.fromkeys(name for _, row in rows for name in row)
    return json.dumps({name: [row.get(name) for _, row in rows] for name in names}), len(rows), schema, tables


def _trials_frame(text: str) -> pd.DataFrame:
    return pd.DataFrame(json.loads(text) or {name: [] for name in (*_KEY, "status")})


def _evals_frame(table: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    for name, kind in KEY.items():
        if pa.types.is_dictionary(kind):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    # Columns that share a block would be copied into it: of 2 million rows a second, for pages that were never touched.
    return table.select([*KEY, *columns]).to_pandas(split_blocks=True)


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
        "command": origin.command,
        "started": origin.started,
        "python": origin.python,
        "packages": ", ".join(f"{name} {version}" for name, version in origin.packages.items()),
        "threads": origin.threads,
        "precision": origin.precision,
        "compiled": origin.compiled,
        "own_code": record.strategy.get("source") is not None,
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
