"""A step that is recorded once and replayed does what it does operator by operator, and never waits for the device."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from bench import FreezeStages, Fresh, Keep, L2Init, Logistic, OneCycle, Strategy
from bench.data.feed.update import build_update
from bench.errors import DeviceError, TrialError
from bench.records.schema import TrialRecord
from bench.records.store import read_trial
from bench.strategies.strategy import Entrant
from bench.training import learner as module
from bench.training import step as module_of_steps
from bench.training.learner import Learner
from bench.training.provenance import describe_run
from bench.training.spec import Base, TrialSpec
from bench.training.step import CudaRecorder, Recorder, StepError, StepWay, choose_step, settle
from bench.training.trial import Trial
from tests.conftest import CPU, shorten
from tests.training.tape import Waits, record_on_tape, run_again

PLAIN = Strategy("Plain", Keep(), OneCycle(0.1))
PULLED = Strategy("Pulled", Keep(), OneCycle(0.1), L2Init(1e-3))
FROZEN = Strategy(
    "Frozen", Keep(), OneCycle(0.1), freezing=FreezeStages(("stage1", "stage2"), (0.0, 0.6)), head=Logistic(images=200)
)
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def made(scenario, update, base: Base, strategy: Strategy, recorder: Recorder | None, device=CPU) -> Learner:
    spec = TrialSpec(scenario, Entrant("one", strategy), 1, 0)
    learner = Learner(spec, update, base, device, compiled=False, recorder=recorder)
    learner.prepare()
    return learner


def left_by(learner: Learner) -> dict[str, torch.Tensor]:
    return {**learner.weights(), "speed": learner.learning_speed().nan_to_num(-1), **learner.state()["momentum"]}


def same(one: Learner, other: Learner) -> bool:
    mine, theirs = left_by(one), left_by(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key].cpu(), theirs[key].cpu()) for key in mine)


@pytest.fixture(scope="module")
def long(short):
    """As `short`, in 208 steps."""
    return shorten(short, epochs=13)


@pytest.mark.parametrize("strategy", [PLAIN, PULLED, FROZEN], ids=lambda each: each.title)
def test_a_recording_does_the_same_over_epochs_phases_evaluations_and_a_resumption(
    short, updates, base: Base, strategy: Strategy
):
    scenario = shorten(short, epochs=5)  # of 16 steps; a phase begins at step 48
    plain = made(scenario, updates[1], base, strategy, run_again)
    taped = made(scenario, updates[1], base, strategy, record_on_tape)
    for learner in (plain, taped):
        learner.start()
    losses = [[learner.train(steps) for steps in (20, 35)] for learner in (plain, taped)]
    assert losses[0] == losses[1]
    assert plain.evaluate(with_test=True) == taped.evaluate(with_test=True)
    saved = taped.state()
    again = made(scenario, updates[1], base, strategy, record_on_tape)
    again.restore(saved)
    assert plain.train(25) == again.train(25)
    assert again.ledger.steps == again.total_steps == 80
    assert same(plain, again)


@pytest.fixture
def with_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model that is built ends in a group with dropout."""

    def build(*arguments):
        model = plain(*arguments)
        model.groups[2].append(nn.Dropout(0.5))
        return model

    plain = module.build_model
    monkeypatch.setattr(module, "build_model", build)


def position(learner: Learner) -> bytes:
    """Return how far the stream of draws has moved."""
    return b"".join(state.numpy().tobytes() for state in learner.state()["draws"])


@pytest.mark.usefixtures("with_dropout")
def test_dropout_draws_the_same_in_a_recording(long, updates, base: Base):
    found = [made(long, updates[1], base, PLAIN, recorder) for recorder in (run_again, record_on_tape)]
    for learner in found:
        before = position(learner)
        learner.start()
        learner.train(30)
        assert position(learner) != before
    assert same(*found)


@pytest.mark.cuda
@cuda
@pytest.mark.usefixtures("with_dropout")
def test_dropout_draws_the_same_in_a_graph_on_cuda(long, digits, split, base: Base):
    device, found = torch.device("cuda", 0), []
    with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
        for recorder in (None, CudaRecorder(device)):
            learner = made(long, build_update(long, digits, split, 1, device), base, PLAIN, recorder, device)
            learner.start()
            learner.train(30)
            found.append(learner)
    assert same(*found)


def test_operator_by_operator_differs_only_by_the_rounding_of_the_rate(long, updates, base: Base):
    plain, taped = (made(long, updates[1], base, PULLED, recorder) for recorder in (None, record_on_tape))
    for learner in (plain, taped):
        learner.start()
        learner.train(5)
    for key, value in plain.weights().items():
        assert torch.allclose(value, taped.weights()[key], rtol=1e-3, atol=1e-5), key


