"""The clock is set back an hour in the middle of a run: seconds come from monotonic clocks, and locks do not expire."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.faults.commands import TRIALS, Ended, Forked, checkpoint_always, leftovers
from tests.faults.kills import Found

HOUR = 3600.0


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
        TRIALS.set_up(folder)

        def before(shift: float = shift) -> None:
            checkpoint_always()
            step_back(3, shift)

        ended = Forked(TRIALS.words(folder), before).wait()
        found.points += 1
        found.tracebacks += ended.traceback
        wrong = _wrong(ended, folder)
        found.survived += not wrong
        found.lost += bool(wrong)
        found.wrong += wrong
    found.notes = "the clock set back, and forward, an hour; time.time patched"
    return found


def _wrong(ended: Ended, folder: Path) -> list[str]:
    if ended.code:
        return [f"code {ended.code}: {ended.stderr[-300:]}"]
    wrong = [f"left {left}" for left in leftovers(folder)]
    for path in folder.rglob("trial.json"):
        summary = json.loads(path.read_text())["summary"]
        seconds = {name: value for name, value in summary.items() if name.endswith("seconds") and value is not None}
        wrong += [f"{path}: {name} {value}" for name, value in seconds.items() if not 0 <= value < HOUR / 2]
    return wrong
