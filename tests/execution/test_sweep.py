from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.errors import DeviceError, TrialError
from bench.execution.jobs import Ended, Graph, Job, Place, graph_of
from bench.execution.on_processes import Processes, _places
from bench.execution.sweep import drive
from bench.records.store import find_trials, read_trial
from bench.strategies.strategy import load_strategy
from tests.execution.test_jobs import place_of, run_at
from tests.execution.test_local import BASELINES, Log
from tests.execution.test_side_by_side import learned
from tests.held import Gate


def job(id: str, *needs: str, flops: int = 1, cached: bool = False) -> Job:
    return Job(id, "trial", {"name": "s"}, None, 0, 1, "", 1, needs, 1, flops, None, cached)


class Made:
    """An executor of two places that ends jobs as it is told: their outcomes, one after the other; else they are done."""

    def __init__(self, **outcomes: Sequence[str]) -> None:
        self._outcomes = {id: list(each) for id, each in outcomes.items()}
        self._running: list[str] = []
        self.begun: list[str] = []
        self.cancelled = False

    @property
    def room(self) -> int:
        return 2 - len(self._running)

    def submit(self, jobs: Sequence[Job]) -> None:
        assert len(jobs) <= self.room
        self._running += [each.id for each in jobs]
        self.begun += [each.id for each in jobs]

    def poll(self) -> list[Ended]:
        if not self._running:
            return []
        id = self._running.pop(0)
        outcomes = self._outcomes.get(id)
        outcome = outcomes.pop(0) if outcomes else "done"
        return [Ended(id, outcome, None if outcome == "done" else f"{outcome}, so")]  # pyright: ignore

    def cancel(self) -> None:
        self.cancelled = True


def test_the_longest_chain_begins_first_and_each_job_after_what_it_needs():
    jobs = (
        job("images", cached=True),
        job("a", "images", flops=3),
        job("b", "images", flops=2),
        job("c", "b", flops=2),
    )
    executor = Made()
    left = drive(Graph((*jobs, job("d", "images", flops=9))), executor, Log(), retries=0)
    assert executor.begun == ["d", "b", "a", "c"]  # b and c take 4
    assert (left.failed, left.taken, left.waiting) == ({}, {}, {})
    assert executor.cancelled


def test_a_failed_job_is_tried_again_and_what_needs_it_is_named_at_the_end():
    graph = Graph((job("base"), job("one", "base"), job("two", "one"), job("other")))
    executor = Made(base=["failed"] * 2, other=["failed", "done"])
    left = drive(graph, executor, Log(), retries=1)
    assert sorted(executor.begun) == ["base", "base", "other", "other"]
    with pytest.raises(
        TrialError, match=r"^1 of 4 jobs failed: base \(failed, so\), and so not run: one, two\. The same command tries"
    ):
        left.require_all_ran(4)


def test_a_held_job_is_skipped_unless_it_was_lost_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.execution.sweep.LOST_SECONDS", 0.0)
    graph = Graph((job("held"), job("next", "held"), job("lost")))
    executor = Made(held=["taken"], lost=["failed", "taken", "taken"])
    left = drive(graph, executor, Log(), retries=1)
    assert sorted(executor.begun) == ["held", "lost", "lost", "lost", "lost"]
    assert left.lines() == ["held: skipped, and so not run: next: taken, so"]
    left.require_all_ran(3)


def test_the_executor_is_cancelled_whatever_happens():
    executor = Made()
    executor.poll = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        drive(Graph((job("a"),)), executor, Log(), retries=0)
    assert executor.cancelled


def test_processes_learn_what_one_run_learns_and_one_that_is_killed_is_replaced(tmp_path: Path):
    (tmp_path / "killed.py").write_text(_KILLED.format(mark=str(tmp_path / "mark")))
    entrants = [BASELINES[1], load_strategy(tmp_path / "killed.py")]
    graph = graph_of([(run_at(tmp_path / "apart", entrants), None)], (0,))
    log = Log()
    drive(graph, Processes(place_of(tmp_path / "apart"), 2, log), log, retries=1).require_all_ran(3)
    assert (tmp_path / "mark").exists()
    run_at(tmp_path / "whole", entrants).run(log)
    assert learned(tmp_path / "apart" / "results") == learned(tmp_path / "whole" / "results")
    assert {label for label, _ in log.began_[:3]} == {
        "short/base/seed-0",
        "short/naive/1/seed-0",
        "short/killed/1/seed-0",
    }
    found = {(record.provenance.jobs, record.provenance.threads) for _, record in find_trials(tmp_path / "apart")}
    assert found == {(2, 1)}


_KILLED = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from bench import *

mark = Path({mark!r})

@dataclass(frozen=True)
class Kill:
    passes = 0
    anchor = None

    def apply(self, parameters, anchors):
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

strategy = Strategy("Killed", start=Fresh(), schedule=Linear(), regularizer=Kill())
"""


def test_cancelling_ends_each_process_after_its_step_with_a_checkpoint(tmp_path: Path):
    gate = Gate(tmp_path, after=3)
    graph = graph_of([(run_at(tmp_path / "here", [load_strategy(gate.strategy)]), None)], (0,))
    executor = Processes(place_of(tmp_path / "here"), 1, Log())
    executor.submit(graph.due)
    gate.wait(1, lambda: not executor.poll())
    executor.cancel()
    record = read_trial(tmp_path / "here" / "results" / graph.due[0].id)
    assert record is not None
    assert record.status == "interrupted"
    assert list((tmp_path / "here" / "cache" / "checkpoints").glob("*.pt"))


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    place = Place(str(tmp_path), "", "", "", device="cuda")
    assert sorted((each.device, each.jobs) for each in _places(place, 2)) == [("cuda:0", 2), ("cuda:1", 2)]
    with pytest.raises(DeviceError, match=r"^--jobs 3: 2 CUDA devices found, expected one for each job.*Use --jobs 2"):
        _places(place, 3)
    on_cpu = Place(str(tmp_path), "", "", "", device="cpu")
    assert {(each.device, each.threads, each.jobs) for each in _places(on_cpu, 3)} == {("cpu", 1, 3)}
