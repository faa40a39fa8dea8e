from __future__ import annotations

import errno
import json
import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from bench import (
    Fresh,
    InfoBatch,
    Keep,
    L2Init,
    LearningSpeed,
    OldTeacher,
    OneCycle,
    ShrinkAndPerturb,
    Strategy,
    TailDecay,
)
from bench.data.feed.update import build_update
from bench.errors import StrategyError, TrialError, WriteError
from bench.files import write_atomically, writing
from bench.metering.clock import PhaseClock
from bench.metering.flops import FlopCount
from bench.metering.meters import Meters
from bench.metering.nvml import GpuFacts, GpuSample
from bench.models import build_model
from bench.records.provenance import CodeState
from bench.records.store import read_evals, read_trial
from bench.scenario import Scenario
from bench.strategies.strategy import Entrant
from bench.training import batching, checkpoint, learner, trial
from bench.training.audit import replay
from bench.training.base import BASE
from bench.training.checkpoint import CheckpointWriter, load_checkpoint, usable_checkpoints, weights_sha256
from bench.training.draws import LentGenerators
from bench.training.spec import Base, TrialSpec
from tests.conftest import RunTrial, shorten


class Killed(BaseException):
    """Stands in for a signal: nothing in a trial may catch it."""


@dataclass
class KillAfter:
    """Ends a trial right after the evaluation at `step`."""

    step: int

    def began(self, total_steps: int, done_steps: int) -> None:
        pass

    def evaluated(self, row) -> None:
        if row.step == self.step:
            raise Killed


@dataclass(frozen=True)
class Returning:
    """A selection that returns what is none: nothing, halves, or indices outside the pool."""

    what: str
    needs_speed: ClassVar[bool] = False

    def choose(self, pool, epoch, stream):
        wrong = {"nothing": None, "halves": torch.full((64,), 0.5), "below": torch.arange(64) - 1}
        return wrong.get(self.what, torch.full((64,), 10**6))


@dataclass(frozen=True)
class Constant:
    """A constant factor; 0 leaves the weights as they start."""

    factor: float

    def factors(self, steps: int) -> list[float]:
        return [self.factor] * steps


OPTIMIZED = Entrant(
    "optimized",
    Strategy(
        title="Optimized",
        start=ShrinkAndPerturb(0.7, 0.1),
        regularizer=L2Init(1e-3),
        selection=LearningSpeed(0.2, 0.1),
        schedule=OneCycle(warmup=0.2),
        horizon=0.75,
    ),
)
NAIVE = Entrant("naive", Strategy(title="Naive", start=Keep(), schedule=OneCycle(warmup=0.2)))


def learned(folder: Path) -> list[dict]:
    """Return what a trial learned, without what clocks and meters say."""
    rows = [row.model_dump() for row in read_evals(folder)]
    return [{key: value for key, value in row.items() if not key.endswith(("seconds", "joules"))} for row in rows]


def test_evaluating_changes_nothing(run_trial: RunTrial, scratch: Entrant, short: Scenario):
    often = run_trial(scratch, name="often", scenario=shorten(short, points=16))
    once = run_trial(scratch, name="once", scenario=shorten(short, points=1))
    assert often.record.summary.weights_sha256 == once.record.summary.weights_sha256


class SteadyGpu:
    """Stands in for NVML: 10 J more at every reading."""

    def __init__(self) -> None:
        self.readings = 0

    def sliced(self) -> bool:
        return False

    def total_joules(self) -> float:
        self.readings += 1
        return 10.0 * self.readings

    def power_watts(self) -> float:
        return 100.0

    def foreign_processes(self) -> int:
        return 0

    def sample(self) -> GpuSample:
        return GpuSample(0.9, 1980, 60, 500.0, ())

    def facts(self) -> GpuFacts:
        return GpuFacts("Steady", "1", 1980, 2619, 700.0, False)


class NoMeters(Meters):
    all = ()


