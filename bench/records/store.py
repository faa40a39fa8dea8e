"""Writing a trial's record so that a kill at any moment leaves it readable, and reading it."""

from __future__ import annotations

import codecs
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from bench.catalog import REFERENCE
from bench.errors import DamagedError, RecordError, first_fault, shown
from bench.files import append_line, make_folder, read_at_most, read_json, remove, write_atomically
from bench.records.listing import EVALS, TRIAL, list_records
from bench.records.schema import EvalRow, TrialRecord
from bench.records.versions import READABLE_VERSIONS

# Far above what bench writes: a larger file is not read.
_LARGEST_TRIAL, LARGEST_EVALS = 16 << 20, 256 << 20
_FIRST = b'{"step":'  # how a line begins that bench wrote


class Ended(Protocol):
    """What says which evaluations a trial that has ended must have."""

    @property
    def status(self) -> str: ...

    @property
    def evaluation_steps(self) -> tuple[int, ...]: ...

    @property
    def evals_sha256(self) -> str | None: ...


def trial_folder(
    results: Path, scenario: str, strategy: str, horizon: float, seed: int, update: int | None = None
) -> Path:
    """Return results/<scenario>/<strategy>/<horizon>/seed-<n>, or update-<k> in it for an `update` of a chain."""
    return results / trial_place(scenario, strategy, horizon, seed, update)


def trial_place(scenario: str, strategy: str, horizon: float, seed: int, update: int | None = None) -> str:
    """Return a trial's folder below the results."""
    place = f"{scenario}/{strategy}/{horizon:g}/seed-{seed}"
    return place if update is None else f"{place}/update-{update}"


def require_writable(folder: Path, option: str | None = None) -> None:
    """Create `folder` and test it. Raises RecordError if nothing can be written there. option: what names another one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as cause:
        raise RecordError(
            f"{folder}: cannot be written ({cause.strerror}), expected a writable folder. Name another one"
            f"{f' with {option}' if option else ''}."
        ) from cause


class RecordWriter:
    """Writes one trial's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._evals = folder / EVALS

    def begin(self, record: TrialRecord) -> None:
        """Start a new record: trial.json, and no evaluations."""
        make_folder(self.folder)
        remove(self._evals)
        self.save(record)

    def save(self, record: TrialRecord) -> TrialRecord:
        """Write trial.json; once the trial has ended, with the digest of its evaluations. Returns the record as written."""
        if record.ended:
            record = record.model_copy(update={"evals_sha256": self.digest()})
        record = sealed(record)
        write_atomically(self.folder / TRIAL, (record.model_dump_json(indent=1) + "\n").encode())
        return record

    def digest(self, count: int | None = None) -> str:
        """Return the SHA-256 of the evaluations so far, or of the first `count`."""
        lines = read_lines(self.folder).splitlines(keepends=True)
        return hashlib.sha256(b"".join(lines[:count])).hexdigest()

    def append(self, row: EvalRow) -> None:
        """Add one evaluation, in a single write."""
        append_line(self._evals, json.dumps(row.model_dump(exclude_unset=True), allow_nan=True))

    def keep_until(self, step: int) -> None:
        """Drop the evaluations after `step`, and a torn last line: an interrupted trial resumes from there."""
        kept = [row for row in read_evals(self.folder, torn_allowed=True) if row.step <= step]
        text = "".join(json.dumps(row.model_dump(exclude_unset=True)) + "\n" for row in kept)
        write_atomically(self._evals, text.encode())


def sealed(record: TrialRecord) -> TrialRecord:
    """Return the record with the digest of all the rest of it, by which a reader sees that it was changed since."""
    content = json.loads(record.model_dump_json())
    return record.model_copy(update={"record_sha256": record_digest(content)})


