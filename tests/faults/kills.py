"""SIGKILL at random moments, the command resumed after each, and what it made compared with an undisturbed run's."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.commands import (
    BASES,
    CHAINS,
    FRONTIERS,
    PREPARATIONS,
    TRIALS,
    UPDATES,
    Command,
    Forked,
    checkpoint_always,
)

# The share of kills that each kind of work gets.
SHARES = ((TRIALS, 0.3), (BASES, 0.2), (CHAINS, 0.1), (PREPARATIONS, 0.2), (UPDATES, 0.1), (FRONTIERS, 0.1))
_IN_A_ROW = 4


@dataclass
class Found:
    """What a suite found. wrong: in words, what did not hold."""

    points: int = 0
    survived: int = 0
    lost: int = 0
    tracebacks: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: str = ""

    def add(self, other: Found) -> None:
        self.points += other.points
        self.survived += other.survived
        self.lost += other.lost
        self.tracebacks += other.tracebacks
        self.wrong += other.wrong


def kill_all(count: int, place: Path, seed: int = 0) -> Found:
    """Kill each kind of work its share of `count` times, at moments that `seed` draws."""
    found, told = Found(), []
    for command, share in SHARES:
        kills = max(1, round(share * count))
        found.add(kill_one(command, kills, place / command.name.replace(" ", "-"), seed))
        told.append(f"{kills} of {command.name}")
    found.notes = ", ".join(told)
    return found


def kill_one(command: Command, count: int, place: Path, seed: int = 0) -> Found:
    """Kill one command `count` times, a few in a row on one folder, and then let it finish.

    Always in the same folder: a scenario of one's own folders holds their paths.
    """
    folder = place / "at"
    folder.mkdir(parents=True)
    command.set_up(folder)
    undisturbed = Forked(command.words(folder), checkpoint_always).wait()
    assert undisturbed.code == 0, undisturbed.stderr
    expected = command.outputs(folder)
    shutil.rmtree(folder)
    found, draws = Found(), random.Random(f"{seed} {command.name}")
    while found.points < count:
        folder.mkdir()
        command.set_up(folder)
        killed = 0
        for _ in range(min(_IN_A_ROW, count - found.points)):
            run = Forked(command.words(folder), checkpoint_always)
            time.sleep(draws.random() * undisturbed.seconds)
            run.kill()
            ended = run.wait()
            found.tracebacks += ended.traceback
            killed += 1  # also if it had ended by then: the next run finds everything finished
        ended = Forked(command.words(folder), checkpoint_always).wait()
        found.points += killed
        found.tracebacks += ended.traceback
        # A kill just before a lock, a checkpoint or a temporary file would go may leave it, to nobody's harm.
        if ended.code == 0 and command.outputs(folder) == expected:
            found.survived += killed
        else:
            found.lost += killed
            found.wrong.append(f"{command.name}: code {ended.code}: {ended.stderr[-300:]}")
        shutil.rmtree(folder)
    return found
