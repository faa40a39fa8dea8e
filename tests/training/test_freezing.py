from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from bench import (
    ClassMeans,
    FreezeStages,
    Keep,
    L2Init,
    Logistic,
    NoFreezing,
    OldShare,
    OneCycle,
    Ridge,
    ShrinkAndPerturb,
    Strategy,
)
from bench.data.feed.update import build_update
from bench.errors import StrategyError
from bench.records.store import read_evals
from bench.strategies.strategy import Entrant
from bench.training.audit import replay
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from tests.conftest import CPU, RunTrial, shorten
from tests.training.test_trial import KillAfter, Killed, learned

DEEPER = FreezeStages(("stage1", "stage2"), (0.0, 0.6), "kept padded")


def entrant(name: str = "frozen", **aspects: object) -> Entrant:
    strategy = Strategy("Frozen", Keep(), OneCycle(0.1), freezing=DEEPER)
    return Entrant(name, replace(strategy, **aspects))


def learner(short, updates, base: Base, **aspects: object) -> Learner:
    made = Learner(TrialSpec(short, entrant(**aspects), 1, 0), updates[1], base, CPU, compiled=False)
    made.prepare()
    made.start()
    return made


def weights(trained: Learner) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in trained.weights().items()}


def test_frozen_stages_stay_as_they_were_with_their_running_statistics(short, updates, base: Base):
    trained = learner(short, updates, base)
    trained.train(trained.total_steps)
    after = trained.weights()
    changed = {key for key, value in after.items() if not torch.equal(value, base.weights[key])}
    assert not any(key.startswith(("conv1", "bn1", "groups.0")) for key in changed)
    for stage in ("groups.1", "groups.2"):
        mine = {key for key in after if key.startswith(stage) and not key.endswith("num_batches_tracked")}
        assert mine <= changed


def test_a_stage_frozen_later_stops_where_the_phase_begins(short, updates, base: Base):
    trained = learner(short, updates, base)
    trained.train(trained.phases[1].begin)
    before = weights(trained)
    trained.train(3)
    changed = {key for key, value in trained.weights().items() if not torch.equal(value, before[key])}
    assert changed
    assert all(key.startswith(("groups.2", "head")) for key in changed)


def test_evaluating_does_not_thaw_the_statistics(short, updates, base: Base):
    trained = learner(short, updates, base)
    trained.train(2)
    trained.evaluate(with_test=False)
    trained.train(2)
    assert torch.equal(trained.weights()["groups.0.0.bn1.running_mean"], base.weights["groups.0.0.bn1.running_mean"])


def test_thawed_stages_are_trained_again(short, updates, base: Base):
    trained = learner(short, updates, base, freezing=FreezeStages(("body", "nothing"), (0.0, 0.5), "recomputed"))
    trained.train(trained.phases[1].begin)
    before = weights(trained)
    assert torch.equal(before["groups.2.0.conv2.weight"], base.weights["groups.2.0.conv2.weight"])
    assert not torch.equal(before["head.weight"], base.weights["head.weight"])
    trained.train(2)
    assert not torch.equal(trained.weights()["conv1.weight"], base.weights["conv1.weight"])


def test_momentum_of_what_stays_trained_goes_on(short, updates, base: Base):
    trained = learner(short, updates, base)
    trained.train(3)
    before = {name: momentum.clone() for name, momentum in trained.state()["momentum"].items()}
    trained.enter(1)
    after, names = trained.state()["momentum"], trained._step.names[1]
    assert [id(trained._model.get_parameter(name)) for name in names] == [id(p) for p in trained.phases[1].parameters]
    assert all(torch.equal(after[name], before[name]) for name in names)
    assert any(bool(after[name].any()) for name in names)
    trained.enter(0)  # what was frozen in between begins anew
    thawed = [name for name, momentum in trained.state()["momentum"].items() if not momentum.any()]
    assert any(name.startswith("groups.1") for name in thawed)
    assert not any(name.startswith(("groups.2", "head")) for name in thawed)


