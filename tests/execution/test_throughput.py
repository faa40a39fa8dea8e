from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.errors import TrialError
from bench.execution import throughput
from bench.execution.jobs import Ended, Job, Place
from bench.execution.listener import Listener


class Clock:
    """Stands still but for what is added to it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Pretended:
    """An executor whose trials take 4 seconds on one thread and 3 on two, by a clock that stands still otherwise."""

    clock: Clock
    done: list[tuple[int, list[int]]]
    outcome = "done"
    cancelled = 0

    def __init__(self, place: Place, count: int, listener: Listener) -> None:
        assert place.threads is not None
        self._count, self._threads = count, place.threads
        self._running: list[Job] = []

    @property
    def room(self) -> int:
        return self._count - len(self._running)

    def submit(self, jobs: Sequence[Job]) -> None:
        assert len(jobs) <= self.room
        self._running += jobs
        Pretended.done.append((self._threads, [job.seed or 0 for job in jobs]))

    def poll(self) -> list[Ended]:
        self.clock.now += {1: 4.0, 2: 3.0}[self._threads]
        ended = [Ended(job.id, self.outcome, "it broke") for job in self._running]  # pyright: ignore[reportArgumentType]
        self._running = []
        return ended

    def cancel(self) -> None:
        Pretended.cancelled += 1


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throughput, "Processes", Pretended)
    monkeypatch.setattr(throughput, "usable_processors", lambda: 2)
    monkeypatch.setattr(throughput.time, "perf_counter", clock)
    monkeypatch.setattr(Pretended, "clock", clock, raising=False)
    monkeypatch.setattr(Pretended, "done", [], raising=False)
    monkeypatch.setattr(Pretended, "cancelled", 0)
    return clock


def test_both_ways_train_the_same_seeds_in_turns_once_each_process_has_trained_one(tmp_path: Path):
    words = ["speed", "--processes", "2", "--pairs", "2", "--turn", "4", "--results", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert Pretended.done == [
        (1, [0, 1]),
        (2, [0]),
        *[(1, [2, 3]), (1, [4, 5]), (2, [2]), (2, [3]), (2, [4]), (2, [5])],
        *[(2, [6]), (2, [7]), (2, [8]), (2, [9]), (1, [6, 7]), (1, [8, 9])],
    ]
    assert Pretended.cancelled == 2
    [path] = (tmp_path / "speed" / "processes").iterdir()
    written = json.loads(path.read_text())
    assert written["seconds_per_trial"] == {"processes": [2.0, 2.0], "threads": [3.0, 3.0]}
    assert written["trials_per_minute"] == {"processes": 30.0, "threads": 20.0}
    assert written["ratio"]["value"] == pytest.approx(1.5)
    assert "2 processes of 1 thread            30.00   1.50" in done.stdout


def test_a_trial_that_fails_ends_it_and_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Pretended, "outcome", "failed")
    done = CliRunner().invoke(main, ["speed", "--processes", "2", "--results", str(tmp_path)])
    assert done.exit_code == TrialError.exit_code
    assert (
        "digits-7-3/scratch/1/seed-0: it broke, expected a trial that ends. Run it by itself: bench run." in done.stderr
    )
    assert Pretended.cancelled == 1
    assert not (tmp_path / "speed").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--processes", "1"], "--processes 1: this process may use 2 CPUs, expected 2 to as many."),
        (["--processes", "3"], "--processes 3: this process may use 2 CPUs, expected 2 to as many."),
        (["--processes", "2", "--turn", "1"], "--turn 1: expected at least a trial for each of 2 processes. Raise it."),
        (["--processes", "2", "--scenario", "nowhere"], "scenario 'nowhere': not shipped. Choose one of"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], complaint: str, tmp_path: Path):
    done = CliRunner().invoke(main, ["speed", *words, "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert done.stderr.strip().count("\n") == 0