def test_metering_and_counting_change_nothing(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trial, "open_meters", lambda uuid: nullcontext(Meters(SteadyGpu(), None)))
    metered = run_trial(scratch, name="metered")
    monkeypatch.setattr(trial, "open_meters", lambda uuid: nullcontext(NoMeters(None, "not asked")))
    monkeypatch.setattr(learner, "count_built", lambda *about: FlopCount(1, 1, 1))
    bare = run_trial(scratch, name="bare")
    assert bare.record.summary.weights_sha256 == metered.record.summary.weights_sha256
    rows = zip(read_evals(tmp_path / "metered"), read_evals(tmp_path / "bare"), strict=True)
    assert all(one.validation_accuracy == other.validation_accuracy for one, other in rows)


def test_joules_of_training_and_evaluating_are_recorded_apart(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trial, "open_meters", lambda uuid: nullcontext(Meters(SteadyGpu(), None)))
    summary = run_trial(scratch).record.summary
    rows = read_evals(tmp_path / "trial")
    # 10 J a phase: laying the first weights and four segments of training; four evaluations.
    assert [row.gpu_joules for row in rows] == [20, 30, 40, 50]
    assert [row.evaluate_gpu_joules for row in rows] == [10, 20, 30, 40]
    assert (summary.gpu_joules, summary.evaluate_gpu_joules) == (50, 40)
    assert (summary.gpu_joules_source, summary.gpu_joules_reason) == ("energy counter", None)
    assert summary.gpu_short_share == 1.0
    assert read_trial(tmp_path / "trial").provenance.gpu.name == "Steady"


def test_a_cpu_trial_says_why_it_has_no_gpu_joules_and_counts_cpu_seconds(run_trial: RunTrial, scratch: Entrant):
    summary = run_trial(scratch).record.summary
    assert (summary.gpu_joules, summary.gpu_joules_reason) == (None, "a CPU trial")
    assert summary.cpu_joules is not None or summary.cpu_joules_reason
    # One thread: no more CPU seconds than seconds, and most of them.
    # One thread; on a busy machine it waits for its processor, so there is no lower bound.
    assert 0 < summary.cpu_seconds < 1.2 * summary.train_seconds


def test_phases_that_do_not_add_up_fail_the_trial(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(PhaseClock, "wall_seconds", property(lambda clock: 2 * sum(clock.seconds.values()) + 1))
        with pytest.raises(TrialError, match="unaccounted for, expected under 1%"):
            run_trial(scratch)
    assert read_trial(tmp_path / "trial").status == "failed"
    again = run_trial(scratch).record  # starts over: the gap does not come back from a checkpoint
    assert (again.status, again.summary.sittings) == ("finished", 1)


def test_training_leaves_the_global_generators_alone(run_trial: RunTrial, scratch: Entrant):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    run_trial(scratch)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_a_trial_does_not_depend_on_the_global_generator(run_trial: RunTrial, scratch: Entrant):
    first = run_trial(scratch, name="a")
    torch.rand(17)
    assert run_trial(scratch, name="b").record.summary.weights_sha256 == first.record.summary.weights_sha256


def test_another_seed_learns_something_else(run_trial: RunTrial, scratch: Entrant):
    hashes = {run_trial(scratch, name=str(seed), seed=seed).record.summary.weights_sha256 for seed in range(3)}
    assert len(hashes) == 3


# 8 and 24 are inside an epoch of 16 steps, 16 and 32 at the end of one.
@pytest.mark.parametrize("step", [8, 16, 24, 32])
def test_an_interrupted_trial_resumes_bit_identically(run_trial: RunTrial, scratch: Entrant, tmp_path: Path, step: int):
    whole = run_trial(scratch, name="whole")
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(step))
    assert read_trial(tmp_path / "cut").status == "running"
    resumed = run_trial(scratch, name="cut")
    assert resumed.record.summary.sittings == 2
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")
    assert torch.allclose(resumed.learning_speed, whole.learning_speed, rtol=0, atol=0, equal_nan=True)


def test_a_trial_resumed_on_other_code_says_so_and_keeps_what_its_record_knew(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(Killed):
        run_trial(scratch, observer=KillAfter(8))
    begun = read_trial(tmp_path / "trial").provenance
    with monkeypatch.context() as patch:
        patch.setattr("bench.training.provenance.origin.code_state", lambda: CodeState("f" * 40, False))
        resumed = run_trial(scratch).record.provenance
    assert resumed.modified is True
    assert (resumed.images, resumed.gpu) == (begun.images, begun.gpu) == ("resident", None)


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ("nothing", "choose returned NoneType, expected a vector of int64 indices"),
        ("halves", r"choose returned \(64,\) torch.float32"),
        ("below", "chose indices from -1 to 62, expected 0 to"),
        ("beyond", "chose indices from 1000000 to 1000000"),
    ],
)
def test_a_selection_that_returns_no_indices_fails_its_trial_and_is_named(
    run_trial: RunTrial, scratch: Entrant, chosen: str, complaint: str
):
    mine = replace(scratch.strategy, selection=Returning(chosen))
    with pytest.raises(StrategyError, match=f"Returning: {complaint}"):
        run_trial(replace(scratch, strategy=mine))


