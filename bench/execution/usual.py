"""The loop that people write, in a process of its own: with the settings of OpenMP and of malloc that a script of theirs has."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from bench.errors import BenchError
from bench.execution.loops import Case, Spent, Usual, cpu_so_far, made_up_update, ready, scenario_of
from bench.processors import environment_as_given

# torch first: bench sets nothing for its threads where it comes too late to be heeded.
_PROGRAM = "import torch; from bench.execution import usual; usual.serve()"


class UsualElsewhere:
    """Runs the usual loop in a process that is there from the first `run` on, until `end`.

    cpu_seconds: that it has spent in all, and its workers that have ended.
    """

    def __init__(self, case: Case, precision: str, images: int, workers: int, device: str, threads: int) -> None:
        self._asked = {
            "case": asdict(case),
            "precision": precision,
            "images": images,
            "workers": workers,
            "device": device,
            "threads": threads,
        }
        self._process: subprocess.Popen[str] | None = None
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (until `end`)
        self.cpu_seconds = 0.0

    def run(self, steps: int) -> Spent:
        """Take steps. Raises BenchError if the process ends instead."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            words = self._last_words()
            raise BenchError(
                f"bench speed: the usual loop's process ended ({words}), expected its times. Run it again."
            )
        found = json.loads(answer)
        self.cpu_seconds = found.pop("in_all")
        return Spent(**found)

    def end(self) -> None:
        """End the process, if it was started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(BrokenPipeError):  # of what it was not there to read
                    if pipe is not None:
                        pipe.close()
        self._said.close()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=environment_as_given(),
        )
        assert process.stdin is not None
        process.stdin.write(f"{json.dumps(self._asked)}\n")
        self._process = process
        return process

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = [line.strip() for line in self._said if line.strip()]
        return lines[-1] if lines else "without a word"


def serve() -> None:
    """Read on stdin what to train, then a number of steps a line, and write what they took, a JSON object a line."""
    usual = _made(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        spent = usual.run(int(line))
        print(json.dumps({**asdict(spent), "in_all": cpu_so_far()}), flush=True)


def _made(asked: dict[str, Any]) -> Usual:
    case = Case(**{**asked["case"], "image": tuple(asked["case"]["image"])})
    device = ready(asked["device"], asked["threads"])
    scenario = scenario_of(case, asked["precision"])
    update, pixels, labels = made_up_update(case, scenario, asked["images"], device)
    return Usual(case, scenario, update, pixels, labels, asked["workers"], device)
