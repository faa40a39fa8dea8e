"""Many tiny trials in one process: memory and open files stay flat."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.catalog import shipped_folder
from bench.execution.local import LocalRun
from bench.records.schema import TrialRecord
from bench.scenario import load_scenario
from bench.strategies.strategy import load_strategy
from tests.faults.commands import scenario_file

_GROWTH_BYTES = 24 << 20


class Watch:
    """A listener that notes memory and open files as each trial ends."""

    def __init__(self, tell: bool) -> None:
        self.seen: list[tuple[int, int]] = []
        self._tell = tell

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        pass

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        pass

    def evaluated(self, label: str, row: object, total_steps: int) -> None:
        pass

    def ended(self, label: str, record: TrialRecord | None) -> None:
        assert record is not None, label
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.seen.append((pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir()))))
        if self._tell and len(self.seen) % 50 == 0:
            memory, files = self.seen[-1]
            print(f"soak: {len(self.seen)} trials, {memory / 2**20:.0f} MiB, {files} open files", file=sys.stderr)


def soak(trials: int, place: Path, *, tell: bool = False) -> list[tuple[int, int]]:
    """Run so many trials of 3 steps, and return (bytes in memory, open files) after each."""
    place.mkdir(parents=True, exist_ok=True)
    scenario = load_scenario(scenario_file(place, points=1, batch=256))
    scratch = load_strategy(shipped_folder("baselines") / "scratch.py")
    watch = Watch(tell)
    folders = {"data_root": place, "results": place / "results", "cache": place / "cache"}
    LocalRun(scenario, [scratch], range(trials), device="cpu", threads=1, **folders).run(watch)
    return watch.seen


def flat(seen: list[tuple[int, int]]) -> bool:
    """Return whether open files did not grow after the first trial, nor memory over the second half by more than 24 MiB."""
    memory = [each for each, _ in seen]
    half = len(seen) // 2
    files = {each for _, each in seen[1:]}
    return len(files) == 1 and max(memory[half:]) - max(memory[: half + 1]) <= _GROWTH_BYTES
