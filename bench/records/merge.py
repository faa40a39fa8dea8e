"""Joining folders of records, such as those of several machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.errors import RecordError
from bench.files import make_folder, write_atomically
from bench.records.imported import conflict, imported_files, read_curves
from bench.records.listing import EVALS, TRIAL, list_records
from bench.records.schema import TrialRecord
from bench.records.store import evaluations_complete, read_evals, read_trial

# What two runs of one trial differ in: clocks, joules, the state of the machine, and how often the run was interrupted.
_MEASURED = (
    "seconds",
    "joules",
    "load_average",
    "gpu_use",
    "gpu_short_share",
    "unaccounted_share",
    "sittings",
    "shared",
    "peak_memory",
)
_SHOWN = 5  # conflicts in one message

Outcome = Literal["copied", "replaced", "equal", "unfinished", "curves copied", "curves equal"]


@dataclass(frozen=True)
class Merged:
    """What became of one trial of a source, or of a file of imported curves.

    trial: its folder or file, relative to the results. outcome: "copied"; "replaced", if the target had begun the same trial
    and not finished it; "equal", if the target has a finished record that learned and counted the same, which stays;
    "unfinished", if the source has not finished it, and it was left where it is; of a file, "curves copied" or "curves equal".
    """

    trial: str
    source: Path
    outcome: Outcome


@dataclass(frozen=True)
class Plan:
    """What is to be copied into a folder of records. merged: what becomes of each trial and file of curves.

    trials: its folder below the results -> the source, of each that is copied. curves: (file, its path below the results).
    """

    merged: list[Merged]
    trials: dict[str, Path]
    curves: list[tuple[Path, Path]]


def merge(sources: Sequence[Path], target: Path) -> list[Merged]:
    """Copy the finished trials and imported curves of several folders of records into another one, in the order of the sources.

    Everything is read and compared before anything is written; a trial appears whole or not at all. target: created if it is not
    there. Raises RecordError as plan_merge does, and WriteError where one cannot be written.
    """
    plan = plan_merge(sources, target)
    for name, source in plan.trials.items():
        _copy(source / name, target / name)
    for path, name in plan.curves:
        make_folder((target / name).parent)
        write_atomically(target / name, path.read_bytes())
    return plan.merged


def plan_merge(sources: Sequence[Path], target: Path) -> Plan:
    """Compare folders of records with another one, and return what is to be copied there. Writes nothing.

    A trial that exists already must have learned and counted the same, and all trials of a scenario and of a strategy must be
    of the same content; so must files of curves, of which no two of a scenario may have a strategy in common.
    Raises RecordError naming the conflicts, or where a record cannot be read.
    """
    for source in sources:
        if not source.is_dir():
            raise RecordError(
                f"{source}: not found, expected a folder of records. Name the folder that a run wrote to."
            )
        if source.resolve() == target.resolve():
            raise RecordError(f"{source}: found as source and as target, expected two folders. Name another one.")
    have, contents = dict[str, Path](), _Contents()  # not their records: of a million, that would be 20 GB
    for name, record in _records(target) if target.is_dir() else ():
        have[name] = target
        contents.add(name, record, target)
    found, copies, conflicts = [], {}, []
    curves = _Curves(target)
    for source in sources:
        for name, record in _records(source):
            if not _ended(source / name, record):
                found.append(Merged(name, source, "unfinished"))
                continue
            other = contents.add(name, record, source)
            if other is not None:
                conflicts.append(other)
                continue
            place = have.get(name)
            old = read_trial(place / name) if place is not None else None
            if place is None or old is None:
                outcome = "copied"
            elif not _ended(place / name, old):
                outcome = "replaced"
            else:
                difference = _difference(place / name, old, source / name, record)
                if difference is not None:
                    conflicts.append(f"{source / name}: {difference} as {place / name} has it")
                found.append(Merged(name, source, "equal"))
                continue
            found.append(Merged(name, source, outcome))
            have[name] = source
            copies[name] = source
        found += curves.add(source)
    conflicts += curves.conflicts
    if conflicts:
        more = f" (and {len(conflicts) - _SHOWN} more)" if len(conflicts) > _SHOWN else ""
        raise RecordError(
            f"{'; '.join(conflicts[:_SHOWN])}{more}. Nothing was copied. Leave one of each pair out, or rename the strategy."
        )
    return Plan(found, copies, curves.copies)


class _Curves:
    """The files of imported curves in a target, and those that are to be copied into it."""

    def __init__(self, target: Path) -> None:
        self.copies: list[tuple[Path, Path]] = []
        self.conflicts: list[str] = []
        self._have = {path.relative_to(target): (path, read_curves(path)) for path in imported_files(target)}

    def add(self, source: Path) -> list[Merged]:
        """Return what becomes of a source's files; what they have against others goes to the conflicts, in words."""
        found = []
        for path in imported_files(source):
            name, mine = path.relative_to(source), read_curves(path)
            beside = [(place == name, *its) for place, its in self._have.items() if place.parent == name.parent]
            whys = [
                f"{path}: {other} {why}" for same, other, its in beside if (why := conflict(its, mine, same_file=same))
            ]
            if whys:
                self.conflicts.append(whys[0])
                continue
            known = name in self._have
            if not known:
                self._have[name] = (path, mine)
                self.copies.append((path, name))
            found.append(Merged(name.as_posix(), source, "curves equal" if known else "curves copied"))
        return found


