"""Several runs of one command on one results folder share the work, whoever runs them and whoever is killed."""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.commands import Command, Ended, Forked, _ran, _training, checkpoint_always, leftovers, scenario_file
from tests.faults.kills import Found

NOBODY = 65534


def _command(seeds: int) -> Command:
    def words(folder: Path) -> list[str]:
        asked = _training("run", folder, "--strategy", "scratch", "--strategy", "naive")
        asked[asked.index("--seeds") + 1] = f"0-{seeds - 1}"
        return asked

    return Command("crowd", words, _ran)


@dataclass(frozen=True)
class Alone:
    """What one run makes by itself, and how long it takes."""

    made: dict
    seconds: float


def alone(seeds: int, place: Path) -> Alone:
    """Run the command once, by itself."""
    place.mkdir(parents=True)
    scenario_file(place)
    command = _command(seeds)
    ended = Forked(command.words(place), checkpoint_always).wait()
    assert ended.code == 0, ended.stderr
    return Alone(command.outputs(place), ended.seconds)


def crowd(runs: int, seeds: int, place: Path, undisturbed: Alone, *, killed: int = 0, seed: int = 0) -> Found:
    """Start `runs` runs at once, each with a TMPDIR of its own and, as root, every second one as another user; kill some.

    Each trial must be trained once, or by a killed run and one that goes on from it, and all must be finished.
    """
    folder = place / "shared"
    folder.mkdir(parents=True)
    scenario_file(folder)
    command = _command(seeds)
    for path in (place, folder):
        path.chmod(0o777)
    draws, started = random.Random(f"{seed} crowd"), []
    for number in range(runs):

        def before(number: int = number) -> None:
            checkpoint_always()
            os.umask(0)
            mine = folder.parent / f"tmp-{number}"
            mine.mkdir()
            os.environ["TMPDIR"], tempfile.tempdir = str(mine), None
            if number % 2 and os.geteuid() == 0:
                os.environ["HOME"] = str(mine)
                mine.chmod(0o777)
                os.setgid(NOBODY)
                os.setuid(NOBODY)

        started.append(Forked(command.words(folder), before))
    for number in draws.sample(range(runs), killed):
        time.sleep(draws.random() * undisturbed.seconds)
        started[number].kill()
    ended = [run.wait() for run in started]
    return _judge(ended, undisturbed.made, command.outputs(folder), [] if killed else leftovers(folder), killed)


def _judge(ended: list[Ended], expected: dict, made: dict, left: list[str], killed: int) -> Found:
    found = Found(points=len(ended), tracebacks=sum(each.traceback for each in ended))
    begun = [line for each in ended for line in re.findall(r"(?m)^(.*): \d+ steps$", each.stderr)]
    twice = sorted({label for label in begun if begun.count(label) > 1})
    codes = [each.code for each in ended]
    finished = [each for each in ended if each.code == 0]
    fine = len(finished) + codes.count(-9) == len(ended) and len(twice) <= killed and codes.count(-9) <= killed
    if fine and made == expected and not left:
        found.survived = len(ended)
    else:
        found.lost = int(made != expected)
        said = [each.stderr[-300:] for each in ended if each.code not in (0, -9)]
        found.wrong.append(f"codes {codes}, begun twice {twice}, left {left}, equal {made == expected}: {said[:2]}")
    return found
