"""The clock is set back an hour in the middle of a run: seconds come from monotonic clocks, and locks do not expire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.commands import TRIALS, Ended, Forked, checkpoint_always, leftovers, scenario_file
from tests.faults.kills import Found

HOUR = 3600.0
# Debian's package faketime has it.
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def step_back(after: int, hours: float = 1.0) -> None:
    """From the call of this number on, let time.time and time.time_ns say so many hours less."""
    plain, plain_ns, calls = time.time, time.time_ns, [0]

    def shift() -> float:
        calls[0] += 1
        return HOUR * hours if calls[0] > after else 0.0

    time.time = lambda: plain() - shift()
    time.time_ns = lambda: plain_ns() - int(1e9 * shift())


def set_back(place: Path, hours: tuple[float, ...] = (1.0, -1.0)) -> Found:
    """Run trials with the clock set back, and forward, an hour while they train."""
    found = Found()
    for number, shift in enumerate(hours):
        folder = place / str(number)
        folder.mkdir(parents=True)
        scenario_file(folder, points=8, batch=8)
        ended = _faked(folder, shift) if FAKETIME else _patched(folder, shift)
        found.points += 1
        found.tracebacks += ended.traceback
        wrong = _wrong(ended, folder)
        found.survived += not wrong
        found.lost += bool(wrong)
        found.wrong += wrong
    how = "by libfaketime" if FAKETIME else "time.time patched, for libfaketime is not installed"
    found.notes = f"the clock set back, and forward, an hour; {how}"
    return found


def _patched(folder: Path, hours: float) -> Ended:
    def before() -> None:
        checkpoint_always()
        step_back(3, hours)

    return Forked(TRIALS.words(folder), before).wait()


def _faked(folder: Path, hours: float) -> Ended:
    """Run it in a new process whose C library is told another time once the first evaluation is there."""
    stamp = folder / "faketime"
    stamp.write_text("+0")
    environment = {**os.environ, "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(stamp)}
    environment |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    command = [sys.executable, "-m", "bench", *TRIALS.words(folder)]
    begun = time.monotonic()
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while run.poll() is None and not any(folder.rglob("evals.jsonl")):
        time.sleep(0.005)
    alive = run.poll() is None
    stamp.write_text(f"{-3600 * hours:+.0f}")
    out, err = run.communicate()
    if not alive:
        err += "\nTraceback: it ended before the clock was set"
    return Ended(run.returncode, out, err, time.monotonic() - begun, {})


def _wrong(ended: Ended, folder: Path) -> list[str]:
    if ended.code:
        return [f"code {ended.code}: {ended.stderr[-300:]}"]
    wrong = [f"left {left}" for left in leftovers(folder)]
    for path in folder.rglob("trial.json"):
        summary = json.loads(path.read_text())["summary"]
        seconds = {name: value for name, value in summary.items() if name.endswith("seconds") and value is not None}
        wrong += [f"{path}: {name} {value}" for name, value in seconds.items() if not 0 <= value < HOUR / 2]
    return wrong
