"""Reading the evaluations of many trials at once, into Arrow tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.json

from bench.errors import RecordError
from bench.records.frames import KEY, TEXT
from bench.records.grid import evaluation_marks
from bench.records.listing import EVALS
from bench.records.schema import EvalRow
from bench.records.store import read_evals

T = TypeVar("T")
R = TypeVar("R")
Trial = tuple[Path, dict[str, Any]]  # a finished or diverged trial's folder, and its row of Records.trials

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


def evaluations(trials: Sequence[Trial]) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Return the schema of these trials' evaluations, and the evaluations, in the order of `trials`, a few at a time.

    Columns: those of OF_TRIAL, and the fields of EvalRow: whole numbers as int64, everything else as float64. If a
    trial's summary has a total above 2^63 - 1 (9.2e18 FLOPs), that column is float64 throughout. Threads read only a few
    batches ahead, so many trials take no more memory than a few.
    A diverged trial has no accuracy (NaN) from the evaluation that found it to its end, and costs nothing more: it has missed any
    target.
    Raises RecordError, like read_evals, if a line is not an evaluation, and if a trial's evaluations do not reach its end.
    """
    whole = [name for name, field in _FIELDS.items() if field.annotation is int]
    large = {name for name in whole if any(row.get(name, 0) > _LARGEST for _, row in trials)}
    exact = set(whole) - large
    fields = pa.schema([(name, pa.int64() if name in exact else pa.float64()) for name in _FIELDS])
    facts = pa.table({name: _facts([row[name] for _, row in trials], kind) for name, kind in OF_TRIAL.items()})
    schema = pa.schema([*facts.schema, *fields])
    return schema, _tables(trials, facts, fields, schema)


def _facts(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(values, kind)


def _tables(trials: Sequence[Trial], facts: pa.Table, fields: pa.Schema, schema: pa.Schema) -> Iterator[pa.Table]:
    begun = 0
    for counts, table in _ahead(partial(_read, fields=fields), _batches(trials)):
        who = facts.take(pa.array(np.repeat(np.arange(begun, begun + len(counts)), counts)))
        yield pa.Table.from_arrays([*who.columns, *table.columns], schema=schema)
        begun += len(counts)


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
    for folder, row in trials:
        if row["status"] == "diverged":  # by itself: its evaluations are not those of its file
            if batch:
                yield batch
            yield [(folder, row)]
            batch, size = [], 0
            continue
        batch.append((folder, row))
        with suppress(OSError):  # the reader reports what is wrong
            size += (folder / EVALS).stat().st_size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read(batch: Sequence[Trial], fields: pa.Schema) -> tuple[list[int], pa.Table]:
    """Return (number of evaluations of each trial, these evaluations)."""
    if batch[0][1]["status"] == "diverged":
        return _read_diverged(*batch[0], fields)
    counts, table = _read_fast(batch, fields) or _read_with_care(batch, fields)
    ends, steps = np.cumsum(counts), table["step"].to_numpy()
    for (folder, row), count, end in zip(batch, counts, ends, strict=True):
        last = int(steps[end - 1]) if count else 0
        if "steps" not in row or last != row["total_steps"]:  # there are no steps without a summary
            raise RecordError(
                f"{folder}: finished, but its evaluations end at step {last}, expected {row['total_steps']}. Run it again."
            )
    return counts, table


def _read_fast(batch: Sequence[Trial], fields: pa.Schema) -> tuple[list[int], pa.Table] | None:
    """Return what _read does, or None if anything differs from what bench writes."""
    try:
        contents = [(folder / EVALS).read_bytes() for folder, _ in batch]
    except OSError:
        return None
    if not all(content.startswith(b"{") and content.endswith(b"}\n") for content in contents):
        return None
    counts = [content.count(b"\n") for content in contents]
    lines, total = b"".join(contents), sum(counts)
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
    return (counts, table) if table.num_rows == total and _all_there(lines, table) else None


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


def _read_with_care(batch: Sequence[Trial], fields: pa.Schema) -> tuple[list[int], pa.Table]:
    """Read line by line: far slower, but it says what is wrong and where."""
    read = [(folder, read_evals(folder)) for folder, _ in batch]
    return [len(rows) for _, rows in read], pa.concat_tables([_table(folder, rows, fields) for folder, rows in read])


def _read_diverged(folder: Path, row: dict[str, Any], fields: pa.Schema) -> tuple[list[int], pa.Table]:
    """Return what _read does, of a trial that diverged at its last evaluation."""
    rows, total = read_evals(folder), row["total_steps"]
    if not rows or not row["points"]:
        raise RecordError(f"{folder}: diverged, but has no evaluations. Run it again with --fresh.")
    last = rows[-1].model_copy(
        update={name: float("nan") for name in _ACCURACIES if getattr(rows[-1], name) is not None}
    )
    grid = sorted({*evaluation_marks(row["points"], row["scratch_steps"], total), total})
    rows = [*rows[:-1], *(last.model_copy(update={"step": step}) for step in grid if step >= last.step)]
    return [len(rows)], _table(folder, rows, fields)


def _table(folder: Path, rows: Sequence[EvalRow], fields: pa.Schema) -> pa.Table:
    try:
        arrays = [_array([getattr(row, field.name) for row in rows], field.type) for field in fields]
    except (OverflowError, pa.ArrowException) as cause:
        raise RecordError(
            f"{folder / EVALS}: a number above {_LARGEST}, expected none above its summary's. Run the trial again."
        ) from cause
    return pa.Table.from_arrays(arrays, schema=fields)


def _array(values: list[int | float | None], kind: pa.DataType) -> pa.Array:
    # Arrow refuses to convert integers above 2^53 to float64; its parser rounds them to the nearest.
    rounded = pa.types.is_floating(kind)
    return pa.array([float(value) if rounded and value is not None else value for value in values], kind)
