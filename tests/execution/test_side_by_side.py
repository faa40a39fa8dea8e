from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.catalog import find_scenario, shipped_folder
from bench.errors import BenchError, DeviceError, TrialError
from bench.execution.local import LocalRun
from bench.execution.packing import pack, unpack
from bench.execution.side_by_side import run_side_by_side
from bench.records.store import find_trials, read_evals, read_trial, trial_folder
from bench.scenario import load_scenario
from bench.strategies.regularizer import NoRegularizer
from bench.strategies.strategy import load_strategy, named
from bench.strategies.variants import load_variant
from bench.training.device import check_jobs
from tests.conftest import shorten
from tests.execution.test_local import BASELINES, Log
from tests.held import Gate

Make = Callable[..., LocalRun]
_LEARNED = ("steps", "images", "train_flops", "aux_flops", "evaluate_flops", "validation_accuracy", "test_accuracy")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(place: str, entrants=BASELINES, seeds=(0,), name: str = "digits-7-3") -> LocalRun:
        folders = {"data_root": tmp_path, "results": tmp_path / place / "results", "cache": tmp_path / place / "cache"}
        scenario = shorten(load_scenario(find_scenario(name)), points=2)
        return LocalRun(scenario, entrants, seeds, device="cpu", threads=1, **folders)

    return build


def learned(results: Path) -> dict[str, Any]:
    """Return what each trial learned and counted, with that of the base model that it used."""
    found = {}
    for folder, record in find_trials(results):
        assert record.summary is not None
        evals = [(row.step, row.train_loss, row.validation_accuracy) for row in read_evals(folder)]
        base = record.base and record.base.model_dump(include={*_LEARNED})
        summary = record.summary.model_dump(include={*_LEARNED, "weights_sha256"})
        found[str(folder.relative_to(results))] = (summary, record.previous_sha256, evals, base)
    return found


@pytest.mark.parametrize(("name", "seeds"), [("digits-7-3", (0, 1)), ("digits-4-2-2-2", (0,))])
def test_side_by_side_learns_what_one_after_the_other_learns_bit_for_bit(
    name: str, seeds: tuple[int, ...], make: Make, tmp_path: Path
):
    make("alone", seeds=seeds, name=name).run(Log())
    log = Log()
    run_side_by_side(make("beside", seeds=seeds, name=name), 2, log)
    alone, beside = learned(tmp_path / "alone" / "results"), learned(tmp_path / "beside" / "results")
    updates = 1 if name == "digits-7-3" else 3
    assert len(alone) == 3 * updates * len(seeds)
    assert beside == alone
    labels = [label for label, _ in log.began_]
    assert len(set(labels)) == len(labels) == len(alone) + len(seeds)  # each base model once, too
    ran = {(record.provenance.jobs, record.provenance.threads) for _, record in find_trials(tmp_path / "beside")}
    assert ran == {(2, 1)}
    assert {record.provenance.jobs for _, record in find_trials(tmp_path / "alone" / "results")} == {1}


_BROKEN = """
from dataclasses import dataclass
from bench import *

@dataclass(frozen=True)
class Bad:
    passes = 0
    anchor = None

    def apply(self, parameters, anchors):
        raise RuntimeError("no good")

strategy = Strategy("Broken", start=Keep(), schedule=Linear(), regularizer=Bad())
"""


def test_a_failed_trial_is_recorded_and_the_others_go_on(make: Make, tmp_path: Path):
    (tmp_path / "broken.py").write_text(_BROKEN)
    run = make("here", [*BASELINES[:2], load_strategy(tmp_path / "broken.py")])
    with pytest.raises(
        TrialError, match=r"^1 of 3 trials failed: broken seed 0 \(StrategyError: Bad: failed with Runt"
    ):
        run_side_by_side(run, 2, Log())
    states = {trial.spec.entrant.name: trial.state for trial in run.look()}
    assert states == {"scratch": "finished", "naive": "finished", "broken": "failed before"}


def test_nothing_due_starts_no_process(make: Make, monkeypatch: pytest.MonkeyPatch):
    make("here", BASELINES[:1]).run(Log())
    monkeypatch.setattr("bench.execution.side_by_side._Worker", None)
    run_side_by_side(make("here", BASELINES[:1]), 2, Log())


