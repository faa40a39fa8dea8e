"""The short form of `python -m tests.faults`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.__main__ import KINDS
from tests.faults.writes import COMPILER

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="forks, and looks into /proc")


def faults(*arguments: str) -> list[list[str]]:
    """Run a part of the suite in a process of its own, which forks; return the table's rows."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "tests.faults", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines()[2:]]


# One process for all of them, which imports what they need once. tests/faults/test_fuzz.py has the short form of "fuzz".
HERE = sorted({*KINDS} - {"fuzz"})


def test_nothing_is_lost():
    kinds = [kind for kind in HERE if kind != "writes" or COMPILER is not None]
    size = ("--kills", "6", "--every", "94", "--runs", "3", "--trials", "6", "--jobs", "1")
    rows = faults("--only", ",".join(kinds), *size)
    assert {row[0].split()[0] for row in rows} == set(kinds)
    for _, points, survived, lost, tracebacks, *_ in rows:
        assert int(points) >= 1
        assert (survived, lost, tracebacks) == (points, "0", "0")
    if COMPILER is None:
        pytest.skip("all but failing writes, which need a C compiler, for shim.c")
