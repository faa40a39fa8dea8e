"""Out of memory fails one trial, and leaves the device to the next; a device that is dead ends the run."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch

from bench.errors import DeadDeviceError, StrategyError, TrialError
from bench.execution.local import LocalRun
from bench.records.store import read_trial, trial_folder
from bench.scenario import Scenario
from bench.strategies.strategy import load_strategy
from bench.training.faults import explained, release_memory
from bench.training.learner import Learner
from tests.execution.test_local import BASELINES, Log

OUT_OF_MEMORY = {
    "cuda": torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB."
    ),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
    ),
    "driver": RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`."),
    "numpy": MemoryError("Unable to allocate 8.00 EiB"),
}
DEAD = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be")
    if hasattr(torch, "AcceleratorError")
    else RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."),
]


@pytest.fixture
def run(short: Scenario, tmp_path: Path) -> LocalRun:
    folders = {"data_root": tmp_path, "results": tmp_path / "results", "cache": tmp_path / "cache"}
    naive_from_nothing = load_strategy_of(tmp_path)
    return LocalRun(short, [BASELINES[0], naive_from_nothing], (0,), device="cpu", **folders)


def load_strategy_of(folder: Path):
    (folder / "other.py").write_text(
        "from bench import *\nstrategy = Strategy('Other', start=Fresh(), schedule=Linear())\n"
    )
    return load_strategy(folder / "other.py")


def record(tmp_path: Path, name: str):
    return read_trial(trial_folder(tmp_path / "results", "short", name, 1.0, 0))


def fail_first(monkeypatch: pytest.MonkeyPatch, cause: BaseException) -> list[weakref.ref]:
    """Let the first trial's second piece of training fail. Returns where a reference to its learner will be."""
    train, learners = Learner.train, []

    def failing(self: Learner, steps: int) -> float:
        learners.extend([weakref.ref(self)] if not learners else [])
        if self is learners[0]() and self.ledger.steps:
            raise cause
        return train(self, steps)

    monkeypatch.setattr(Learner, "train", failing)
    return learners


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_out_of_memory_fails_the_trial_and_the_next_one_finishes(
    kind: str, run: LocalRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    cause = OUT_OF_MEMORY[kind]
    learners = fail_first(monkeypatch, cause.with_traceback(None))
    alive: list[bool] = []
    monkeypatch.setattr("bench.execution.local.release_memory", lambda device: alive.append(release(learners)))

    def release(refs: list[weakref.ref]) -> bool:
        cause.__traceback__ = None  # this test's own hold on it
        release_memory(torch.device("cpu"))
        return refs[0]() is not None

    with pytest.raises(TrialError, match=r"^1 of 2 trials failed: scratch seed 0 \(TrialError: out of memory at batch"):
        run.run(Log())
    failed, other = record(tmp_path, "scratch"), record(tmp_path, "other")
    said = str(cause).splitlines()[0]
    assert failed.status == "failed"
    assert failed.reason == (
        f"out of memory at batch size 64 ({said[:200]}). Lower training.batch_size in the scenario, use --images streamed, or "
        "free memory that other programs hold."
    )
    assert other.status == "finished"
    assert alive == [False, False]  # after each trial


def test_a_finished_trial_gives_back_its_memory_before_the_next_one_starts(
    run: LocalRun, monkeypatch: pytest.MonkeyPatch
):
    # Five trials of cifar100-70-30-lite with kept features, of 4.4 GB each, had filled a machine of 24 GiB.
    start, learners, alive = Learner.start, list[weakref.ref](), list[int]()

    def starting(self: Learner) -> None:
        alive.append(sum(each() is not None for each in learners))
        learners.append(weakref.ref(self))
        start(self)

    monkeypatch.setattr(Learner, "start", starting)
    gc.disable()  # Python's own collection comes when it comes
    try:
        run.run(Log())
    finally:
        gc.enable()
    assert alive == [0, 0]


def test_the_cache_of_a_gpu_is_emptied_once_nothing_holds_the_tensors(monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collected"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    release_memory(torch.device("cpu"))
    release_memory(torch.device("cuda"))
    assert done == ["collected", "collected", "emptied"]


@pytest.mark.parametrize("cause", DEAD, ids=["access", "assert", "launch", "xid"])
def test_a_dead_device_ends_the_run(
    cause: RuntimeError, run: LocalRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    fail_first(monkeypatch, cause)
    log = Log()
    with pytest.raises(
        DeadDeviceError, match=r"^scratch seed 0: the device does not work any more \(.*resumes\.$"
    ) as raised:
        run.run(log)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 1
    assert [label for label, _ in log.began_] == ["scratch seed 0"]
    failed = record(tmp_path, "scratch")
    assert (failed.status, failed.summary) == ("failed", None)
    assert failed.reason.startswith("the device does not work any more (")
    assert record(tmp_path, "other") is None


def test_what_a_piece_wraps_is_seen_through_and_other_failures_are_left_alone():
    def wrapped(cause: Exception) -> StrategyError:
        try:
            raise StrategyError("Bad: failed") from cause
        except StrategyError as found:
            return found

    assert isinstance(explained(wrapped(OUT_OF_MEMORY["cuda"]), 64), TrialError)
    assert isinstance(explained(wrapped(DEAD[1]), 64), DeadDeviceError)
    assert explained(wrapped(ValueError("no")), 64) is None
    assert explained(RuntimeError("shapes differ"), 64) is None
