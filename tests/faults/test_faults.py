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


# In parts, so that several processes share them.
PARTS = (("writes",), ("kills",), ("fuzz", "soak", "concurrency", "clocks"))


def test_every_kind_of_fault_is_in_a_part():
    assert sorted(kind for part in PARTS for kind in part) == sorted(KINDS)


@pytest.mark.parametrize("kinds", PARTS, ids="-".join)
def test_nothing_is_lost(kinds: tuple[str, ...]):
    if "writes" in kinds and COMPILER is None:
        pytest.skip("needs a C compiler, for shim.c")
    size = ("--kills", "10", "--every", "94", "--mutations", "2", "--runs", "3", "--trials", "6", "--jobs", "1")
    rows = faults("--only", ",".join(kinds), *size)
    assert {row[0].split()[0] for row in rows} == set(kinds)
    for _, points, survived, lost, tracebacks, *_ in rows:
        assert int(points) >= 1
        assert (survived, lost, tracebacks) == (points, "0", "0")
