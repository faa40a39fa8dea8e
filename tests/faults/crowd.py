"""Several runs of one command on one results folder share the work, whoever runs them and whoever is killed."""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
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


def crowd(runs: int, seeds: int, place: Path, *, killed: int = 0, seed: int = 0) -> Found:
    """Start `runs` runs at once, each with a TMPDIR of its own and, as root, every second one as another user; kill some.

    Each trial must be trained once, or by a killed run and one that goes on from it, and all must be finished.
    """
    whole, folder = place / "whole", place / "shared"
    for each in (whole, folder):
        each.mkdir(parents=True)
        scenario_file(each)
    command = _command(seeds)
    alone = Forked(command.words(whole), checkpoint_always).wait()
    assert alone.code == 0, alone.stderr
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
        time.sleep(draws.random() * alone.seconds)
        started[number].kill()
    ended = [run.wait() for run in started]
    return _judge(ended, command.outputs(whole), command.outputs(folder), [] if killed else leftovers(folder), killed)


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