@pytest.mark.parametrize("strategy", [PLAIN, PULLED], ids=lambda each: each.title)
def test_training_waits_for_the_device_once_a_segment(long, updates, base: Base, strategy: Strategy):
    learner = made(long, updates[1], base, strategy, None)
    learner.start()
    learner.train(3)
    # An epoch has 16 steps. Where one begins, the least and the greatest of the chosen indices are asked for, on the CPU.
    for steps, epochs_begun in ((1, 0), (40, 2)):
        with Waits() as waits:
            learner.train(steps)
        assert waits.found == ["aten._local_scalar_dense.default"] * (2 * epochs_begun + 1)


def test_a_step_asks_for_no_value_and_copies_nothing_to_the_host(
    long, updates, base: Base, monkeypatch: pytest.MonkeyPatch
):
    """What the pretended device cannot see: on a CPU, cpu() and tolist() are no operators."""

    def refuse(name: str):
        def asked(*_: object) -> None:
            raise AssertionError(f"a step called {name}")

        return asked

    learner = made(long, updates[1], base, PULLED, run_again)
    learner.start()
    learner.train(1)  # draws the first epoch
    with learner._draws.lent(), monkeypatch.context() as patch:
        for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__"):
            patch.setattr(torch.Tensor, name, refuse(name))
        for _ in range(8):
            learner._take_step()
    assert learner.ledger.steps == 9


@dataclass(frozen=True)
class Peeking:
    """A regularizer that asks for a value, and so waits for the device."""

    passes: ClassVar[int] = 0

    @property
    def anchor(self) -> None:
        return None

    def apply(self, parameters, anchors) -> None:
        if parameters[0].grad.norm() > 1e9:
            raise AssertionError


def test_what_cannot_be_recorded_is_named_with_its_remedy(long, updates, base: Base):
    strategy = Strategy("Peeking", Keep(), OneCycle(0.1), Peeking())
    with pytest.raises(TrialError, match=r"cannot be recorded as a CUDA graph .*Run it with --step eager\.$"):
        made(long, updates[1], base, strategy, record_on_tape)
    made(long, updates[1], base, strategy, None).start()


def test_a_device_that_is_too_small_is_not_taken_for_a_step_that_cannot_be_recorded(long, updates, base: Base):
    def full(action):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        made(long, updates[1], base, PLAIN, full)


GPU = torch.device("cuda", 0)


def test_how_steps_run_is_chosen_by_the_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module_of_steps, "lacking_compiler", lambda device: None)
    assert [choose_step("auto", device).name for device in (CPU, GPU)] == ["eager", "graph"]
    assert [choose_step("auto", device, True).name for device in (CPU, GPU)] == ["compiled", "graph+compiled"]
    assert [choose_step("auto", device, None, True).name for device in (CPU, GPU)] == ["compiled", "graph+compiled"]
    assert [choose_step("auto", device, False, True).name for device in (CPU, GPU)] == ["eager", "graph"]
    for name in ("eager", "compiled", "graph", "graph+compiled"):
        way = choose_step(name, GPU, None, name == "eager")  # whatever the scenario says
        assert (way.name, way.automatic, way.reason) == (name, False, None)
    assert choose_step("compiled", CPU, True).name == "compiled"


@pytest.mark.parametrize(
    ("asked", "compiled", "complaint"),
    [
        ("graph", None, r"--step graph: the device is cpu, expected a GPU.* Choose --step eager, or --device cuda\.$"),
        ("graph+compiled", None, r"--step graph\+compiled: the device is cpu.* Choose --step compiled, or"),
        ("fast", None, r"--step 'fast': unknown, expected one of auto, eager, compiled, graph, graph\+compiled\."),
        ("eager", True, r"--step eager: found together with --compile, expected compiled\. Leave one of them out\.$"),
        ("graph", True, r"--step graph: found together with --compile, expected graph\+compiled\. Leave"),
        ("compiled", False, r"--step compiled: found together with --no-compile, expected eager\. Leave"),
    ],
)
def test_a_way_that_cannot_be_is_refused_in_one_line(asked, compiled, complaint):
    with pytest.raises(DeviceError, match=complaint):
        choose_step(asked, CPU, compiled)


def test_without_a_compiler_only_what_nobody_asked_for_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "/no/such/compiler -O3")
    way = choose_step("auto", CPU, None, True)
    assert (way.name, way.reason) == ("eager", "no torch.compile: found no C++ compiler /no/such/compiler")
    with pytest.raises(DeviceError, match=r"--step compiled: found no C\+\+ compiler .*, or choose --step eager\.$"):
        choose_step("compiled", CPU)
    with pytest.raises(DeviceError, match=r"--compile: found no C\+\+ compiler .*, or choose --step auto\.$"):
        choose_step("auto", CPU, True)
    monkeypatch.setattr(module_of_steps.importlib.util, "find_spec", lambda name: None)
    assert choose_step("auto", GPU, None, True).reason == "no torch.compile: found no package triton"