class _Contents:
    """Which content each scenario and strategy has, by name: a row of a table is one method on one question."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], tuple[str, Path]] = {}

    def add(self, name: str, record: TrialRecord, folder: Path) -> str | None:
        """Remember a record's content; return the conflict, in words, if another record of these names has another one."""
        scenario, strategy, horizon = Path(name).parts[:3]
        for key, what, value in (
            ((scenario, "content"), f"scenario {scenario} has another content", record.scenario_hash),
            ((scenario, "images"), f"scenario {scenario} has other images", record.provenance.data_hash),
            ((scenario, "training"), "it was trained by another version", f"{record.training_version}"),
            ((scenario, "rules"), "it was measured by other rules", f"{record.rules_version}"),
            ((scenario, strategy, horizon), f"strategy {strategy} has another content", record.strategy_hash),
        ):
            first, where = self._seen.setdefault(key, (value, folder))
            if first != value:
                return f"{folder / name}: {what} than in {where} (found {value}, expected {first})"
        return None


def _records(folder: Path) -> Iterator[tuple[str, TrialRecord]]:
    for path in list_records(folder).folders:
        record = read_trial(Path(path))
        if record is not None:
            yield Path(path).relative_to(folder).as_posix(), record


def _ended(folder: Path, record: TrialRecord) -> bool:
    return record.status == "diverged" or (record.status == "finished" and evaluations_complete(folder, record))


def _difference(one: Path, first: TrialRecord, other: Path, second: TrialRecord) -> str | None:
    """Return the first learned or counted field that differs, in words; None if there is none."""
    pairs: list[tuple[str, Any, Any]] = [("identity", first.identity(), second.identity())]
    if first.summary is not None and second.summary is not None:
        ours, theirs = first.summary.model_dump(), second.summary.model_dump()
        pairs += [(key, ours[key], theirs[key]) for key in ours if not any(word in key for word in _MEASURED)]
    pairs.append(("status", first.status, second.status))
    for mine, its in zip(_learned(one), _learned(other), strict=False):
        pairs += [(f"step {mine['step']}: {key}", mine[key], its.get(key)) for key in mine]
    pairs.append(("evaluations", len(read_evals(one)), len(read_evals(other))))
    for what, mine, its in pairs:
        if mine != its:
            return f"{what}: found {its}, expected {mine}"
    return None


def _learned(folder: Path) -> list[dict[str, Any]]:
    rows = [row.model_dump() for row in read_evals(folder)]
    return [{key: row[key] for key in row if not any(word in key for word in _MEASURED)} for row in rows]


def _copy(source: Path, target: Path) -> None:
    """Copy a trial's two files: the evaluations first, so that a record never appears without them."""
    make_folder(target)
    for name in (EVALS, TRIAL):
        if (source / name).exists():
            write_atomically(target / name, (source / name).read_bytes())
