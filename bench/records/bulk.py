"""Reading the evaluations of many trials at once, into Arrow tables."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.json

from bench.errors import DamagedError, RecordError
from bench.records.frames import KEY, TEXT
from bench.records.grid import evaluation_steps
from bench.records.listing import EVALS
from bench.records.schema import EvalRow
from bench.records.store import parse_evals, read_lines, require_whole

T = TypeVar("T")
R = TypeVar("R")

# The columns of its trial that every evaluation's row repeats, so that no second table is needed.
OF_TRIAL = {
    **KEY,
    **dict.fromkeys(["title", "device", "scenario_hash", "strategy_hash"], TEXT),
    **dict.fromkeys(["total_steps", "scratch_steps"], pa.int64()),
}
_FIELDS = EvalRow.model_fields
_NULLABLE = {name for name, field in _FIELDS.items() if type(None) in getattr(field.annotation, "__args__", ())}
# Keys that every line must have although their value may be null: Arrow would read a missing key as null.
_NULL_BUT_THERE = {name for name in _NULLABLE if _FIELDS[name].is_required()}
_ACCURACIES = [name for name in _FIELDS if "accuracy" in name]
_LARGEST = 2**63 - 1
_BATCH_BYTES = 8 << 20  # of evaluations read at a time
_THREADS = 2  # the consumer of the tables needs CPU time, too


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    row: of Records.trials. grid: the arguments of evaluation_steps. evals_sha256: of its evaluations' file, None if not known.
    """

    folder: Path
    row: dict[str, Any]
    status: str
    grid: tuple[int, int, int, int | None]
    evals_sha256: str | None

    @property
    def evaluation_steps(self) -> tuple[int, ...]:
        return evaluation_steps(*self.grid)


def evaluations(trials: Sequence[Trial], lost: dict[str, str]) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Return the schema of these trials' evaluations, and the evaluations, in the order of `trials`, a few at a time.

    Columns: those of OF_TRIAL, and the fields of EvalRow: whole numbers as int64, everything else as float64. If a
    trial's summary has a total above 2^63 - 1 (9.2e18 FLOPs), that column is float64 throughout. Threads read only a few
    batches ahead, so many trials take no more memory than a few.
    A diverged trial has no accuracy (NaN) from the evaluation that found it to its end, and costs nothing more: it has missed any
    target.
    lost: folder -> why is added to it for each trial that has no rows here, because a line is not an evaluation, or because
    they are not those of its grid, or not those that its record has a digest of.
    """
    whole = [name for name, field in _FIELDS.items() if field.annotation is int]
    large = {name for name in whole if any((each.row.get(name) or 0) > _LARGEST for each in trials)}
    exact = set(whole) - large
    fields = pa.schema([(name, pa.int64() if name in exact else pa.float64()) for name in _FIELDS])
    facts = pa.table({name: _facts([each.row[name] for each in trials], kind) for name, kind in OF_TRIAL.items()})
    schema = pa.schema([*facts.schema, *fields])
    return schema, _tables(trials, facts, fields, schema, lost)


def _facts(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(values, kind)


def _tables(
    trials: Sequence[Trial], facts: pa.Table, fields: pa.Schema, schema: pa.Schema, lost: dict[str, str]
) -> Iterator[pa.Table]:
    begun = 0
    for counts, table, damaged in _ahead(partial(_read, fields=fields), _batches(trials)):
        who = facts.take(pa.array(np.repeat(np.arange(begun, begun + len(counts)), counts)))
        yield pa.Table.from_arrays([*who.columns, *table.columns], schema=schema)
        begun += len(counts)
        lost |= damaged


def _ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield work(item) of each item, in order; meanwhile, threads work on the next few only."""
    with ThreadPoolExecutor(_THREADS) as threads:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(threads.submit(work, item))
                if len(waiting) > _THREADS + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _batches(trials: Iterable[Trial]) -> Iterator[list[Trial]]:
    batch, size = [], 0
    for trial in trials:
        if trial.status == "diverged":  # by itself: its evaluations are not those of its file
            if batch:
                yield batch
            yield [trial]
            batch, size = [], 0
            continue
        batch.append(trial)
        with suppress(OSError):  # the reader reports what is wrong
            size += (trial.folder / EVALS).stat().st_size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read(batch: Sequence[Trial], fields: pa.Schema) -> tuple[list[int], pa.Table, dict[str, str]]:
    """Return (number of evaluations of each trial, these evaluations, why those trials are lost that have none)."""
    if batch[0].status != "diverged" and (found := _read_fast(batch, fields)):
        return *found, {}
    return _read_with_care(batch, fields)