def test_a_process_that_is_killed_ends_the_run_with_one_line(make: Make):
    class Kill(Log):
        def began(self, label: str, total_steps: int, done_steps: int) -> None:
            (worker,) = children(os.getpid())
            os.kill(worker, signal.SIGKILL)

    with pytest.raises(
        TrialError, match=r"^scratch seed 0: its process ended unexpectedly \(exit code -9\), perhaps for"
    ):
        run_side_by_side(make("here", BASELINES[:1]), 2, Kill())


def test_several_jobs_on_a_gpu_are_refused(make: Make):
    with pytest.raises(
        DeviceError, match=r"--jobs 2: the device is cuda:0, expected the CPU.*Use --jobs 1, or --device"
    ):
        check_jobs(2, torch.device("cuda:0"))
    check_jobs(1, torch.device("cuda:0"))
    run = make("here")
    run.device = torch.device("cuda:0")
    with pytest.raises(DeviceError):
        run_side_by_side(run, 2, Log())


def test_strategies_of_ones_own_file_are_sent_with_their_code(make: Make, tmp_path: Path):
    path = tmp_path / "broken.py"
    path.write_text(_BROKEN)
    plain = load_strategy(path)
    entrants = [plain, load_variant(f"{path}[start=Fresh]")]  # loading the file again makes its classes anew
    again = unpack(pack(make("here", entrants)))
    assert [each.hash() for each in again.args[1]] == [each.hash() for each in entrants]
    path.write_text("changed meanwhile")
    assert unpack(pack(make("there", [plain]))).args[1][0].hash() == plain.hash()


def test_a_strategy_that_cannot_be_sent_is_refused_in_one_line(make: Make):
    class Local(NoRegularizer):
        pass

    mine = named(replace(BASELINES[0].strategy, regularizer=Local()), "mine")
    with pytest.raises(BenchError, match=r"^--jobs: a strategy cannot be sent to another process .*use --jobs 1\.$"):
        pack(make("here", [mine]))


def children(process: int) -> list[int]:
    """Return the worker processes that a process has."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and "spawn_main" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


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


# Whoever started the tests may have told them to ignore SIGINT, as shells do for background commands.
_HEARS = "import signal; [signal.signal(each, signal.SIG_DFL) for each in (2, 15, 1)]; from bench.cli.main import main; main()"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
# SIGTERM and SIGHUP go the way of SIGINT (bench.interrupts); tests/cli/test_signals.py has them for one process.
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_however_a_run_is_stopped_no_process_stays_and_the_same_command_resumes(by: signal.Signals, tmp_path: Path):
    scenario, mark = tmp_path / "short.toml", f"BENCH_TEST_{tmp_path.parent.name}_{tmp_path.name}"
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    scenario.write_text(text.replace("digits-7-3", "short").replace("epochs = 24", "epochs = 6"))
    gate = Gate(tmp_path, after=60)
    command = [sys.executable, "-c", _HEARS, "run", "--scenario", str(scenario), "--strategy", str(gate.strategy)]
    command += ["--device", "cpu", "--seeds", "0-1", "--jobs", "2", "--cache", str(tmp_path / "cache")]
    command += ["--results", str(tmp_path / "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", mark: "1"}
    folders = [trial_folder(tmp_path / "cut", "short", "held", 1.0, seed) for seed in (0, 1)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    gate.wait(2, lambda: run.poll() is None)
    run.send_signal(by)
    said = run.communicate()[1]
    assert run.returncode == (-by if by == signal.SIGKILL else 128 + by), said
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(mark) == []
    gate.open()
    status = "running" if by == signal.SIGKILL else "interrupted"
    assert [read_trial(folder).status for folder in folders] == [status, status]
    if by == signal.SIGINT:
        assert said.splitlines()[-1] == "bench: stopped. The same command resumes from the last checkpoint."
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        assert done.stderr.count("resumes after step") == 2
        alone = [*command[:-1], str(tmp_path / "whole"), "--jobs", "1", "--threads", "1", "--seeds", "0"]
        subprocess.run(alone, check=True, capture_output=True, env=environment)
        resumed, whole = (
            read_trial(folders[0]),
            read_trial(trial_folder(tmp_path / "whole", "short", "held", 1.0, 0)),
        )
        assert resumed.summary.sittings == 2
        assert resumed.summary.weights_sha256 == whole.summary.weights_sha256