def test_choosing_images_is_timed_within_training_and_across_sittings(
    run_trial: RunTrial, scratch: Entrant, monkeypatch: pytest.MonkeyPatch
):
    assert 0 < run_trial(scratch, name="real").record.summary.selection_seconds < 0.5
    ticks = count()  # two readings an epoch: each choice takes a second
    monkeypatch.setattr(batching, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert run_trial(scratch, name="whole").record.summary.selection_seconds == 2
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(24))
    # Both epochs were chosen before the cut, and the second again after it.
    assert run_trial(scratch, name="cut").record.summary.selection_seconds == 3


def test_an_interrupted_optimized_trial_resumes_bit_identically(run_trial: RunTrial, base: Base, tmp_path: Path):
    whole = run_trial(OPTIMIZED, name="whole", base=base)
    with pytest.raises(Killed):
        run_trial(OPTIMIZED, name="cut", base=base, observer=KillAfter(16))
    resumed = run_trial(OPTIMIZED, name="cut", base=base)
    assert resumed.record.summary.sittings == 2
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")


class Dropping(nn.Module):
    """A model that draws random numbers as it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.fixture
def dropping(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng(devices=[]):
        weights = Dropping().state_dict()

    def build(*_: object) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            model = Dropping()
        model.load_state_dict(weights)
        return model

    monkeypatch.setattr(learner, "build_model", build)


@pytest.mark.usefixtures("dropping")
def test_dropout_draws_from_the_trials_own_stream(run_trial: RunTrial, scratch: Entrant, short: Scenario):
    before = torch.get_rng_state()
    first = run_trial(scratch, name="first").record.summary.weights_sha256
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert run_trial(scratch, name="again").record.summary.weights_sha256 == first
    once = run_trial(scratch, name="once", scenario=shorten(short, points=1))
    assert once.record.summary.weights_sha256 == first
    assert run_trial(scratch, name="other", seed=1).record.summary.weights_sha256 != first


@pytest.mark.usefixtures("dropping")
def test_an_interrupted_trial_with_dropout_resumes_bit_identically(run_trial: RunTrial, scratch: Entrant):
    whole = run_trial(scratch, name="whole")
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(16))
    torch.rand(3)
    resumed = run_trial(scratch, name="cut")
    assert resumed.record.summary.sittings == 2
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256


def test_what_was_written_after_the_checkpoint_is_written_again(run_trial: RunTrial, scratch: Entrant, tmp_path: Path):
    run_trial(scratch, name="whole")
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(16))
    before = (tmp_path / "cut.pt").read_bytes()
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(24))
    (tmp_path / "cut.pt").write_bytes(before)  # as if the kill fell between the evaluation and its checkpoint,
    with (tmp_path / "cut" / "evals.jsonl").open("ab") as file:
        file.write(b'{"step": 32, "ep')  # and in the middle of a line
    run_trial(scratch, name="cut")
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")


def test_a_checkpoint_without_its_record_is_not_resumed(run_trial: RunTrial, scratch: Entrant, tmp_path: Path):
    with pytest.raises(Killed):
        run_trial(scratch, name="cut", observer=KillAfter(16))
    (tmp_path / "cut" / "evals.jsonl").unlink()
    assert run_trial(scratch, name="cut").record.summary.sittings == 1
    assert [row.step for row in read_evals(tmp_path / "cut")] == [8, 16, 24, 32]


def test_naive_starts_from_the_base_and_scratch_does_not(run_trial: RunTrial, base: Base):
    still = Constant(0.0)
    keep = run_trial(Entrant("k", Strategy("k", Keep(), still)), name="k", base=base)
    fresh = run_trial(Entrant("f", Strategy("f", Fresh(), still)), name="f")
    parameters = [key for key in base.weights if "running" not in key and "num_batches" not in key]
    assert all(torch.equal(keep.weights[key], base.weights[key]) for key in parameters)
    own = build_model("resnet8", 1, 10, 0, "update").state_dict()
    assert all(torch.equal(fresh.weights[key], own[key]) for key in parameters)
    assert not torch.equal(fresh.weights["conv1.weight"], base.weights["conv1.weight"])
    # Buffers, too: naive's count continues from the base's batches, scratch's starts at zero.
    steps = keep.record.total_steps
    assert keep.weights["bn1.num_batches_tracked"] == base.weights["bn1.num_batches_tracked"] + steps
    assert fresh.weights["bn1.num_batches_tracked"] == steps


def test_the_ledger_is_steps_times_the_counted_step(run_trial: RunTrial, base: Base, tmp_path: Path):
    record = run_trial(OPTIMIZED, base=base).record
    summary, flops = record.summary, record.flops_per_image
    assert record.total_steps == summary.steps == 24  # 0.75 of 32
    assert summary.images == 24 * 64
    assert summary.train_flops == summary.images * flops.step
    # SGD's 8 and L2-init's 4 at every step, and 3 once for shrinking and perturbing.
    assert summary.aux_flops == (24 * 12 + 3) * record.parameters
    assert summary.regularizer_flops == 24 * 4 * record.parameters
    rows = read_evals(tmp_path / "trial")
    validated, tested = 267, 445
    tests = sum(row.test_accuracy is not None for row in rows)
    assert summary.evaluate_flops == (len(rows) * validated + tests * tested) * flops.forward


def test_seconds_add_up_to_the_wall(run_trial: RunTrial, scratch: Entrant):
    summary = run_trial(scratch).record.summary
    phases = ("build", "prepare", "train", "evaluate", "io")
    added = sum(getattr(summary, f"{phase}_seconds") for phase in phases)
    # A trial of half a second: 1 % of it is less than a busy machine may spend between two phases.
    assert added == pytest.approx(summary.wall_seconds, rel=0.01, abs=0.05)
    assert summary.device_seconds == summary.train_seconds
    assert summary.unaccounted_share == pytest.approx(1 - added / summary.wall_seconds, abs=0.01)


def test_records_hold_exactly_the_documented_keys(run_trial: RunTrial, base: Base, tmp_path: Path):
    run_trial(OPTIMIZED, base=base)
    lines = [json.loads(line) for line in (tmp_path / "trial" / "evals.jsonl").read_text().splitlines()]
    costs = "step epoch images train_flops aux_flops evaluate_flops train_seconds device_seconds evaluate_seconds"
    always = {
        *costs.split(),
        "gpu_joules",
        "evaluate_gpu_joules",
        "cpu_seconds",
        "cpu_joules",
        "learning_rate",
        "train_loss",
    }
    always |= {f"validation_accuracy{part}" for part in ("", "_old", "_new")}
    tested = {f"test_accuracy{part}" for part in ("", "_old", "_new")}
    assert [set(line) for line in lines] == [always, always | tested, always | tested]
    assert [line["step"] for line in lines] == [8, 16, 24]


def test_overall_accuracy_is_the_weighted_mean_of_old_and_new(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, updates
):
    run_trial(scratch)
    new = updates[1].validation.new.float().mean().item()
    for row in read_evals(tmp_path / "trial"):
        mixed = (1 - new) * row.validation_accuracy_old + new * row.validation_accuracy_new
        assert row.validation_accuracy == pytest.approx(mixed)


def test_a_base_model_never_learns_or_predicts_an_absent_class(run_trial: RunTrial, tmp_path: Path):
    finished = run_trial(BASE, update=0, name="base")
    fresh = build_model("resnet8", 1, 10, 0, "base").state_dict()
    decay = finished.weights["head.weight"][7:] / fresh["head.weight"][7:]
    assert torch.allclose(decay, decay.mean(), atol=1e-4)  # nothing but weight decay, the same for every weight
    assert finished.record.summary.validation_accuracy > 0.3
    rows = read_evals(tmp_path / "base")
    assert all(row.validation_accuracy_old is None for row in rows)


def test_learning_speed_is_the_share_of_epochs_predicted_correctly(run_trial: RunTrial, short: Scenario):
    finished = run_trial(BASE, update=0, name="base", scenario=shorten(short, epochs=4))
    speed = finished.learning_speed
    assert len(speed) == 761
    seen = speed[~speed.isnan()]
    assert len(seen) > 700
    # Each image is seen at most four times: the share is a fraction of 1, 2, 3 or 4.
    possible = torch.tensor(sorted({a / b for b in range(1, 5) for a in range(b + 1)}))
    assert torch.isin(seen, possible).all()
    assert seen.unique().numel() > 3


def test_dropped_images_are_never_trained_on(run_trial: RunTrial, base: Base):
    finished = run_trial(OPTIMIZED, base=base)
    old = len(base.learning_speed)
    dropped = finished.learning_speed[:old].isnan().float().mean()
    # 30 % are left out for good; 24 steps of 64 images reach each of the others at least once in two of three epochs.
    assert 0.29 < dropped < 0.45


def test_a_failure_is_recorded_with_its_reason(run_trial: RunTrial, tmp_path: Path, base: Base):
    @dataclass(frozen=True)
    class Nothing:
        needs_speed: ClassVar[bool] = False

        def choose(self, pool, epoch, stream):
            return torch.arange(10)

    greedy = Entrant("greedy", Strategy("Greedy", Fresh(), OneCycle(0.2), selection=Nothing()))
    with pytest.raises(StrategyError, match="Nothing: chose 10 images in epoch 0"):
        run_trial(greedy)
    record = read_trial(tmp_path / "trial")
    assert record.status == "failed"
    assert "chose 10 images" in record.reason
    assert record.summary is None


def test_compiling_on_the_clock_fails_the_trial(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    graphs = iter(range(100))
    monkeypatch.setattr(learner, "_compiled_graphs", lambda: next(graphs))
    with pytest.raises(TrialError, match="compiled on the clock at step 1"):
        run_trial(scratch)
    assert read_trial(tmp_path / "trial").status == "failed"


def test_the_fingerprint_sees_every_weight():
    weights = {"a": torch.zeros(3), "b": torch.zeros(2)}
    changed = {"a": torch.zeros(3), "b": torch.tensor([0.0, 1e-7])}
    assert weights_sha256(weights) != weights_sha256(changed)


def test_checkpoints_lie_some_seconds_apart_however_often_a_trial_is_evaluated(
    run_trial: RunTrial, scratch: Entrant, monkeypatch: pytest.MonkeyPatch
):
    hand, saved = [0.0], []

    class Tick:
        def began(self, total_steps: int, done_steps: int) -> None:
            pass

        def evaluated(self, row) -> None:
            hand[0] += 1.0

    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 2.0)
    monkeypatch.setattr(CheckpointWriter, "save", lambda self, content: saved.append(content["ledger"]["steps"]))
    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=lambda: hand[0]))
    run_trial(scratch, observer=Tick())
    assert saved == [8, 24]


class Gated:
    """Lets the thread write a trial's first checkpoint once the evaluation at `step` was made; then ends the trial, if asked."""

    def __init__(self, step: int, *, kill: bool) -> None:
        self._step, self._kill, self._open = step, kill, threading.Event()

    def write(self, path: Path, content: bytes) -> None:
        assert threading.current_thread() is not threading.main_thread()
        assert self._open.wait(60)
        write_atomically(path, content)

    def began(self, total_steps: int, done_steps: int) -> None:
        pass

    def evaluated(self, row) -> None:
        if row.step == self._step:
            self._open.set()
            if self._kill:
                raise Killed


