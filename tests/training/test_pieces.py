"""Pieces that need more than their formula: gradients, losses, and weights from before the decay. All of it is charged."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch.nn import functional as F

import bench
from bench import (
    BeforeDecay,
    DirectionAwareShrink,
    InfoBatch,
    Keep,
    OneCycle,
    ReducibleLoss,
    Strategy,
    WarmupStableDecay,
)
from bench.errors import ScenarioError, StrategyError
from bench.execution.local import LocalRun
from bench.records.store import read_trial
from bench.scenario import Scenario, parse_scenario
from bench.strategies.strategy import Entrant
from bench.training.audit import replay
from bench.training.base import BASE, base_entrant
from bench.training.holdout import holdout_steps, irreducible_losses
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from tests.conftest import CPU, RunTrial, shorten
from tests.training.tape import Waits, record_on_tape, run_again
from tests.training.test_average import whole_and_resumed

PLAIN = Strategy("Plain", Keep(), OneCycle(0.1))
SHRUNK = replace(PLAIN, start=DirectionAwareShrink())
PRUNED = replace(PLAIN, selection=InfoBatch(0.5))


def made(scenario, updates, base: Base, strategy: Strategy, recorder=None) -> Learner:
    learner = Learner(TrialSpec(scenario, Entrant("one", strategy), 1, 0), updates[1], base, CPU, False, None, recorder)
    learner.prepare()
    return learner


class TestDirectionAwareShrink:
    def test_it_shrinks_by_the_mean_gradients_of_old_and_new_images(self, short, updates, base: Base):
        plain, shrunk = made(short, updates, base, PLAIN), made(short, updates, base, SHRUNK)
        for learner in (plain, shrunk):
            learner.start()
        update, model = updates[1], plain._model.train()
        layer, gradients = model.get_submodule("head").weight, []
        for new in (False, True):
            total, chosen = torch.zeros_like(layer), (update.pool.new == new).nonzero()[:, 0]
            for part in chosen.split(64):
                logits, smoothing = model(update.train.plain(part))[:, :10], short.training.label_smoothing
                loss = F.cross_entropy(logits, update.train.labels[part], label_smoothing=smoothing, reduction="sum")
                total += torch.autograd.grad(loss, layer)[0]
            gradients.append(total / len(chosen))
        falling = -(0.7 * gradients[0] + gradients[1])
        scale = torch.cosine_similarity(layer, falling, dim=1).clamp(0.3, 1)
        torch.testing.assert_close(
            shrunk.weights()["head.weight"], (layer * scale[:, None]).detach(), rtol=1e-4, atol=1e-6
        )
        before, after = base.weights, shrunk.weights()
        assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)
        assert 0.3 <= float(scale.detach().min()) < 1

    def test_its_pass_over_all_images_is_charged_as_counted(self, short, updates, base: Base):
        learner, parts = replay(TrialSpec(short, Entrant("one", SHRUNK), 1, 0), updates[1], base, CPU)
        assert parts[0].name == "start"
        assert parts[0].counted == parts[0].charged == len(updates[1].pool) * learner.flops.step
        plain, shrunk = made(short, updates, base, PLAIN), made(short, updates, base, SHRUNK)
        assert shrunk.expected_flops() - plain.expected_flops() == len(updates[1].pool) * learner.flops.step
        shrunk.start()
        batches = sum(-(-int((updates[1].pool.new == new).sum()) // 64) for new in (False, True))
        assert shrunk.ledger.images == len(updates[1].pool)
        assert shrunk.ledger.aux_flops == (10 + 2 * batches) * shrunk.ledger.parameters


@dataclass(frozen=True)
class Weighed:
    """Everything, with a weight of each image."""

    weight: float
    needs_speed: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = True

    def choose(self, pool, epoch, stream):
        return torch.arange(len(pool)), torch.full((len(pool),), self.weight)


class TestLosses:
    def test_a_weight_scales_the_loss(self, short, updates, base: Base):
        one, two = (made(short, updates, base, replace(PLAIN, selection=Weighed(weight))) for weight in (1.0, 2.0))
        plain = made(short, updates, base, PLAIN)
        for learner in (one, two, plain):
            learner.start()
        first = plain.train(1)
        assert one.train(1) == pytest.approx(first, rel=1e-6)
        assert two.train(1) == pytest.approx(2 * first, rel=1e-6)

    def test_the_losses_told_are_those_of_training(self, short, updates, base: Base):
        learner = made(short, updates, base, PRUNED)
        learner.start()
        first = learner.train(1)
        seen = learner._losses.last[~learner._losses.last.isnan()]
        assert len(seen) == 64
        assert float(seen.mean()) == pytest.approx(first, rel=1e-5)

    def test_pruned_epochs_are_shorter_and_the_last_are_whole(self, short, updates, base: Base):
        long = shorten(short, epochs=8)
        learner = made(long, updates, base, PRUNED)
        learner.start()
        lengths, epoch = [], -1
        for _ in range(learner.total_steps):
            learner.train(1)
            if learner._order.epoch != epoch:
                epoch = learner._order.epoch
                lengths.append(learner.epoch_steps)
        assert lengths[0] == lengths[-1] == 16
        assert len(lengths) > 8
        assert all(length < 13 for length in lengths[1:-1])
        assert learner.ledger.images == 64 * learner.total_steps  # a step costs what it did

    def test_recorded_steps_do_the_same_and_never_wait(self, short, updates, base: Base):
        plain, taped = (made(short, updates, base, PRUNED, each) for each in (run_again, record_on_tape))
        for learner in (plain, taped):
            learner.start()
        assert plain.train(20) == taped.train(20)
        assert torch.equal(plain._losses.last.nan_to_num(), taped._losses.last.nan_to_num())
        with Waits() as waits:
            for _ in range(3):
                taped._take_step()
        assert waits.found == []

    @pytest.mark.parametrize("step", [8, 24])  # in the first epoch, and in the second, which losses chose
    def test_an_interrupted_trial_resumes_bit_identically(self, run_trial: RunTrial, base: Base, step: int):
        whole_and_resumed(run_trial, Entrant("mine", PRUNED), base, step)

    @pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
    def test_weights_that_are_none_are_refused(self, short, updates, base: Base, weight: float):
        learner = made(short, updates, base, replace(PLAIN, selection=Weighed(weight)))
        learner.start()
        with pytest.raises(StrategyError, match="Weighed: choose returned weights that are none"):
            learner.train(1)


class TestReducibleLoss:
    def test_no_image_is_scored_by_a_network_that_saw_it(
        self, short, updates, base: Base, monkeypatch: pytest.MonkeyPatch
    ):
        seen: list[set[int]] = [set(), set()]
        scored: list[set[int]] = [set(), set()]
        at = -1

        def fresh(number: int) -> torch.nn.Module:
            nonlocal at
            at = number
            return made(short, updates, base, PLAIN)._model

        images = updates[1].train
        batch = images.batch
        monkeypatch.setattr(
            images, "batch", lambda part, *drawn: (seen[at].update(part.tolist()), batch(part, *drawn))[1]
        )
        monkeypatch.setattr(
            images,
            "plain",
            lambda part: (scored[at].update(part.tolist()), batch(part, *images.augmentation.plain(len(part))))[1],
        )
        ledger = made(short, updates, base, PLAIN).ledger
        found = irreducible_losses(fresh, images, 10, short.training, 2, 0, ledger, "a test")
        assert found.isfinite().all()
        for mine, others in zip(seen, scored, strict=True):
            assert mine
            assert not mine & others
        assert scored[0] | scored[1] == set(range(len(images)))
        assert ledger.images == 64 * holdout_steps(len(images), short.training, 2)

    def test_networks_that_learned_find_most_images_easy_and_a_wrong_label_hard(self, short, updates, base: Base):
        learner = made(short, updates, base, replace(PLAIN, selection=ReducibleLoss(holdout_epochs=4)))
        labels = learner._update.train.labels
        was = labels[0].item()
        labels[0] = (was + 1) % 10
        try:
            learner.start()
        finally:
            labels[0] = was
        found = learner._pool.irreducible_loss
        assert found.median() < 0.5 * math.log(10)
        assert found[0] > found.median() + 1

    def test_its_passes_are_charged_as_counted_and_as_expected(self, short, updates, base: Base):
        # 3 candidates for an image, and 2 batches from each lot.
        selection = ReducibleLoss(keep=1 / 3, candidates=384, holdout_epochs=1)
        strategy = replace(PLAIN, selection=selection)
        _, parts = replay(TrialSpec(short, Entrant("one", strategy), 1, 0), updates[1], base, CPU)
        assert all(part.agrees for part in parts), parts
        learner = made(short, updates, base, strategy)
        learner.start()
        learner.train(learner.total_steps)
        ledger, plain = learner.ledger, made(short, updates, base, PLAIN).expected_flops()
        assert learner.expected_flops() == pytest.approx(ledger.train_flops + ledger.aux_flops, rel=0.01)
        assert learner.expected_flops() > 1.9 * plain

    def test_it_trains_on_what_it_chose_with_the_modes_of_training(self, short, updates, base: Base):
        learner = made(short, updates, base, replace(PLAIN, selection=ReducibleLoss(0.5, 256, 1)))
        learner.start()
        learner.train(3)  # into the second lot
        assert learner._order.epoch == 1
        assert learner._model.training
        chosen = learner._losses.chosen
        assert len(chosen) == 128
        trained = (~learner._losses.last.isnan()).nonzero()[:, 0]
        assert 128 <= len(trained) <= 3 * 64

    @pytest.mark.parametrize("step", [8, 24])
    def test_an_interrupted_trial_resumes_bit_identically(self, run_trial: RunTrial, base: Base, step: int):
        # Five batches from each lot: neither step is at the border of one.
        entrant = Entrant("mine", replace(PLAIN, selection=ReducibleLoss(0.5, 640, 1)))
        whole, again = whole_and_resumed(run_trial, entrant, base, step)
        assert again.record.summary.train_flops == whole.record.summary.train_flops

    def test_networks_that_diverge_say_nothing(self, short, updates, base: Base):
        learner = made(shorten(short, learning_rate=1e30), updates, base, replace(PLAIN, selection=ReducibleLoss()))
        with pytest.raises(StrategyError, match="ReducibleLoss: a network trained on half of the images diverged, exp"):
            learner.start()

    def test_half_the_images_must_be_a_batch(self, short, updates, base: Base):
        large = shorten(short, batch_size=1000)
        learner = made(large, updates, base, replace(PLAIN, selection=ReducibleLoss()))
        with pytest.raises(StrategyError, match="ReducibleLoss: half of 1085 images is no batch of 1000, expected one"):
            learner.start()


class TestBeforeDecay:
    def test_a_scenario_without_it_keeps_its_hash_and_its_base_training(self, short):
        assert "base_decay" not in short.model_dump()["training"]
        assert base_entrant(short) is BASE

    def test_the_base_keeps_its_weights_from_before_its_rate_fell(self, short, run_trial: RunTrial):
        stable = shorten(short, base_decay=0.25)
        entrant = base_entrant(stable)
        assert entrant.strategy.schedule == WarmupStableDecay(0.2, 0.25)
        finished = run_trial(entrant, name="base", update=0, scenario=stable)
        steps = finished.record.total_steps
        kept = finished.before_decay
        # The decay's first step still has the peak.
        first = next(i for i in range(1, steps) if entrant.strategy.schedule.factors(steps)[i] < 1 and i > 0.5 * steps)
        assert first == steps - round(0.25 * steps) + 1
        assert kept is not None
        tracked = {int(value) for name, value in kept.items() if name.endswith("num_batches_tracked")}
        assert tracked == {first}
        assert any(not torch.equal(kept[name], finished.weights[name]) for name in kept)

    def test_a_strategy_starts_from_there(self, short, updates, base: Base):
        before = {name: value + 1 if value.is_floating_point() else value for name, value in base.weights.items()}
        learner = made(short, updates, replace(base, before_decay=before), replace(PLAIN, start=BeforeDecay()))
        learner.start()
        assert all(torch.equal(value, before[name]) for name, value in learner.weights().items())

    def test_it_runs_from_the_scenario_to_the_record(self, tmp_path: Path, short):
        stable = shorten(short, base_decay=0.25, epochs=1).model_copy(update={"name": "stable"})
        places = {"results": tmp_path / "runs", "cache": tmp_path / "cache"}
        plan = bench.plan(stable, ["naive[start=BeforeDecay]"], [0], device="cpu", threads=1, **places)
        bench.run(plan)
        record = read_trial(tmp_path / "runs" / "stable" / "naive[start=BeforeDecay]" / "1" / "seed-0")
        assert record is not None
        assert record.strategy["start"] == {"type": "BeforeDecay"}
        again = bench.plan(
            stable, ["naive[start=BeforeDecay,schedule.warmup=0.3]"], [0], device="cpu", threads=1, **places
        )
        bench.run(again)  # from the cached base

    def test_a_scenario_without_a_stable_phase_refuses_it(self, tmp_path: Path, short):
        with pytest.raises(
            StrategyError, match=r"naive\[start=BeforeDecay\]: BeforeDecay needs .* no training.base_decay. Add"
        ):
            bench.plan(short, ["naive[start=BeforeDecay]"], [0], results=tmp_path, cache=tmp_path / "cache")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("decay", [0.0, 0.6, -1.0])
    def test_a_decay_out_of_range_is_one_line(self, short, decay: float):
        content = short.model_dump(mode="json", exclude_none=True)
        content["training"]["base_decay"] = decay
        with pytest.raises(ScenarioError, match=r"mine.toml: training.base_decay: found"):
            parse_scenario(content, "mine.toml")

    @pytest.mark.parametrize(("field", "value"), [("base_decay", 0.2), ("base_epochs", 2)])
    def test_a_given_old_model_has_none(self, short, field: str, value: float):
        content = short.model_dump(mode="json", exclude_none=True)
        content["training"][field] = value
        content["model"]["checkpoint"] = "old.pt"
        with pytest.raises(ScenarioError, match=rf"training.{field}: found together with model.checkpoint"):
            parse_scenario(content, "mine.toml")


class TestBaseEpochs:
    def test_a_scenario_without_it_keeps_its_hash_and_its_base_training(self, short):
        assert "base_epochs" not in short.model_dump()["training"]
        assert shorten(short, base_epochs=2).base_hash() != short.base_hash()

    @pytest.mark.parametrize(("epochs", "base_epochs"), [(2, 1), (2, 4), (3, 1)])
    def test_the_base_takes_so_many_passes_over_the_old_images(
        self, short, updates, run_trial: RunTrial, epochs: int, base_epochs: int
    ):
        scenario = shorten(short, epochs=epochs, base_epochs=base_epochs)
        finished = run_trial(base_entrant(scenario), name="base", update=0, scenario=scenario)
        whole_batches = len(updates[0].pool) // scenario.training.batch_size
        assert finished.record.total_steps == base_epochs * whole_batches

    def test_a_plan_counts_its_steps_and_scratch_s_stay(self, tmp_path: Path, short):
        def steps(scenario: Scenario) -> tuple[int, int]:
            entrants = [Entrant("one", PLAIN)]
            run = LocalRun(
                scenario,
                entrants,
                [0],
                results=tmp_path,
                cache=tmp_path,
                data_root=tmp_path,
                device="cpu",
                threads=1,
            )
            return run.budget(0), run.budget(1)

        whole, twice = (steps(shorten(short, epochs=2, base_epochs=n)) for n in (None, 4))
        assert twice == (2 * whole[0], whole[1])

    def test_more_than_ten_times_scratch_s_is_one_line(self, short):
        content = short.model_dump(mode="json", exclude_none=True)
        content["training"] |= {"epochs": 2, "base_epochs": 21}
        with pytest.raises(
            ScenarioError, match=r"mine.toml: training.base_epochs: found 21, expected at most 10 times"
        ):
            parse_scenario(content, "mine.toml")