@pytest.mark.parametrize(
    "aspects",
    [
        {},
        {"freezing": FreezeStages(("stage1", "stage2"), (0.0, 0.6))},
        {"freezing": FreezeStages(("stem",), features="recomputed")},
        {"freezing": FreezeStages(("body", "nothing"), (0.0, 0.3), "recomputed")},
        {"freezing": FreezeStages(("stage2", "stem"), (0.0, 0.5))},
        {"head": Logistic(images=200)},
        {"head": Ridge(images=200), "freezing": FreezeStages(("stage1",), features="recomputed")},
        {"head": ClassMeans(images=200), "regularizer": L2Init(1e-3), "selection": OldShare(0.5)},
    ],
)
def test_what_is_frozen_kept_and_fitted_is_charged_as_counted(aspects, short, updates, base: Base):
    spec = TrialSpec(short, entrant(**aspects), 1, 0)
    played, parts = replay(spec, updates[1], base, CPU)
    assert all(part.agrees for part in parts), parts
    assert [part.name for part in parts if part.name.startswith("phase")] == [
        f"phase {number + 2}, 2 steps" for number in range(len(played.phases) - 1)
    ]
    steps = [part for part in parts if part.name.startswith(("epoch", "phase"))]
    assert all(part.counted == part.charged for part in steps)


def test_the_ledger_is_the_sum_of_its_phases_and_of_features_computed_once(run_trial: RunTrial, base: Base, updates):
    # 32 steps of 64 images; stem and first stage frozen for 19 of them, then the second stage as well.
    record = run_trial(entrant(), base=base).record
    first, second = record.phases
    assert (first.begin, first.frozen, second.begin, second.frozen) == (0, "stage1", 19, "stage2")
    assert (first.features, second.features) == ("kept padded", "kept padded")
    steps = 64 * (19 * first.step + 13 * second.step)
    assert record.summary.train_flops == steps + record.summary.feature_flops
    # Padded digits are 10 x 10 instead of 8 x 8; without flips there is one variant of each of the pool's images.
    pool = len(updates[1].pool)
    stem_and_first = 2 * (9 * 16 + 2 * 9 * 16 * 16) * 100
    assert record.summary.feature_flops <= pool * stem_and_first + pool * 2 * (144 * 32 + 288 * 32 + 16 * 32) * 25
    assert record.summary.feature_flops > 0.9 * pool * stem_and_first
    assert record.summary.feature_bytes == 2 * pool * (16 * 10 * 10 + 32 * 5 * 5)
    # Optimizer and regularizer work on what is trained: 8 FLOPs a parameter and step.
    assert record.summary.aux_flops == 8 * (19 * first.parameters + 13 * second.parameters)


def test_what_a_trial_is_expected_to_cost_is_nearly_what_it_costs(short, updates, base: Base):
    for aspects in (
        {},
        {"head": Logistic(images=900)},  # 3 % of it
        {"head": Ridge(images=200)},
        {"freezing": FreezeStages(("stage1",), features="recomputed")},
    ):
        made = learner(short, updates, base, **aspects)
        made.train(made.total_steps)
        whole = made.total_steps * 64 * made.flops.step
        assert made.ledger.train_flops / whole == pytest.approx(made.expected_share(), rel=0.01)


@pytest.mark.parametrize("step", [8, 16, 24])
def test_an_interrupted_trial_with_kept_features_resumes_bit_identically(
    run_trial: RunTrial, base: Base, tmp_path: Path, step: int
):
    mine = entrant(head=Logistic(images=100), regularizer=L2Init(1e-3))
    whole = run_trial(mine, name="whole", base=base)
    with pytest.raises(Killed):
        run_trial(mine, name="cut", base=base, observer=KillAfter(step))
    resumed = run_trial(mine, name="cut", base=base)
    assert resumed.record.summary.weights_sha256 == whole.record.summary.weights_sha256
    assert resumed.record.summary.train_flops == whole.record.summary.train_flops
    assert resumed.record.summary.feature_flops == whole.record.summary.feature_flops
    assert learned(tmp_path / "cut") == learned(tmp_path / "whole")


def test_kept_and_recomputed_features_learn_alike(run_trial: RunTrial, base: Base, tmp_path: Path):
    for features in ("kept", "recomputed"):
        run_trial(entrant(features, freezing=FreezeStages(("stage1",), features=features)), name=features, base=base)
    kept, recomputed = (read_evals(tmp_path / name)[-1] for name in ("kept", "recomputed"))
    assert kept.train_flops < recomputed.train_flops
    assert kept.validation_accuracy == pytest.approx(recomputed.validation_accuracy, abs=0.1)