def test_a_checkpoint_is_of_the_moment_when_it_was_due_although_it_is_written_while_the_trial_goes_on(
    run_trial: RunTrial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: Base
):
    """Everything that a checkpoint may hold: an average, anchors, losses by image, weights from before the decay."""
    rich = Entrant(
        "rich",
        Strategy(
            "Rich",
            Keep(),
            OneCycle(0.2),
            L2Init(1e-3),
            InfoBatch(0.5),
            averaging=TailDecay(0.9, 1.0),
            teacher=OldTeacher(),
        ),
    )
    whole = run_trial(rich, name="whole", base=base)
    gate = Gated(24, kill=True)
    with monkeypatch.context() as patch:
        patch.setattr(trial, "CHECKPOINT_SECONDS", math.inf)
        patch.setattr(checkpoint, "write_atomically", gate.write)
        with pytest.raises(Killed):
            run_trial(rich, name="cut", base=base, observer=gate)
    assert load_checkpoint(tmp_path / "cut.pt")["ledger"]["steps"] == 8
    resumed = run_trial(rich, name="cut", base=base)
    assert resumed.record.summary.sittings == 2
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")


@pytest.mark.parametrize("failing", [2, 4], ids=["on the way", "at the end"])
def test_a_checkpoint_that_cannot_be_written_ends_the_trial_with_one_line_and_the_one_before_it_serves(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
):
    whole = run_trial(scratch, name="whole")
    numbers = count(1)

    def write(path: Path, content: bytes) -> None:
        with writing(path):
            if next(numbers) == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomically", write)
        with pytest.raises(
            WriteError, match=r"cut\.pt: cannot be written \(No space left on device\)\. Free some space"
        ):
            run_trial(scratch, name="cut")
    assert read_trial(tmp_path / "cut").status == "running"
    assert not (tmp_path / "cut.pt").exists()
    assert next(usable_checkpoints(tmp_path / "cut.pt"))["ledger"]["steps"] == 8 * (failing - 1)
    resumed = run_trial(scratch, name="cut")
    assert resumed.record.summary.sittings == 2
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256


