"""Jobs on machines that do not see the results and the cache: what a job needs is sent with it, and what it leaves comes back.

There, a job runs in a folder of its own, which is gone with it; so a trial whose machine dies starts over. Here, the record is
locked from before the job is sent until its files have come back, have been verified, and are written as a run here writes them.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError, RecordError, TakenError
from bench.execution.jobs import CACHE, RESULTS, Ended, Job, Place, run_of, trial_of, work_elsewhere
from bench.execution.local import LocalRun, lock_of
from bench.files import make_folder, remove, write_atomically, write_text, writing
from bench.locks import locked
from bench.places import data_folder
from bench.records.listing import EVALS, TRIAL
from bench.records.store import read_trial

# Files by their path below a folder that has "results" and "cache".
Parcel = dict[str, bytes]
# What comes back; not a checkpoint or a lock.
_LEFT = (RESULTS, f"{CACHE}/bases", f"{CACHE}/updates")
_MADE_FOR_A_WHILE = (".lock", ".checkpoint", ".previous", ".part")


@dataclass(frozen=True)
class Probe:
    """A file in the results and one in the cache, by which a machine knows that it sees the same folders. word: in each."""

    paths: tuple[str, ...]
    word: str

    def seen(self) -> bool:
        """Return whether both are here."""
        with suppress(OSError):
            return all(Path(path).read_text(encoding="utf-8") == self.word for path in self.paths)
        return False

    def remove(self) -> None:
        with suppress(BenchError):  # of a folder that is gone or full, nothing is lost
            for path in self.paths:
                remove(Path(path))


def leave_probe(place: Place) -> Probe:
    """Write a probe. Raises WriteError."""
    word = os.urandom(8).hex()
    paths = tuple(str(Path(folder) / f".probe-{word}") for folder in (place.results, place.cache))
    for path in paths:
        make_folder(Path(path).parent)
        write_text(Path(path), word)
    return Probe(paths, word)


def work_apart(job: Mapping[str, Any], place: Mapping[str, Any], sent: Parcel) -> tuple[dict[str, Any], Parcel]:
    """Do what work_elsewhere does where the place's folders are not seen; return also what the job left. sent: what it needs.

    The images are looked for at the place's data root or, where there is no such folder, in this user's own.
    """
    root = place["data_root"] if Path(place["data_root"]).is_dir() else str(data_folder())
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            _unpack(sent, folder)
        except (BenchError, OSError) as cause:  # without room for it, Python finds no folder for temporary files
            return asdict(Ended(job["id"], "failed", f"on {platform.node()}: {cause}")), {}
        ended = work_elsewhere(job, {**place, "data_root": root}, folder)
        names = (path for part in _LEFT for path in (folder / part).rglob("*") if path.is_file())
        left = [path for path in names if not path.name.endswith(_MADE_FOR_A_WHILE)]
        return ended, {name: each for name, each in _pack(left, folder).items() if name not in sent}


class Home:
    """The results and the cache here, for jobs that run apart."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held: dict[str, ExitStack] = {}

    def claim(self, job: Job) -> Ended | None:
        """Lock the record of a job, and return None; or how the job has ended without being sent, and then lock nothing."""
        try:
            with ExitStack() as stack:
                run = run_of(job, self._place)
                stack.enter_context(locked(lock_of(self._folder(job, run))))
                if self._is_done(job, run):  # another process has finished it since
                    return Ended(job.id, "done")
                self._held[job.id] = stack.pop_all()
        except TakenError as cause:
            return Ended(job.id, "taken", str(cause))
        except BenchError as cause:
            return Ended(job.id, "failed", str(cause))
        return None

    def needs(self, job: Job) -> Parcel:
        """Return the files of the model that a job starts from. Raises RecordError if one cannot be read."""
        if job.kind != "trial":
            return {}
        run, trial = trial_of(job, run_of(job, self._place))
        folders = {RESULTS: Path(self._place.results), CACHE: Path(self._place.cache)}
        found: Parcel = {}
        for path in run.starts_from(trial):
            part = next(name for name, folder in folders.items() if path.is_relative_to(folder))
            try:
                found[f"{part}/{path.relative_to(folders[part]).as_posix()}"] = path.read_bytes()
            except OSError as cause:
                raise RecordError(
                    f"{path}: cannot be read ({cause.strerror}), and {job.id} needs it. Run the same command again."
                ) from cause
        return found

    def accept(self, job: Job, ended: Ended, left: Parcel) -> Ended:
        """Verify and write what a job left, let go of its record, and return how it ended; failed if that cannot be done.

        The record is written last. Of a job that failed there is only a record, if it came so far.
        """
        try:
            make_folder(Path(self._place.cache))
            with writing(Path(self._place.cache)):
                temporary = tempfile.TemporaryDirectory(prefix=".arrived-", dir=self._place.cache)
            with temporary as folder:
                _unpack(left, Path(folder))
                self._verify(job, ended, left, Path(folder))
            for name in sorted(left, key=lambda name: (name.endswith(TRIAL), name.endswith(EVALS))):
                part, _, rest = name.partition("/")
                path = Path(self._place.results if part == RESULTS else self._place.cache) / rest
                make_folder(path.parent)
                write_atomically(path, left[name])
            if job.kind == "trial":
                run, trial = trial_of(job, run_of(job, self._place))
                run.tidy(trial)
            return ended
        except BenchError as cause:
            return Ended(job.id, "failed", str(cause))
        finally:
            self.let_go(job)

    def let_go(self, job: Job) -> None:
        """Unlock the record of a job, if it is locked."""
        if job.id in self._held:
            self._held.pop(job.id).close()

    def _folder(self, job: Job, run: LocalRun) -> Path:
        if job.kind == "base model" and job.seed is not None:
            return run.base_folder(job.seed)
        return Path(self._place.results) / job.id

    def _verify(self, job: Job, ended: Ended, left: Parcel, folder: Path) -> None:
        """Raise RecordError unless the files, which are in a folder now, are those of this job, whole and unchanged."""
        try:
            for name in left:
                if name.endswith(TRIAL):
                    read_trial((folder / name).parent)
            run = run_of(job, self._place).at(folder / RESULTS, folder / CACHE)
            if ended.outcome == "done" and not self._is_done(job, run):
                raise RecordError("some of it is missing, or was changed on its way. Run the same command again.")
        except RecordError as cause:
            raise RecordError(f"{job.id}: came back damaged: {str(cause).replace(f'{folder}/', '')}") from cause

    @staticmethod
    def _is_done(job: Job, run: LocalRun) -> bool:
        if job.kind == "trial":
            return not trial_of(job, run)[1].due
        return job.seed is None or run.has_base(job.seed)


def _pack(paths: Iterable[Path], root: Path) -> Parcel:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def _unpack(parcel: Parcel, root: Path) -> None:
    for name, content in parcel.items():
        path = root / name
        make_folder(path.parent)
        with writing(path):
            path.write_bytes(content)