# Making code takes most of a minute for three phases, and is tried on the whole network: "eager" is torch.compile without it.
@pytest.mark.parametrize(
    ("freezing", "backend"), [(NoFreezing(), "inductor"), (DEEPER, "eager")], ids=["whole", "frozen"]
)
def test_compiled_steps_are_the_same_but_for_rounding_and_nothing_compiles_on_the_clock_not_even_when_a_phase_begins(
    short, updates, base: Base, freezing, backend: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    spec = TrialSpec(short, entrant(freezing=freezing), 1, 0)
    made, plain = (Learner(spec, updates[1], base, CPU, compiled=compiled) for compiled in (True, False))
    made.prepare()
    for learner in (made, plain):
        learner.start()
        learner.train(3)
    for key, value in plain.weights().items():
        assert torch.allclose(value, made.weights()[key], rtol=1e-3, atol=1e-4), key
    made.train(made.total_steps - 3)  # raises TrialError if a graph is compiled
    assert made.ledger.steps == made.total_steps


def test_a_fitted_head_knows_the_new_classes_before_the_first_step(short, updates, base: Base):
    accuracies = []
    for aspects in ({}, {"head": Logistic(images=1000, rows="new")}):
        made = learner(short, updates, base, **aspects)
        accuracies.append(made.evaluate(with_test=False)["validation_accuracy_new"])
    assert accuracies[0] < 0.5 < accuracies[1]


def test_images_cropped_at_random_scales_have_no_features_to_keep(short, digits, split, base: Base):
    scaled = shorten(short, crop_scale=0.5, crop_padding=0)
    update = build_update(scaled, digits, split, 1, CPU)
    made = Learner(TrialSpec(scaled, entrant(), 1, 0), update, base, CPU, compiled=False)
    assert [phase.kept for phase in made.phases] == [None, None]
    made.start()
    made.train(2)
    assert made.feature_bytes == 0


@pytest.mark.parametrize(
    ("aspects", "said"),
    [
        ({"freezing": FreezeStages(("layer1",))}, "no stage 'layer1' before its head"),
        ({"freezing": FreezeStages(("body",))}, r"features of shape \(64,\), from which no crop can be cut"),
    ],
)
def test_a_plan_that_does_not_fit_the_network_is_refused(aspects, said: str, short, updates, base: Base):
    with pytest.raises(StrategyError, match=said):
        Learner(TrialSpec(short, entrant(**aspects), 1, 0), updates[1], base, CPU, compiled=False)


def test_features_without_places_are_not_kept_where_crops_are_not_shifted_either(short, digits, split, base: Base):
    still = shorten(short, crop_padding=0)
    update = build_update(still, digits, split, 1, CPU)
    with pytest.raises(StrategyError, match="from which no crop can be cut"):
        Learner(TrialSpec(still, entrant(freezing=FreezeStages(("body",))), 1, 0), update, base, CPU, compiled=False)


def test_perturbed_weights_may_be_frozen(short, updates, base: Base):
    trained = learner(short, updates, base, start=ShrinkAndPerturb(0.5, 0.1))
    trained.train(2)
    mixed = trained.weights()["conv1.weight"]
    assert not torch.equal(mixed, base.weights["conv1.weight"])


def test_the_record_of_an_unfrozen_trial_has_no_phases(run_trial: RunTrial, base: Base, tmp_path: Path):
    plain = Entrant("plain", Strategy("Plain", Keep(), OneCycle(0.1)))
    run_trial(plain, base=base)
    record = json.loads((tmp_path / "trial" / "trial.json").read_text())
    assert record["phases"] == []
    assert (record["summary"]["feature_flops"], record["summary"]["head_flops"]) == (0, 0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_kept_features_and_a_fitted_head_on_cuda_are_charged_as_on_the_cpu(short, digits, split, base: Base):
    device = torch.device("cuda")
    spec = TrialSpec(short, entrant(head=Logistic(images=200)), 1, 0)
    played, parts = replay(spec, build_update(short, digits, split, 1, device), base, device)
    assert all(part.agrees for part in parts), parts
    on_the_cpu, there = replay(spec, build_update(short, digits, split, 1, CPU), base, CPU)
    assert all(part.agrees for part in there), there
    # Here the features of all batches to come in an epoch are computed at once, so this replay of few batches has more of them.
    ours, theirs = played.ledger.state(), on_the_cpu.ledger.state()
    assert ours["feature_flops"] > theirs["feature_flops"] > 0
    for each in (ours, theirs):  # how many iterations a head's fit takes depends on rounding
        each["train_flops"] -= each.pop("feature_flops") + each.pop("head_flops")
    assert ours == theirs
    assert played.feature_bytes > 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_whole_trial_on_cuda_costs_what_it_costs_on_the_cpu(short, digits, split, base: Base):
    spec, ledgers = TrialSpec(short, entrant(), 1, 0), []
    for device in (CPU, torch.device("cuda")):
        trained = Learner(spec, build_update(short, digits, split, 1, device), base, device, compiled=False)
        trained.prepare()
        trained.start()
        trained.train(trained.total_steps)
        ledgers.append(trained.ledger.state())
    assert ledgers[0] == ledgers[1]