def test_no_checkpoint_is_being_written_any_more_when_a_trial_has_ended(
    run_trial: RunTrial, scratch: Entrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gate = Gated(32, kill=False)
    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", math.inf)
    monkeypatch.setattr(checkpoint, "write_atomically", gate.write)
    run_trial(scratch, observer=gate)
    assert load_checkpoint(tmp_path / "trial.pt")["ledger"]["steps"] == 8
    assert not any(thread.name.startswith("checkpoint") for thread in threading.enumerate())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_trial_on_cuda_starts_from_the_same_weights_and_learns(short, digits, split, tmp_path):
    from bench.training.provenance import describe_run
    from bench.training.trial import Trial

    cuda = torch.device("cuda:0")
    provenance = describe_run(short, digits.source, split.hash(), cuda, False, "graph", "test")
    spec = TrialSpec(short, BASE, 1, 0)
    update = build_update(short, digits, split, 1, cuda)
    record = Trial(spec, update, None, provenance, tmp_path / "t", tmp_path / "t.pt", cuda).run().record
    assert record.provenance.device_type == "cuda"
    assert record.summary.gpu_joules is not None or record.summary.gpu_joules_reason
    assert record.summary.validation_accuracy > 0.3
    assert abs(record.summary.unaccounted_share) < 0.01


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_generators_lent_on_cuda_continue_and_are_restored():
    cuda = torch.device("cuda:0")
    whole, cut = (LentGenerators(cuda, 0, "test") for _ in range(2))
    before = torch.cuda.get_rng_state(cuda)
    with whole.lent():
        expected = [torch.rand(3, device=cuda) for _ in range(2)]
    with cut.lent():
        first = torch.rand(3, device=cuda)
    resumed = LentGenerators(cuda, 1, "other")
    resumed.restore([state.to(cuda) for state in cut.state()])
    with resumed.lent():
        second = torch.rand(3, device=cuda)
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])
    assert torch.equal(torch.cuda.get_rng_state(cuda), before)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_audit_on_cuda_counts_what_is_charged(short, digits, split):
    cuda = torch.device("cuda:0")
    update = build_update(short, digits, split, 1, cuda)
    _, parts = replay(TrialSpec(short, BASE, 1, 0), update, None, cuda)
    assert all(part.counted == part.charged for part in parts)


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -0.5, "1", None])
def test_a_schedules_factors_are_finite_numbers_of_0_or_more(run_trial: RunTrial, factor: Any, tmp_path: Path):
    wrong = Entrant("wrong", Strategy(title="Wrong", start=Fresh(), schedule=Constant(1.0)))
    object.__setattr__(wrong.strategy.schedule, "factor", factor)
    with pytest.raises(StrategyError, match=r"Constant: factor .* at step 0, expected a finite number of 0 or more"):
        run_trial(wrong)
    assert not (tmp_path / "trial").exists()