def record_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of trial.json's plain values, but for record_sha256, as JSON with sorted keys and without spaces."""
    rest = {name: value for name, value in content.items() if name != "record_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_trial(folder: Path) -> TrialRecord | None:
    """Return the record in `folder`, or None if none was begun.

    Raises DamagedError if trial.json is not readable, naming the key, or was changed since it was written; RecordError if it has
    another schema version.
    """
    path = folder / TRIAL
    try:
        content = read_json(path, _LARGEST_TRIAL)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise RecordError(f"{path}: cannot be read ({cause.strerror}). Fix it, or remove the record.") from cause
    except ValueError as cause:
        raise _damaged(path, str(cause)) from cause
    if not isinstance(content, dict) or "schema_version" not in content:
        raise _damaged(path, "schema_version: missing")
    version = content["schema_version"]
    if type(version) is not int or version not in READABLE_VERSIONS:
        expected = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
        raise RecordError(
            f"{path}: schema version {shown(version)}, expected {expected}. Read it with the version of bench that wrote it."
        )
    try:
        record = TrialRecord.model_validate(content)
    except ValidationError as cause:
        key, _, said, more = first_fault(cause)
        rest = f", and {more} more" if more else ""
        raise _damaged(path, f"{key}: {said}{rest}" if key else f"{said}{rest}") from cause
    if record.is_sealed:
        _require_unchanged(path, record, content)
    return record


def _require_unchanged(path: Path, record: TrialRecord, content: Mapping[str, Any]) -> None:
    if record.record_sha256 is None:
        raise _damaged(path, "record_sha256: missing")
    digest = record_digest(content)
    if digest != record.record_sha256:
        raise DamagedError(
            f"{path}: changed since it was written (SHA-256 {digest[:10]}, expected {record.record_sha256[:10]}, as in "
            "record_sha256). Restore it, or run the trial again."
        )


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(
        f"{path}: not a trial's record ({why}). Read it with the version that wrote it, or run the trial again."
    )


def read_evals(folder: Path, *, torn_allowed: bool = False) -> list[EvalRow]:
    """Return the evaluations in `folder`, in order. A torn last line is refused, or skipped if allowed.

    Raises DamagedError naming file and line.
    """
    return parse_evals(read_lines(folder), folder, torn_allowed=torn_allowed)


def read_lines(folder: Path) -> bytes:
    """Return the content of evals.jsonl as bench writes it, whatever a copy made of its line ends; nothing without a file.

    Raises DamagedError if it cannot be read.
    """
    path = folder / EVALS
    try:
        content = read_at_most(path, LARGEST_EVALS)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as cause:
        raise DamagedError(f"{path}: cannot be read ({cause.strerror}). Fix it, or remove the record.") from cause
    return as_written(content)


def as_written(content: bytes) -> bytes:
    """Return a file's content without a byte order mark, and with line feeds for the line ends of Windows."""
    if b"\r" not in content and not content.startswith(codecs.BOM_UTF8):
        return content
    return content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")


def parse_evals(content: bytes, folder: Path, *, torn_allowed: bool = False) -> list[EvalRow]:
    """Do what read_evals does, with the content of the file in `folder`."""
    path, lines, rows = folder / EVALS, content.split(b"\n"), []
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
            key, said = "", str(cause).splitlines()[0]
            if isinstance(cause, ValidationError):
                key, _, said, _ = first_fault(cause)
            why = f"{key}: {said}" if key else said
            raise DamagedError(f"{path}:{number}: not an evaluation ({why}). Run the trial again.") from cause
    return rows


def verified_evals(folder: Path, record: TrialRecord) -> list[EvalRow]:
    """Return a trial's evaluations. Of one that has ended, they are exactly those of its grid, and those that its record says.

    Raises DamagedError if they are not.
    """
    if not record.ended:
        return read_evals(folder, torn_allowed=True)
    content = read_lines(folder)
    rows = parse_evals(content, folder)
    require_whole(folder, record, [row.step for row in rows], hashlib.sha256(content).hexdigest())
    return rows


def require_whole(folder: Path, record: Ended, steps: Sequence[int], digest: str) -> None:
    """Raise DamagedError unless an ended trial's evaluations are those of its grid, once each and in order, and unchanged.

    record: anything with its status, evaluation_steps and evals_sha256. steps: of its evaluations. digest: of their file.
    """
    expected = record.evaluation_steps
    if tuple(steps) != expected:
        last = steps[-1] if len(steps) else 0
        if last != expected[-1]:
            why = f"its evaluations end at step {last}, expected {expected[-1]}"
        else:
            place = next((i for i, pair in enumerate(zip(steps, expected, strict=False)) if pair[0] != pair[1]), -1)
            why = (
                f"evaluation {place + 1} of {EVALS} is at step {steps[place]}, expected {expected[place]}: one is missing, "
                "or twice"
            )
        raise DamagedError(f"{folder}: {record.status}, but {why}. Run it again.")
    if record.evals_sha256 is not None and record.evals_sha256 != digest:
        raise DamagedError(
            f"{folder / EVALS}: changed since the trial ended (SHA-256 {digest[:10]}, expected {record.evals_sha256[:10]}, as in "
            f"{TRIAL}). Restore it, or run the trial again."
        )


def evaluations_complete(folder: Path, record: TrialRecord) -> bool:
    """Return whether an ended trial's evaluations are complete, readable and unchanged."""
    try:
        if record.ended and _as_recorded(read_lines(folder), record):
            return True
        verified_evals(folder, record)
    except RecordError:
        return False
    return True


def last_evaluation(folder: Path, record: TrialRecord) -> EvalRow | None:
    """Return a trial's last whole evaluation, None if it has none yet. Raises DamagedError naming file and line.

    The others are not parsed, as thousands of trials are asked for; unless the trial has ended, and its record's digest does not
    vouch for them.
    """
    content = read_lines(folder)
    whole = content[: content.rfind(b"\n") + 1]
    if not record.ended or _as_recorded(content, record):
        whole = whole[whole.rfind(b"\n", 0, -1) + 1 :]
    rows = parse_evals(whole, folder)
    return rows[-1] if rows else None


def _as_recorded(content: bytes, record: TrialRecord) -> bool:
    """Return whether evaluations are those that an ended trial wrote, at the steps of its grid. Takes a tenth of parsing them."""
    if record.evals_sha256 is None or hashlib.sha256(content).hexdigest() != record.evals_sha256:
        return False
    *lines, rest = content.split(b"\n")
    if rest or not all(line.startswith(_FIRST) for line in lines):
        return False
    try:
        steps = [int(line[len(_FIRST) :].partition(b",")[0]) for line in lines]
    except ValueError:
        return False
    return tuple(steps) == record.evaluation_steps


def find_trials(results: Path) -> Iterator[tuple[Path, TrialRecord]]:
    """Yield (folder, record) of every trial under `results`, in path order. Raises RecordError for one that cannot be read."""
    for folder in map(Path, list_records(results).folders):
        record = read_trial(folder)
        if record is not None:
            yield folder, record


def place_of(record: TrialRecord) -> str:
    """Return the folder where a record belongs, below the results."""
    update = record.update if len(record.scenario["stages"]) > 2 else None
    names = (record.scenario["name"], record.strategy["name"], record.horizon, record.seed)
    return trial_place(*names, update)


def recorded_scratch(results: Path, scenario: str, scenario_hash: str, updates: int) -> TrialRecord | None:
    """Return one finished record of scratch at a scenario's last update, of any seed, or None."""
    last = f"update-{updates}/" if updates > 1 else ""
    for path in sorted(results.glob(f"{scenario}/{REFERENCE}/1/seed-*/{last}{TRIAL}")):
        with suppress(RecordError):  # one that can be read will do
            record = read_trial(path.parent)
            if record is not None and record.summary is not None and record.scenario_hash == scenario_hash:
                return record
    return None


def discard(folder: Path) -> None:
    """Delete a trial's record."""
    remove(folder)
