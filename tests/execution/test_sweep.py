from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest

import bench
from bench.catalog import shipped_folder
from bench.errors import DeviceError, TrialError
from bench.execution.jobs import Ended, Graph, Job, Place, graph_of
from bench.execution.local import LocalRun
from bench.execution.on_processes import Processes, _places, _Process
from bench.execution.sweep import drive
from bench.records.store import find_trials, read_trial, trial_folder
from bench.strategies.strategy import load_strategy
from bench.strategies.texts import as_text_or_pickle
from tests.execution.test_jobs import Here, learned, place_of, run_at
from tests.execution.test_local import BASELINES, Log
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


def test_a_held_job_is_waited_for_if_that_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.execution.sweep.TAKEN_SECONDS", 0.0)
    executor = Made(held=["taken", "taken"])
    drive(Graph((job("held"), job("next", "held"))), executor, Log(), wait=True).require_all_ran(2)
    assert executor.begun == ["held", "held", "held", "next"]


def test_the_executor_is_cancelled_whatever_happens():
    executor = Made()
    executor.poll = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        drive(Graph((job("a"),)), executor, Log(), retries=0)
    assert executor.cancelled


@pytest.mark.parametrize("retries", [0, 1])
def test_a_disk_that_is_full_for_a_while_costs_one_job_a_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int
):
    graph, place = graph_of([(run_at(tmp_path, BASELINES[:2]), None)], (0,)), place_of(tmp_path)
    plain, failed = os.write, list[str]()

    def write(handle: int, content: bytes) -> int:
        path = os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115
        if path.endswith("short/scratch/1/seed-0/evals.jsonl") and not failed:
            failed.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(handle, content)

    monkeypatch.setattr(os, "write", write)
    left = drive(graph, Here(place, 1, Log()), Log(), retries=retries)
    line = (
        f"{failed[0]}: cannot be written (No space left on device). Free some space, or name another folder, and run "
    )
    assert left.failed == ({} if retries else {"short/scratch/1/seed-0": f"{line}the command again."})
    monkeypatch.undo()
    if not retries:  # nothing is lost
        drive(graph_of([(run_at(tmp_path, BASELINES[:2]), None)], (0,)), Here(place, 1, Log()), Log(), retries=0)
    run_at(tmp_path / "whole", BASELINES[:2]).run(Log())
    assert learned(tmp_path / "results") == learned(tmp_path / "whole" / "results")


def test_processes_learn_what_one_run_learns_and_one_that_is_killed_is_replaced(tmp_path: Path):
    (tmp_path / "killed.py").write_text(_KILLED.format(mark=str(tmp_path / "mark")))
    mine = bench.strategy(bench.Strategy("Mine", start=bench.Keep(), schedule=bench.Linear()))  # sent as a pickle
    entrants = [load_strategy(tmp_path / "killed.py"), mine]

    def run(place: str) -> LocalRun:
        return run_at(tmp_path / place, entrants, name="digits-4-2-2-2")

    graph = graph_of([(run("apart"), None)], (0,), as_text_or_pickle)
    log = Log()
    executor = Processes(place_of(tmp_path / "apart"), 2, log)
    executor.start(9)
    assert executor.room == 2
    drive(graph, executor, log).require_all_ran(7)
    assert (tmp_path / "mark").exists()
    names = {record.strategy["name"] for _, record in find_trials(tmp_path / "apart" / "results")}
    assert names == {"killed", "mine"}
    assert [label for label, _ in log.began_].count("short/base/seed-0") == 1
    run("whole").run(log)
    assert learned(tmp_path / "apart" / "results") == learned(tmp_path / "whole" / "results")
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


def test_cancelling_ends_each_process_after_its_step_with_a_checkpoint_and_the_next_one_resumes(tmp_path: Path):
    gate = Gate(tmp_path, after=3)
    entrants = [load_strategy(gate.strategy)]
    graph = graph_of([(run_at(tmp_path / "here", entrants), None)], (0,))
    executor = Processes(place_of(tmp_path / "here"), 1, Log())
    executor.submit(graph.due)
    gate.wait(1, lambda: not executor.poll())
    executor.cancel()
    record = read_trial(tmp_path / "here" / "results" / graph.due[0].id)
    assert record is not None
    assert record.status == "interrupted"
    assert list((tmp_path / "here" / "cache" / "checkpoints").glob("*.pt"))
    gate.open()
    drive(graph, Here(place_of(tmp_path / "here"), 1, Log()), Log()).require_all_ran(1)
    record = read_trial(tmp_path / "here" / "results" / graph.due[0].id)
    assert record is not None
    assert record.summary is not None
    assert record.summary.sittings == 2
    run_at(tmp_path / "whole", entrants).run(Log())
    assert learned(tmp_path / "here" / "results") == learned(tmp_path / "whole" / "results")