def _read_fast(batch: Sequence[Trial], fields: pa.Schema) -> tuple[list[int], pa.Table] | None:
    """Return what _read does, or None if anything differs from what bench writes."""
    try:
        contents = [read_lines(trial.folder) for trial in batch]
    except RecordError:
        return None
    if not all(content.startswith(b"{") and content.endswith(b"}\n") for content in contents):
        return None
    counts = [content.count(b"\n") for content in contents]
    lines, total = b"".join(contents), sum(counts)
    digests = [_digest(trial, content) for trial, content in zip(batch, contents, strict=True)]
    del contents
    if not _flat(lines, total):
        return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(lines),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines)),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=fields, unexpected_field_behavior="error"),
        ).select(fields.names)
    except pa.ArrowException:  # not JSON, an unknown key, a repeated key, a value of another type
        return None
    if table.num_rows != total or not _all_there(lines, table):
        return None
    steps, ends = table["step"].to_numpy(), np.cumsum(counts)
    try:
        for trial, count, end, digest in zip(batch, counts, ends, digests, strict=True):
            require_whole(trial.folder, trial, steps[end - count : end].tolist(), digest)
    except DamagedError:
        return None
    return counts, table


def _digest(trial: Trial, content: bytes) -> str:
    return "" if trial.evals_sha256 is None else hashlib.sha256(content).hexdigest()


def _flat(lines: bytes, count: int) -> bool:
    """Return whether every line is one object without nested values, and nothing else.

    Arrow's parser takes two objects on one line for two rows, takes "Inf" for a number, and crashes if a line is not an object.
    """
    whole = lines.count(b"{") == lines.count(b"}") == count and lines.count(b"}\n{") == count - 1
    return whole and not any(mark in lines for mark in (b"[", b"\\", b"Inf"))


def _all_there(lines: bytes, table: pa.Table) -> bool:
    """Return whether every line has all the keys that it must have."""
    without = {name for name in table.column_names if table[name].null_count}
    must = without & _NULL_BUT_THERE
    return without <= _NULLABLE and all(lines.count(f'"{name}"'.encode()) == table.num_rows for name in must)


def _read_with_care(batch: Sequence[Trial], fields: pa.Schema) -> tuple[list[int], pa.Table, dict[str, str]]:
    """Read line by line: far slower, but it says what is wrong and where."""
    counts, tables, damaged = [], [fields.empty_table()], {}
    for trial in batch:
        try:
            content = read_lines(trial.folder)
            rows = parse_evals(content, trial.folder)
            require_whole(trial.folder, trial, [row.step for row in rows], _digest(trial, content))
            if trial.status == "diverged":
                rows = _diverged(trial, rows)
            tables.append(_table(trial.folder, rows, fields))
            counts.append(len(rows))
        except DamagedError as cause:
            damaged[str(trial.folder)] = str(cause)
            counts.append(0)
    return counts, pa.concat_tables(tables), damaged


def _diverged(trial: Trial, rows: Sequence[EvalRow]) -> list[EvalRow]:
    """Return the evaluations of a trial that diverged at the last of them, as if it had gone on to its end without learning."""
    last = rows[-1].model_copy(
        update={name: float("nan") for name in _ACCURACIES if getattr(rows[-1], name) is not None}
    )
    steps = evaluation_steps(*trial.grid[:3])
    return [*rows[:-1], *(last.model_copy(update={"step": step}) for step in steps if step >= last.step)]


def _table(folder: Path, rows: Sequence[EvalRow], fields: pa.Schema) -> pa.Table:
    try:
        arrays = [_array([getattr(row, field.name) for row in rows], field.type) for field in fields]
    except (OverflowError, pa.ArrowException) as cause:
        raise DamagedError(
            f"{folder / EVALS}: a number above {_LARGEST}, expected none above its summary's. Run the trial again."
        ) from cause
    return pa.Table.from_arrays(arrays, schema=fields)


def _array(values: list[int | float | None], kind: pa.DataType) -> pa.Array:
    # Arrow refuses to convert integers above 2^53 to float64; its parser rounds them to the nearest.
    rounded = pa.types.is_floating(kind)
    return pa.array([float(value) if rounded and value is not None else value for value in values], kind)
