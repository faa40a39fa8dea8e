"""An objective of one's own: what its hooks are given, what is charged, and that it runs and resumes as all else does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import Batch, CrossEntropy, FreezeStages, InfoBatch, Keep, Objective, OneCycle, Setting, Strategy
from bench.data.feed.update import build_update
from bench.errors import StrategyError
from bench.models.build import build_model
from bench.records.store import read_trial
from bench.strategies.ablations import ablations
from bench.strategies.strategy import Entrant
from bench.strategies.variants import load_variant
from bench.training.audit import AuditedPart, replay
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from bench.training.step import CudaRecorder
from tests.conftest import CPU, RunTrial, shorten
from tests.training.tape import Waits, record_on_tape, run_again
from tests.training.test_average import Interrupt

PLAIN = Strategy("Plain", Keep(), OneCycle(0.1))
KEPT = FreezeStages(("stage1", "stage2"), (0.0, 0.5))
RECOMPUTED = FreezeStages(("stage1", "stage2"), (0.0, 0.5), "recomputed")


def made(scenario, updates, base: Base, objective: Any, recorder=None, **aspects: Any) -> Learner:
    strategy = replace(PLAIN, objective=objective, **aspects)
    learner = Learner(TrialSpec(scenario, Entrant("one", strategy), 1, 0), updates[1], base, CPU, False, None, recorder)
    learner.prepare()
    learner.start()
    return learner


def audited(scenario, updates, base: Base, objective: Any, **aspects: Any) -> list[AuditedPart]:
    strategy = replace(PLAIN, objective=objective, **aspects)
    return replay(TrialSpec(scenario, Entrant("one", strategy), 1, 0), updates[1], base, CPU)[1]


@dataclass(frozen=True)
class NewCounts(Objective):
    """Weights of images: new ones count `weight` times."""

    weight: float

    def loss(self, batch: Batch) -> torch.Tensor:
        return torch.where(batch.new, self.weight, 1.0) * batch.losses


@dataclass(frozen=True)
class Everything(Objective):
    """All that a batch has: features, the old model, anchors, progress, and a state of its own that matters."""

    strength: float = 0.1
    stages: ClassVar[tuple[str, ...]] = ("stage3", "stage2")
    needs_old_logits: ClassVar[bool] = True
    anchor: ClassVar[Any] = "start"
    passes: ClassVar[int] = 2

    def initial_state(self, setting: Setting) -> dict[str, torch.Tensor]:
        return {"last": torch.ones(len(setting.pool)), "steps": torch.zeros((), dtype=torch.int64)}

    def loss(self, batch: Batch) -> torch.Tensor:
        assert batch.old_logits is not None
        last = batch.state["last"][batch.indices]
        batch.state["last"][batch.indices] = 0.5 * last + 0.5 * batch.losses.detach()
        batch.state["steps"].add_(1)
        old = batch.logits[:, : batch.old_logits.shape[1]]
        apart = (old - batch.old_logits).square().mean() * (1 - batch.progress)
        return (last * batch.losses).mean() + self.strength * (apart + batch.features["stage3"].square().mean())

    def adjust(self, gradients, batch: Batch) -> None:
        for name, gradient in gradients.items():
            weight = batch.model.get_parameter(name)
            gradient.add_(weight.detach() - batch.anchors[name], alpha=0.01).mul_(0.5 + batch.progress)


@dataclass(frozen=True)
class AgainOn(Objective):
    """A second forward pass: on flipped images, with a backward pass or without, from a share of the trial on."""

    backward: bool = True
    begin: float = 0.0

    def loss(self, batch: Batch) -> torch.Tensor:
        if self.begin and batch.progress < self.begin:
            return batch.losses
        with torch.set_grad_enabled(self.backward):
            again = batch.forward(batch.inputs.flip(3))
        return batch.losses + F.cross_entropy(again, batch.labels, reduction="none")


@dataclass(frozen=True)
class AgainAfterwards(Objective):
    """Gradients of flipped images are added, as methods do that look at the loss from another place."""

    def adjust(self, gradients, batch: Batch) -> None:
        weights = [batch.model.get_parameter(name) for name in gradients]
        with torch.enable_grad():
            loss = F.cross_entropy(batch.forward(batch.inputs.flip(3)), batch.labels)
        for mine, more in zip(gradients.values(), torch.autograd.grad(loss, weights), strict=True):
            mine.add_(more)


@dataclass(frozen=True)
class AsksTheOldModel(Objective):
    needs_old_model: ClassVar[bool] = True

    def loss(self, batch: Batch) -> torch.Tensor:
        assert batch.old_model is not None
        assert batch.images is not None
        assert batch.old_logits is None
        with torch.no_grad():
            batch.old_model(batch.images)
        return batch.losses.mean()


class TestWhatAStepIs:
    def test_none_is_neither_described_nor_hashed_and_one_is_both(self):
        plain = Entrant("mine", PLAIN)
        assert "objective" not in plain.describe()
        assert Entrant("mine", replace(PLAIN, objective=CrossEntropy())).hash() == plain.hash()
        mine = Entrant("mine", replace(PLAIN, objective=NewCounts(2.0)))
        assert mine.describe()["objective"] == {"type": "NewCounts", "weight": 2.0}
        assert mine.hash() != plain.hash()
        assert replace(PLAIN, objective=Everything()).needs_base
        assert load_variant("naive[objective=CrossEntropy]").name == "naive"
        assert [each.aspect for each in ablations(Entrant("mine", replace(mine.strategy, horizon=0.5)))][
            -1
        ] == "objective"

    def test_what_is_no_objective_is_refused(self):
        with pytest.raises(StrategyError, match="objective is 'entropy', expected an instance of a frozen dataclass"):
            replace(PLAIN, objective="entropy")

    def test_a_weight_scales_the_gradient_and_the_recorded_loss_is_the_labels(self, short, updates, base: Base):
        one, other = (made(short, updates, base, NewCounts(weight)) for weight in (1.0, 3.0))
        model = build_model("resnet8", 1, 10, 0, "copy")
        model.load_state_dict(base.weights)
        pixels, labels, indices = one._order.next()
        one._order.seek(0, 0)
        each = F.cross_entropy(model(pixels), labels, label_smoothing=short.training.label_smoothing, reduction="none")
        weights = 1 + 2 * updates[1].pool.new[indices].float()
        (expected,) = torch.autograd.grad((weights * each).mean(), model.head.weight)
        assert one.train(1) == pytest.approx(other.train(1), rel=1e-6) == pytest.approx(each.mean().item(), rel=1e-5)
        torch.testing.assert_close(other._model.head.weight.grad, expected, rtol=1e-4, atol=1e-7)

    def test_features_and_old_logits_are_those_of_this_forward_pass(self, short, updates, base: Base):
        seen: list[Batch] = []

        @dataclass(frozen=True)
        class Looking(Everything):
            def loss(self, batch: Batch) -> torch.Tensor:
                seen.append(batch)
                return batch.losses

            def adjust(self, gradients, batch) -> None: ...

        learner = made(short, updates, base, Looking())
        seen.clear()
        learner.train(1)
        (batch,) = seen
        assert {name: tuple(each.shape[1:]) for name, each in batch.features.items()} == {
            "stage2": (32, 4, 4),
            "stage3": (64,),
        }
        assert batch.features["stage2"].requires_grad
        old = build_model("resnet8", 1, 10, 0, "copy")
        old.load_state_dict(base.weights)
        head = old.head
        assert torch.allclose(head(batch.features["stage3"]), batch.logits, atol=1e-5)
        with torch.no_grad():
            assert torch.allclose(old.eval()(batch.images)[:, :7], batch.old_logits, atol=1e-5)
        assert float(batch.progress) == 0
        assert torch.equal(batch.new, updates[1].pool.new[batch.indices])
        assert torch.equal(batch.anchors["head.weight"], base.weights["head.weight"])

    def test_gradients_are_changed_last(self, short, updates, base: Base):
        @dataclass(frozen=True)
        class HeadAlone(Objective):
            def adjust(self, gradients, batch) -> None:
                for name, gradient in gradients.items():
                    gradient.mul_(name.startswith("head."))

        learner = made(shorten(short, weight_decay=0.0), updates, base, HeadAlone())
        learner.train(3)
        after = learner._model.state_dict()
        changed = {
            name for name, _ in learner._model.named_parameters() if not torch.equal(after[name], base.weights[name])
        }
        assert changed == {"head.weight", "head.bias"}

    def test_the_weights_of_a_selection_are_in_the_losses(self, short, updates, base: Base):
        learner = made(short, updates, base, NewCounts(1.0), selection=InfoBatch())
        learner.train(17)
        assert not learner._losses.last.isnan().all()


class TestCharges:
    def test_the_old_models_logits_cost_a_forward_pass_of_each_image(self, short, updates, base: Base):
        learner = made(short, updates, base, Everything())
        plain = made(short, updates, base, CrossEntropy())
        assert learner.hook_flops(0) == 64 * learner.flops.forward
        for each in (learner, plain):
            each.train(3)
        extra = 3 * 64 * learner.flops.forward
        assert learner.ledger.train_flops - plain.ledger.train_flops == extra
        assert learner.ledger.aux_flops - plain.ledger.aux_flops == 3 * 2 * learner.ledger.parameters
        both = learner.total_steps * (64 * learner.flops.forward + 2 * learner.ledger.parameters)
        assert learner.expected_flops() - plain.expected_flops() == both

    @pytest.mark.parametrize(
        ("objective", "backward"),
        [(AgainOn(), True), (AgainOn(False), False), (AgainAfterwards(), True), (AsksTheOldModel(), False)],
    )
    def test_what_a_hook_runs_on_a_network_is_counted(self, short, updates, base: Base, objective, backward: bool):
        learner = made(short, updates, base, objective)
        assert learner.hook_flops(0) == 64 * (learner.flops.step if backward else learner.flops.forward)
        assert all(part.counted == part.charged for part in audited(short, updates, base, objective))

    @pytest.mark.parametrize("freezing", [KEPT, RECOMPUTED], ids=["kept", "recomputed"])
    def test_a_phase_that_trains_less_charges_less_of_its_own(self, short, updates, base: Base, freezing):
        parts = audited(short, updates, base, AgainOn(), freezing=freezing)
        assert all(part.counted == part.charged for part in parts)
        first, second = made(short, updates, base, AgainOn(), freezing=freezing)._hooks.flops
        assert first > second > 0
        parts = audited(short, updates, base, Everything(), freezing=freezing)
        assert all(part.counted == part.charged for part in parts)

    @pytest.mark.parametrize("begin", [0.3, 0.9])
    def test_a_pass_that_comes_later_is_uncharged_and_found(self, short, updates, base: Base, begin: float):
        parts = audited(shorten(short, epochs=10), updates, base, AgainOn(begin=begin))
        assert [part.agrees for part in parts][:3] == [True, True, True]
        assert not all(part.agrees for part in parts)

    def test_a_pass_in_a_later_phase_is_found(self, short, updates, base: Base):
        freezing = FreezeStages(("stage1", "stage2"), (0.0, 0.95))
        parts = audited(short, updates, base, AgainOn(begin=0.94), freezing=freezing)
        assert [part.agrees for part in parts] == [True, True, True, False]


CASES = {
    "plain": {},
    "kept": {"freezing": KEPT},
    "recomputed": {"freezing": RECOMPUTED},
    "pruned": {"selection": InfoBatch()},
}


class TestTheSameEverywhere:
    @pytest.mark.parametrize("aspects", CASES.values(), ids=CASES)
    def test_recorded_steps_do_the_same_and_never_wait(self, short, updates, base: Base, aspects):
        plain, taped = (
            made(short, updates, base, Everything(), each, **aspects) for each in (run_again, record_on_tape)
        )
        assert plain.train(20) == taped.train(20)
        mine, theirs = plain._hooks.state(), taped._hooks.state()
        assert torch.equal(mine["state"]["last"], theirs["state"]["last"])
        assert int(theirs["state"]["steps"]) == 20
        assert all(torch.equal(value, taped.weights()[name]) for name, value in plain.weights().items())
        if aspects.get("freezing") != KEPT:  # on a CPU, features are computed as they are needed
            with Waits() as waits:
                for _ in range(3):
                    taped._take_step()
            assert waits.found == []

    @pytest.mark.cuda
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("aspects", CASES.values(), ids=CASES)
    def test_a_graph_does_the_same_on_cuda(self, short, digits, split, base: Base, aspects):
        device, found = torch.device("cuda", 0), []
        spec = TrialSpec(short, Entrant("one", replace(PLAIN, objective=Everything(), **aspects)), 1, 0)
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False):
            for recorder in (None, CudaRecorder(device)):
                update = build_update(short, digits, split, 1, device)
                learner = Learner(spec, update, base, device, False, None, recorder)
                learner.prepare()
                learner.start()
                found.append((learner.train(20), learner.weights()))
        assert found[0][0] == found[1][0]
        assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())

    @pytest.mark.parametrize("aspects", [{}, {"freezing": KEPT}], ids=["plain", "kept"])
    def test_an_interrupted_trial_resumes_bit_identically(self, run_trial: RunTrial, base: Base, aspects):
        entrant = Entrant("mine", replace(PLAIN, objective=Everything(), **aspects))
        whole = run_trial(entrant, base=base, name="whole")
        with pytest.raises(KeyboardInterrupt):
            run_trial(entrant, base=base, name="cut", observer=Interrupt(8))
        again = run_trial(entrant, base=base, name="cut")
        assert again.record.summary.sittings == 2
        assert again.record.summary.weights_sha256 == whole.record.summary.weights_sha256
        assert again.record.summary.train_flops == whole.record.summary.train_flops

    def test_compiled_steps_do_the_same(self, short, updates, base: Base, monkeypatch: pytest.MonkeyPatch):
        # The whole of torch.compile but for what takes a minute: making code of the graphs.
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        strategy = replace(PLAIN, objective=Everything())
        spec = TrialSpec(short, Entrant("one", strategy), 1, 0)
        learners = [Learner(spec, updates[1], base, CPU, compiled) for compiled in (False, True)]
        for learner in learners:
            learner.prepare()
            learner.start()
        assert learners[0].hook_flops(0) == learners[1].hook_flops(0) > 0
        assert learners[0].train(3) == pytest.approx(learners[1].train(3), rel=1e-3)


def hook(name: str, do: Any) -> Objective:
    """Return an objective with one hook, which is the function."""
    return dataclass(frozen=True)(type("Odd", (Objective,), {name: lambda self, *given: do(*given)}))()


def spoil(batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        next(batch.model.parameters()).mul_(0.5)
    return batch.losses


def leak(batch: Batch) -> torch.Tensor:
    batch.state["x"] = torch.zeros(1)  # type: ignore[index]
    return batch.losses


def replace_one(gradients, batch: Batch) -> None:
    gradients["head.bias"] = torch.zeros(10)


REFUSED = {
    "a word": (
        hook("loss", lambda batch: "loss"),
        r"^Odd: loss: returned 'loss', expected a number, \(\), or one for each",
    ),
    "nothing": (hook("loss", lambda batch: None), "Odd: loss: returned None, expected a number"),
    "a shape": (
        hook("loss", lambda batch: batch.logits),
        r"Odd: loss: returned a tensor of shape \(64, 10\), float32, expected",
    ),
    "whole numbers": (
        hook("loss", lambda batch: batch.labels),
        r"Odd: loss: returned a tensor of shape \(64,\), int64",
    ),
    "no gradient": (
        hook("loss", lambda batch: batch.losses.detach()),
        "Odd: loss: returned what no weight has a gradient",
    ),
    "a part": (
        hook("loss", lambda batch: batch.model.head.weight.square().sum()),
        r"Odd: loss: leaves a part of the network without a gradient in phase 1 .*can be frozen\. Fix",
    ),
    "an exception": (
        hook("loss", lambda batch: 1 / 0),
        "Odd: loss: failed with ZeroDivisionError: division by zero. Fix",
    ),
    "weights": (hook("loss", spoil), "Odd: loss: changed weights, inputs or labels in place"),
    "a new state": (hook("loss", leak), "Odd: loss: failed with TypeError: 'mappingproxy' object"),
    "a new gradient": (hook("adjust", replace_one), r"Odd: adjust: replaced head.bias, expected changes in place"),
    "gradients": (hook("adjust", lambda gradients, batch: gradients), r"Odd: adjust: returned \{"),
    "no dict": (
        hook("initial_state", lambda setting: [1]),
        r"Odd: initial_state: returned \[1\], expected a dict of tensors",
    ),
    "a number": (hook("initial_state", lambda setting: {"x": 1}), "Odd: initial_state: 'x' is 1, expected a tensor"),
}


@pytest.mark.parametrize(("objective", "said"), REFUSED.values(), ids=REFUSED)
def test_what_a_hook_may_not_do_is_one_line_that_names_it(short, updates, base: Base, objective, said: str):
    with pytest.raises(StrategyError, match=said) as told:
        made(short, updates, base, objective)
    assert "\n" not in str(told.value)


def test_a_state_that_would_keep_the_graph_is_refused(short, updates, base: Base):
    @dataclass(frozen=True)
    class Keeping(Objective):
        def initial_state(self, setting: Setting) -> dict[str, torch.Tensor]:
            return {"mean": torch.zeros(())}

        def loss(self, batch: Batch) -> torch.Tensor:
            batch.state["mean"].copy_(batch.losses.mean())
            return batch.losses

    with pytest.raises(
        StrategyError, match=r"Keeping: loss: wrote what has a gradient into state\['mean'\], expected it"
    ):
        made(short, updates, base, Keeping())


@pytest.mark.parametrize(
    ("name", "do", "said"),
    [
        (
            "loss",
            lambda batch: batch.losses / batch.progress.sub(0.1).relu().sign().sub(1),
            "Odd: loss: made the loss NaN or infinite",
        ),
        (
            "adjust",
            lambda gradients, batch: gradients["head.bias"].div_((batch.progress < 0.1).float()),
            "Odd: adjust: made a gradient NaN or infinite",
        ),
    ],
)
def test_what_becomes_infinite_later_is_named_and_fails_the_trial(
    run_trial: RunTrial, base: Base, tmp_path, name: str, do, said: str
):
    def act(*given: Any) -> Any:
        found = do(*given)
        return found if name == "loss" else None

    entrant = Entrant("mine", replace(PLAIN, objective=hook(name, act)))
    with pytest.raises(
        StrategyError, match=rf"{said} at a step up to 8, expected it as finite as what it was given\. Fix"
    ):
        run_trial(entrant, base=base)
    record = read_trial(tmp_path / "trial")
    assert record is not None
    assert record.status == "failed"
    assert said in str(record.reason)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"stages": "stage2"}, "Odd: stages: found 'stage2', expected a tuple of names. Change"),
        ({"anchor": "old"}, "Odd: anchor: found 'old', expected 'start', 'fresh' or None. Change"),
        ({"passes": -1}, "Odd: passes: found -1, expected a whole number, 0 or more. Change"),
    ],
)
def test_what_is_declared_wrongly_is_one_line(declared, said: str):
    odd = dataclass(frozen=True)(type("Odd", (Objective,), declared))
    with pytest.raises(StrategyError, match=said):
        replace(PLAIN, objective=odd())


def test_a_stage_that_is_not_there_or_not_kept_is_one_line(short, updates, base: Base):
    @dataclass(frozen=True)
    class Of(Objective):
        stages: tuple[str, ...] = ("stage1",)  # type: ignore[misc]

    with pytest.raises(StrategyError, match="objective: stages: the model has no stage 'stage9' before its head"):
        made(short, updates, base, Of(("stage9",)))
    with pytest.raises(
        StrategyError, match="stage1 lies within the frozen part, of which only what stage2 returns is kept"
    ):
        made(short, updates, base, Of(), freezing=FreezeStages(("stage2",)))
    learner = made(short, updates, base, Of(("stage2",)), freezing=FreezeStages(("stage2",)))
    assert learner.train(1) > 0


def test_a_network_is_as_it_was_before_the_first_step(short, updates, base: Base):
    """Counting what hooks run, and preparing, leave no trace."""
    spec = TrialSpec(short, Entrant("one", replace(PLAIN, objective=AgainOn())), 1, 0)
    plain = TrialSpec(short, Entrant("one", PLAIN), 1, 0)
    counted, before = (Learner(each, updates[1], base, CPU, False) for each in (spec, plain))
    for name, value in before._model.state_dict().items():
        assert torch.equal(counted._model.state_dict()[name], value), name
    assert isinstance(counted._model, nn.Module)
    assert not counted._step.seen.any()
