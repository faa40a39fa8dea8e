"""A strategy of one's own that stands still in the middle of its trial, so that a test can stop the run there, however fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_STRATEGY = """
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench import Fresh, OneCycle, Strategy
from bench.interrupts import asked

gate, calls = Path({gate!r}), []


@dataclass(frozen=True)
class Stand:
    passes: ClassVar[int] = 0
    anchor: ClassVar[None] = None

    def apply(self, parameters, anchors):
        calls.append(1)
        if len(calls) > {after} and gate.exists():
            (gate / str(os.getpid())).touch()
            while gate.exists() and not asked():
                time.sleep(0.01)


strategy = Strategy(title="Held", start=Fresh(), schedule=OneCycle(warmup=0.2), regularizer=Stand())
"""


class Gate:
    """A folder that holds every process which trains `held.py` for more than `after` steps, while it exists.

    A process that a signal asks to end is let go, for it ends after its step.
    """

    def __init__(self, folder: Path, after: int):
        self.folder = folder / "gate"
        self.strategy = folder / "held.py"
        self.strategy.write_text(_STRATEGY.format(gate=str(self.folder), after=after))
        self.folder.mkdir()

    def wait(self, processes: int, alive: Callable[[], bool]) -> None:
        """Return once that many processes stand still; an error if the run ends before."""
        while len(list(self.folder.iterdir())) < processes:
            assert alive(), "the run ended before its trials stood still"
            time.sleep(0.01)

    def open(self) -> None:
        for each in self.folder.iterdir():
            each.unlink()
        self.folder.rmdir()
