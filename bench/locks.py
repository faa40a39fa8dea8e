"""Locks that are files beside what they protect: the same for every process, user and machine that sees the folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import RecordError, TakenError

# Set to 1 in the environment, by --single-writer: on a file system without locks, nobody else writes to the same folders.
SINGLE_WRITER = "BENCH_SINGLE_WRITER"
# What a file system says that has no locks. A folder on NFS, which cannot be opened for writing, says EBADF: it is none of these.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

# An owner on another machine is dead if its lock has not been touched for so long; a living one touches it far more often.
STALE_SECONDS, BEAT_SECONDS = 600.0, 30.0
# A lock without an owner's name is being written, or its writer was killed just then.
_UNNAMED_SECONDS = 5.0
_POLL_SECONDS = 0.5


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` and remove it at the end. wait: until it is free, if it is taken.

    A lock is free if its owner is dead: on this machine, if no process has its number and start time, or the machine was started
    again; on another, if it was not touched for STALE_SECONDS, by the clock of the file system.
    Raises TakenError if it is taken, and RecordError if the folder cannot be written, or if its file system has no locks and
    SINGLE_WRITER is not set.
    """
    while not _acquire(path):
        if not wait:
            raise TakenError(f"{path}: {_owner_in_words(path)} is at work on it. Wait for it, or stop it.")
        time.sleep(_POLL_SECONDS)
    heart = _heart()
    heart.begin(path)
    try:
        yield
    finally:
        heart.paths.discard(path)
        with suppress(OSError):
            if _read(path) == _myself():  # not if it was taken for dead, and is another's now
                path.unlink()


def holder(path: Path) -> str | None:
    """Return who holds the lock file `path`, in words, or None if nobody does. Changes nothing."""
    with suppress(OSError):
        if _taken(path):
            return _owner_in_words(path)
    return None


def _acquire(path: Path) -> bool:
    """Create the lock file unless it is taken, and return whether it was created."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            _guard(folder, path.parent)
            if _taken(path):
                return False
            path.unlink(missing_ok=True)
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:  # of another machine, just now
                return False
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                os.fchmod(handle, 0o644)  # whatever the umask: others must be able to read who it is
                file.write(json.dumps(_myself()))
            return True
        finally:
            os.close(folder)
    except OSError as cause:
        raise RecordError(
            f"{path}: cannot be locked ({cause.strerror}), expected a folder that can be written. Name another one."
        ) from cause


def _guard(handle: int, folder: Path) -> None:
    """Lock a folder, so that of two that find one owner dead, the second does not remove the first's new lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as cause:
        if cause.errno in _NO_LOCKS and os.environ.get(SINGLE_WRITER) != "1":
            raise RecordError(
                f"{folder}: its file system has no locks ({cause.strerror}), so that two runs could write one record. Name a "
                "folder elsewhere, or give --single-writer if no other run writes there."
            ) from cause


def _taken(path: Path) -> bool:
    try:
        age = abs(_now(path.parent) - path.stat().st_mtime)  # a clock may have been set back
    except FileNotFoundError:
        return False
    owner = _read(path)
    if owner is None:
        return age < _UNNAMED_SECONDS
    mine = _myself()
    if owner["host"] != mine["host"]:
        return age < STALE_SECONDS
    return owner["boot"] == mine["boot"] and _alive(owner["pid"], owner["start"])


def _now(folder: Path) -> float:
    """Return the time by the clock that stamps a folder's files: of a shared one, the server's, and not this machine's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # only looked at, in a folder that others write
        return time.time()


def _read(path: Path) -> dict[str, object] | None:
    """Return what a lock says of its owner, or None if it does not say."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) and owner.keys() == _myself().keys() else None


def _owner_in_words(path: Path) -> str:
    owner = _read(path)
    return "another process" if owner is None else f"process {owner['pid']} on {str(owner['host']).split()[0]}"


def _myself() -> dict[str, object]:
    """Return what identifies this process. host: with the process namespace, as containers count processes by themselves."""
    space = boot = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    pid = os.getpid()
    return {"host": f"{platform.node() or 'unnamed'} {space}", "boot": boot, "pid": pid, "start": _start(pid)}


def _alive(pid: object, start: object) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    now = _start(pid)
    return now != "ended" and (not now or not start or now == start)


def _start(pid: int) -> str:
    """Return when a process began, in the kernel's ticks; "ended" if it only waits to be reaped, empty if it is not known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] in "ZX" else fields[19]


class _Heart:
    """A thread that touches this process's locks. One for all: to start and end one for each would take as long as the rest."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self._begun = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()

    def begin(self, path: Path) -> None:
        self.paths.add(path)
        self._begun.set()

    def _beat(self) -> None:
        while True:
            self._begun.wait(BEAT_SECONDS)
            self._begun.clear()
            for path in list(self.paths):
                with suppress(OSError):
                    os.utime(path)


_hearts: list[_Heart] = []


def _heart() -> _Heart:
    """Return the one that beats: of a fork, the parent's does not."""
    if not _hearts or not _hearts[-1].thread.is_alive():
        _hearts[:] = [_Heart()]
    return _hearts[-1]
