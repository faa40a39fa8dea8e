"""The clock is set back an hour in the middle of a run: seconds come from monotonic clocks, and locks do not expire."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.commands import TRIALS, Ended, Forked, checkpoint_always, leftovers, scenario_file
from tests.faults.kills import Found

HOUR = 3600.0
# Debian's package faketime has it.
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def shift_after(calls: int, hours: Sequence[float]) -> None:
    """Let time.time and time.time_ns say so many hours less, each for `calls` calls, after as many that are right."""
    plain, plain_ns, made = time.time, time.time_ns, [0]

    def shift() -> float:
        made[0] += 1
        return HOUR * (0.0, *hours)[min(made[0] // calls, len(hours))]

    time.time = lambda: plain() - shift()
    time.time_ns = lambda: plain_ns() - int(1e9 * shift())


def set_back(place: Path, hours: tuple[float, ...] = (1.0, -1.0)) -> Found:
    """Run a trial with the clock set back an hour, and then an hour ahead, while it trains."""
    place.mkdir(parents=True, exist_ok=True)
    scenario_file(place, points=8, batch=8)
    ended = _faked(place, hours) if FAKETIME else _patched(place, hours)
    wrong = _wrong(ended, place)
    found = Found(points=len(hours), survived=0 if wrong else len(hours), lost=len(wrong), wrong=wrong)
    found.tracebacks = int(ended.traceback)
    how = "by libfaketime" if FAKETIME else "time.time patched, for libfaketime is not installed"
    found.notes = f"the clock set back, and forward, an hour; {how}"
    return found


def _patched(folder: Path, hours: Sequence[float]) -> Ended:
    def before() -> None:
        checkpoint_always()
        shift_after(3, hours)

    return Forked(TRIALS.words(folder), before).wait()


def _faked(folder: Path, hours: Sequence[float]) -> Ended:
    """Run it in a new process whose C library is told another time after each of its first evaluations."""
    stamp = folder / "faketime"
    stamp.write_text("+0")
    environment = {**os.environ, "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(stamp)}
    environment |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    command = [sys.executable, "-m", "bench", *TRIALS.words(folder)]
    begun = time.monotonic()
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    alive = True
    for evaluations, shift in enumerate(hours, 1):
        while run.poll() is None and _evaluations(folder) < evaluations:
            time.sleep(0.005)
        alive = run.poll() is None
        stamp.write_text(f"{-3600 * shift:+.0f}")
    out, err = run.communicate()
    if not alive:
        err += "\nTraceback: it ended before the clock was set"
    return Ended(run.returncode, out, err, time.monotonic() - begun, {})


def _evaluations(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("evals.jsonl"))


def _wrong(ended: Ended, folder: Path) -> list[str]:
    if ended.code:
        return [f"code {ended.code}: {ended.stderr[-300:]}"]
    wrong = [f"left {left}" for left in leftovers(folder)]
    for path in folder.rglob("trial.json"):
        summary = json.loads(path.read_text())["summary"]
        seconds = {name: value for name, value in summary.items() if name.endswith("seconds") and value is not None}
        wrong += [f"{path}: {name} {value}" for name, value in seconds.items() if not 0 <= value < HOUR / 2]
    return wrong
