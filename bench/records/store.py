"""Writing a trial's record so that a kill at any moment leaves it readable, and reading it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from bench.catalog import REFERENCE
from bench.errors import RecordError
from bench.files import append_line, make_folder, remove, write_atomically
from bench.records.listing import list_records
from bench.records.schema import EvalRow, TrialRecord
from bench.records.versions import READABLE_VERSIONS


def trial_folder(
    results: Path, scenario: str, strategy: str, horizon: float, seed: int, update: int | None = None
) -> Path:
    """Return results/<scenario>/<strategy>/<horizon>/seed-<n>, or update-<k> in it for an `update` of a chain."""
    folder = results / scenario / strategy / f"{horizon:g}" / f"seed-{seed}"
    return folder if update is None else folder / f"update-{update}"


def require_writable(folder: Path) -> None:
    """Create `folder` and test it. Raises RecordError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as cause:
        raise RecordError(
            f"{folder}: cannot be written ({cause.strerror}), expected a writable folder. Name another one."
        ) from cause


class RecordWriter:
    """Writes one trial's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._evals = folder / "evals.jsonl"

    def begin(self, record: TrialRecord) -> None:
        """Start a new record: trial.json, and no evaluations."""
        make_folder(self.folder)
        remove(self._evals)
        self.save(record)

    def save(self, record: TrialRecord) -> None:
        """Write trial.json."""
        write_atomically(self.folder / "trial.json", (record.model_dump_json(indent=1) + "\n").encode())

    def append(self, row: EvalRow) -> None:
        """Add one evaluation, in a single write."""
        append_line(self._evals, json.dumps(row.model_dump(exclude_unset=True), allow_nan=True))

    def keep_until(self, step: int) -> None:
        """Drop the evaluations after `step`, and a torn last line: an interrupted trial resumes from there."""
        kept = [row for row in read_evals(self.folder, torn_allowed=True) if row.step <= step]
        text = "".join(json.dumps(row.model_dump(exclude_unset=True)) + "\n" for row in kept)
        write_atomically(self._evals, text.encode())


def read_trial(folder: Path) -> TrialRecord | None:
    """Return the record in `folder`, or None if none was begun.

    Raises RecordError if trial.json is not readable, or has another schema version.
    """
    path = folder / "trial.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise RecordError(f"{path}: cannot be read ({cause.strerror}). Fix its permissions.") from cause
    try:
        content = json.loads(text)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version not in READABLE_VERSIONS:
            expected = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
            raise RecordError(
                f"{path}: schema version {version}, expected {expected}. Read it with the version of bench that wrote it."
            )
        return TrialRecord.model_validate(content)
    except (json.JSONDecodeError, ValidationError) as cause:
        first = str(cause).splitlines()[0]
        raise RecordError(
            f"{path}: not a trial's record ({first}). Read it with the version that wrote it, or run the trial again."
        ) from cause


def read_evals(folder: Path, *, torn_allowed: bool = False) -> list[EvalRow]:
    """Return the evaluations in `folder`, in order. A torn last line is refused, or skipped if allowed.

    Raises RecordError naming file and line.
    """
    path = folder / "evals.jsonl"
    if not path.is_file():
        return []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as cause:
        raise RecordError(f"{path}: cannot be read ({cause.strerror}). Fix its permissions.") from cause
    rows = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        torn = number == len(lines)  # a complete line ends in a newline, so the last piece is empty
        try:
            if torn:
                raise ValueError("torn: no newline at its end")
            rows.append(EvalRow.model_validate_json(line))
        except ValueError as cause:
            if torn and torn_allowed:
                continue
            first = str(cause).splitlines()[0]
            raise RecordError(f"{path}:{number}: not an evaluation ({first}). Run the trial again.") from cause
    return rows


def evaluations_complete(folder: Path, record: TrialRecord) -> bool:
    """Return whether a finished trial's evaluations are complete and readable."""
    try:
        rows = read_evals(folder)
    except RecordError:
        return False
    return record.summary is not None and bool(rows) and rows[-1].step == record.total_steps


def find_trials(results: Path) -> Iterator[tuple[Path, TrialRecord]]:
    """Yield (folder, record) of every trial under `results`, in path order."""
    for folder in map(Path, list_records(results).folders):
        record = read_trial(folder)
        if record is not None:
            yield folder, record


def recorded_scratch(results: Path, scenario: str, scenario_hash: str, updates: int) -> TrialRecord | None:
    """Return one finished record of scratch at a scenario's last update, of any seed, or None."""
    last = f"update-{updates}/" if updates > 1 else ""
    for path in sorted(results.glob(f"{scenario}/{REFERENCE}/1/seed-*/{last}trial.json")):
        record = read_trial(path.parent)
        if record is not None and record.summary is not None and record.scenario_hash == scenario_hash:
            return record
    return None


def discard(folder: Path) -> None:
    """Delete a trial's record."""
    remove(folder)
