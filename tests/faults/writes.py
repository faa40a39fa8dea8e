"""Each write, fsync, rename and mkdir of a command fails once, by number; the next run goes on.

The calls are failed by shim.c, which says which are covered; it must be loaded when the process starts (LD_PRELOAD).
"""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
from pathlib import Path

from tests.faults.commands import (
    BASES,
    COLLECTIONS,
    PREPARATIONS,
    REPORTS,
    UPDATES,
    Command,
    Forked,
    checkpoint_always,
    leftovers,
)
from tests.faults.kills import Found

# What writes, and every how manieth call of it fails: those of an update are mostly a preparation's and a run's, which trains a
# base model and continues it.
WRITERS = ((REPORTS, 1), (BASES, 1), (UPDATES, 7), (PREPARATIONS, 1), (COLLECTIONS, 1))
ERRORS = (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ENOENT)
COMPILER = shutil.which("cc") or shutil.which("gcc")


def build_shim(folder: Path) -> Path:
    """Compile the shim, and return the library."""
    source, built = Path(__file__).with_name("shim.c"), folder / "shim.so"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-O1", "-o", str(built), str(source), "-ldl"], check=True)
    return built


def arm(folder: Path, number: int, error: int) -> None:
    """Fail the call of this number below a folder; 0 counts only."""
    ctypes.CDLL(None).shim_arm(str(folder).encode(), ctypes.c_long(number), ctypes.c_int(error))


def calls() -> dict[str, object]:
    """Return how many calls there were since `arm`, and which one failed."""
    shim = ctypes.CDLL(None)
    shim.shim_calls.restype, shim.shim_failed.restype = ctypes.c_long, ctypes.c_char_p
    return {"calls": shim.shim_calls(), "failed": shim.shim_failed().decode()}


def fail_each(command: Command, place: Path, *, every: int = 1) -> Found:
    """Fail call 1, 1 + every, ... of those that a command makes; each time, run it again without a failure.

    Promised: it does its work nevertheless (what failed was a precaution), or ends with one line and exit code 1 or 2; no
    temporary file stays; and the next run makes what an undisturbed one makes.
    """
    folder = place / "at"  # always the same: a scenario of one's own folders holds their paths
    folder.mkdir(parents=True)
    command.set_up(folder)

    def count() -> None:
        checkpoint_always()
        arm(folder, 0, 0)

    undisturbed = Forked(command.words(folder), count, calls).wait()
    assert undisturbed.code == 0, undisturbed.stderr
    expected, found = command.outputs(folder), Found()
    shutil.rmtree(folder)
    for number in range(1, undisturbed.facts["calls"] + 1, every):
        folder.mkdir()
        command.set_up(folder)
        error = ERRORS[number // every % len(ERRORS)]

        def before(number: int = number, error: int = error) -> None:
            checkpoint_always()
            arm(folder, number, error)

        ended = Forked(command.words(folder), before, calls).wait()
        found.points += 1
        parts = [str(path) for path in folder.rglob("*.part*")]
        again = Forked(command.words(folder), checkpoint_always).wait()
        found.tracebacks += ended.traceback + again.traceback
        promised = ended.code == 0 or ended.one_line
        if promised and not parts and again.code == 0 and command.outputs(folder) == expected and not leftovers(folder):
            found.survived += 1
        else:
            found.lost += again.code != 0 or command.outputs(folder) != expected
            found.wrong.append(
                f"{command.name}: call {number} ({ended.facts.get('failed')}, {errno.errorcode[error]}): code {ended.code}, then "
                f"{again.code}, left {parts + leftovers(folder)}: {ended.stderr[-500:]} / {again.stderr[-300:]}"
            )
        shutil.rmtree(folder)
    found.notes = f"{undisturbed.facts['calls']} calls of {command.name}" + (f", every {every}th" if every > 1 else "")
    return found
