"""How far the trials of a folder of results are, while they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.errors import RecordError
from bench.locks import holder
from bench.records.listing import list_records, require_results
from bench.records.schema import TrialRecord
from bench.records.store import last_evaluation, read_trial

State = Literal["running", "starting", "cut off", "interrupted", "failed", "diverged", "finished", "unreadable"]
# Locks lie beside the folders of seeds and of updates.
_LOCKS = ("*/*/*/seed-*.lock", "*/*/*/seed-*/update-*.lock")


@dataclass(frozen=True)
class Progress:
    """How far one trial is.

    place: its folder below the results. steps, total_steps: of its last evaluation, and of the whole; 0 before it has begun.
    accuracy: of its last evaluation, on validation images, a fraction. seconds_left: of training and evaluating, at its own speed
    so far; None unless it runs and has been evaluated. who: the process that holds it, in words. why: of a failure.
    """

    place: str
    state: State
    steps: int = 0
    total_steps: int = 0
    accuracy: float | None = None
    seconds_left: float | None = None
    who: str | None = None
    why: str | None = None


def progress(results: Path) -> list[Progress]:
    """Return every trial below `results` that was begun, or that a process holds, in path order.

    Raises RecordError if there is no such folder.
    "starting": held, but not begun, as while its base model is trained. "cut off": begun, and held by nobody.
    """
    require_results(results)
    begun = {folder: _one(Path(folder), results) for folder in list_records(results).folders}
    return [*begun.values(), *_starting(results, set(begun))]


def _one(folder: Path, results: Path) -> Progress:
    place = folder.relative_to(results).as_posix()
    try:
        record = read_trial(folder)
        if record is None:  # removed meanwhile
            return Progress(place, "cut off")
        last = last_evaluation(folder, record)
    except RecordError as cause:
        return Progress(place, "unreadable", why=str(cause))
    who = None if record.ended else holder(folder.with_name(f"{folder.name}.lock"))
    state = _state(record, who)
    left = None
    if state == "running" and last is not None:
        left = (last.train_seconds + last.evaluate_seconds) / last.step * (record.total_steps - last.step)
    accuracy = last.validation_accuracy if last else None
    steps = last.step if last else 0
    return Progress(place, state, steps, record.total_steps, accuracy, left, who, record.reason)


def _state(record: TrialRecord, who: str | None) -> State:
    if record.status in ("finished", "diverged"):
        return record.status
    if who is not None:
        return "running"
    return "cut off" if record.status == "running" else record.status


def _starting(results: Path, begun: set[str]) -> Iterator[Progress]:
    for lock in sorted(path for pattern in _LOCKS for path in results.glob(pattern)):
        if str(lock.with_suffix("")) not in begun and (who := holder(lock)):
            yield Progress(lock.with_suffix("").relative_to(results).as_posix(), "starting", who=who)