def test_what_cannot_run_is_left_out_part_by_part_if_nobody_asked_for_it():
    tried = []

    def attempt(way: StepWay) -> str:
        tried.append(way.name)
        if way.compiled:
            raise StepError("compiled", "a branch", "one line")
        if way.mode == "graph":
            raise StepError("graph", "a wait", "one line")
        return way.reason or ""

    said = settle(StepWay("graph", True, automatic=True), attempt)
    assert tried == ["graph+compiled", "graph", "eager"]
    assert said == "no torch.compile: a branch; no CUDA graph: a wait"
    with pytest.raises(StepError, match="one line"):
        settle(StepWay("graph", True), attempt)
    assert str(pickle.loads(pickle.dumps(StepError("graph", "a wait", "one line")))) == "one line"


class Branching(nn.Module):
    """A model that cannot be compiled as a whole, like one whose control flow depends on values."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return self.inner(x)


def test_a_trial_whose_model_cannot_be_compiled_says_so_or_goes_without_and_records_it(
    short, digits, updates, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    build = module.build_model
    monkeypatch.setattr(module, "build_model", lambda *arguments: Branching(build(*arguments)))
    monkeypatch.setattr(module, "head_keys", lambda *arguments: frozenset({"inner.head.weight", "inner.head.bias"}))
    spec = TrialSpec(
        shorten(short, epochs=1, points=1), Entrant("scratch", Strategy("S", Fresh(), OneCycle(0.1))), 1, 0
    )
    place = describe_run(short, "digits", "hash", CPU, True, "eager", "test")

    def run(name: str, automatic: bool) -> TrialRecord:
        where = tmp_path / name, tmp_path / f"{name}.pt"
        return Trial(spec, updates[1], None, place, *where, CPU, automatic=automatic).run().record

    with pytest.raises(
        StepError, match=r"the model cannot be compiled \(.*\), expected one without .*--step eager\.$"
    ) as told:
        run("asked", False)
    assert "\n" not in str(told.value)
    assert read_trial(tmp_path / "asked").status == "failed"
    place_of_run = run("automatic", True).provenance
    assert (place_of_run.step, place_of_run.compiled) == ("eager", False)
    assert place_of_run.step_reason.startswith("no torch.compile: ")
    assert read_trial(tmp_path / "automatic").provenance.step_reason == place_of_run.step_reason


@pytest.mark.cuda
@cuda
@pytest.mark.parametrize("strategy", [PLAIN, PULLED, FROZEN], ids=lambda each: each.title)
def test_a_graph_does_the_same_as_operator_by_operator_on_cuda(long, digits, split, base: Base, strategy: Strategy):
    device = torch.device("cuda", 0)
    exact = torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False)
    found = []
    with exact:
        for recorder in (None, CudaRecorder(device)):
            learner = made(long, build_update(long, digits, split, 1, device), base, strategy, recorder, device)
            learner.start()
            losses = [learner.train(steps) for steps in (50, 70)]
            found.append((learner, losses, learner.evaluate(with_test=True)))
        saved = found[1][0].state()
        again = made(long, build_update(long, digits, split, 1, device), base, strategy, CudaRecorder(device), device)
        again.restore(saved)
        assert [again.train(88)] == [found[0][0].train(88)]
    assert found[0][1:] == found[1][1:]
    assert same(found[0][0], again)


@pytest.mark.cuda
@cuda
def test_steps_on_cuda_never_wait_for_the_device(long, digits, split, base: Base):
    device = torch.device("cuda", 0)
    for strategy in (PULLED, FROZEN):
        update = build_update(long, digits, split, 1, device)
        learner = made(long, update, base, strategy, CudaRecorder(device), device)
        learner.start()
        learner.train(1)  # draws the first epoch, and computes its features
        with learner._draws.lent():
            torch.cuda.set_sync_debug_mode("error")
            try:
                for _ in range(8):
                    learner._take_step()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert learner.ledger.steps == 9


@pytest.mark.cuda
@cuda
def test_what_cannot_be_recorded_on_cuda_is_one_line_and_the_device_stays_usable(long, digits, split, base: Base):
    device = torch.device("cuda", 0)
    update = build_update(long, digits, split, 1, device)
    strategy = Strategy("Peeking", Keep(), OneCycle(0.1), Peeking())
    with pytest.raises(TrialError, match="Run it with --step eager"):
        made(long, update, base, strategy, CudaRecorder(device), device)
    learner = made(long, update, base, PLAIN, None, device)
    learner.start()
    assert learner.train(2) > 0