def test_a_process_is_asked_to_stop_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A second signal ends a process at once, in the middle of whatever it writes."""
    context, sent = SimpleNamespace(Pipe=lambda: (_Closed(), _Closed()), Process=_Alive), []
    monkeypatch.setattr("bench.execution.on_processes.multiprocessing.get_context", lambda how: context)
    monkeypatch.setattr("bench.execution.on_processes.os.kill", lambda pid, number: sent.append((pid, number)))
    executor = Processes(place_of(tmp_path), 2, Log())
    executor.submit([SimpleNamespace(id=str(number), plain=dict) for number in range(2)])
    executor.cancel()
    assert [pid for pid, _ in sent] == [7, 7]


class _Closed:
    def send(self, value: object) -> None:
        pass

    def close(self) -> None:
        pass


class _Alive:
    pid = 7

    def __init__(self, **given: object) -> None:
        pass

    def start(self) -> None:
        pass

    def is_alive(self) -> bool:
        return True

    def join(self) -> None:
        pass


# Whoever started the tests may have told them to ignore SIGINT, as shells do for background commands.
_HEARS = "import signal; [signal.signal(each, signal.SIG_DFL) for each in (2, 15, 1)]; from bench.cli.main import main; main()"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
# SIGTERM and SIGHUP go the way of SIGINT (bench.interrupts); tests/cli/test_signals.py has them for one process.
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_however_a_run_is_stopped_no_process_stays(by: signal.Signals, tmp_path: Path):
    scenario, mark = tmp_path / "short.toml", f"BENCH_TEST_{tmp_path.parent.name}_{tmp_path.name}"
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    scenario.write_text(text.replace("digits-7-3", "short").replace("epochs = 24", "epochs = 2"))
    gate = Gate(tmp_path, after=3)
    command = [sys.executable, "-c", _HEARS, "run", "--scenario", str(scenario), "--strategy", str(gate.strategy)]
    command += ["--device", "cpu", "--seeds", "0", "--jobs", "2", "--cache", str(tmp_path / "cache")]
    command += ["--results", str(tmp_path / "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", mark: "1"}
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    gate.wait(1, lambda: run.poll() is None)
    run.send_signal(by)
    said = run.communicate()[1]
    assert run.returncode == (-by if by == signal.SIGKILL else 128 + by), said
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(mark) == []
    record = read_trial(trial_folder(tmp_path / "cut", "short", "held", 1.0, 0))
    assert record is not None
    assert record.status == ("running" if by == signal.SIGKILL else "interrupted")
    if by == signal.SIGINT:
        assert said.splitlines()[-1] == "bench: stopped. The same command resumes from the last checkpoint."


def marked(mark: str) -> list[str]:
    """Return the command lines of the processes, of any parent, that have `mark` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_script_that_each_process_would_run_again_is_refused_in_one_line():
    """As where bench.run is called without `if __name__ == "__main__":`: Python's own start of the process fails."""
    process = _Process.__new__(_Process)
    process._job, process._ready = job("a"), False
    process.connection, theirs = Pipe()
    process._process = SimpleNamespace(join=lambda: None, exitcode=1)  # pyright: ignore
    theirs.close()
    with pytest.raises(
        TrialError, match=r"^--jobs: a process ended before its first job \(exit code 1\)\. If this is a"
    ):
        process.receive(Log())


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    place = Place(str(tmp_path), "", "", "", device="cuda")
    assert sorted((each.device, each.jobs) for each in _places(place, 2)) == [("cuda:0", 2), ("cuda:1", 2)]
    with pytest.raises(DeviceError, match=r"^--jobs 3: 2 CUDA devices found, expected one for each job.*Use --jobs 2"):
        _places(place, 3)
    on_cpu = Place(str(tmp_path), "", "", "", device="cpu")
    assert {(each.device, each.threads, each.jobs) for each in _places(on_cpu, 3)} == {("cpu", 1, 3)}
