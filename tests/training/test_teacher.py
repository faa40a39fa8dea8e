"""The old model as a teacher, and as a filter: by the formula, charged, and the same after an interruption."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from bench import Keep, NoTeacher, OldModelFilter, OldTeacher, OneCycle, Pool, Strategy
from bench.errors import StrategyError
from bench.strategies.strategy import Entrant
from bench.strategies.variants import load_variant
from bench.training.audit import replay
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from bench.training.teaching import OldPredictions
from tests.conftest import CPU, RunTrial
from tests.training.tape import record_on_tape, run_again
from tests.training.test_average import Interrupt

PLAIN = Strategy("Plain", Keep(), OneCycle(0.1))
TAUGHT = replace(PLAIN, teacher=OldTeacher(strength=2.0, until=0.5), selection=OldModelFilter(0.25))
POOL = Pool(torch.tensor([0, 1, 0, 1, 2]), torch.tensor([False, False, False, False, True]), None)


def made(short, updates, base: Base, strategy: Strategy, recorder=None) -> Learner:
    learner = Learner(TrialSpec(short, Entrant("one", strategy), 1, 0), updates[1], base, CPU, False, None, recorder)
    learner.prepare()
    learner.start()
    return learner


def test_the_teachers_loss_by_hand():
    old = OldPredictions(POOL, 2, 2.0, CPU)
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    old.restore({"logits": logits})
    old.strength.fill_(3.0)
    found = old.loss(torch.tensor([[0.0, 0.0, 9.0], [5.0, 1.0, 9.0]]), torch.tensor([0, 4]))
    # Divided by 2, the teacher has (0.7311, 0.2689), the network (0.5, 0.5); the second image is new.
    p = torch.sigmoid(torch.tensor(1.0)).item()
    divergence = p * torch.log(torch.tensor(2 * p)) + (1 - p) * torch.log(torch.tensor(2 * (1 - p)))
    assert float(found) == pytest.approx(3 * 4 * float(divergence) / 2, rel=1e-5)
    losses = old.losses()
    assert losses[:4].tolist() == pytest.approx([0.126928, 0.126928, 0.693147, 0.693147], rel=1e-4)
    assert losses[4].isnan()


def test_the_filter_by_hand():
    pool = replace(POOL, old_loss=torch.tensor([0.3, 0.1, 0.9, 0.5, float("nan")]))
    assert sorted(OldModelFilter(0.25, 0.25).choose(pool, 0, lambda *names: torch.Generator()).tolist()) == [0, 3, 4]
    assert sorted(OldModelFilter(0.0, 0.5).choose(pool, 0, lambda *names: torch.Generator()).tolist()) == [0, 1, 4]


def test_the_teacher_teaches_in_the_first_part_alone():
    assert OldTeacher(2.0, until=0.3).strengths(10) == [2.0] * 3 + [0.0] * 7
    assert not any(NoTeacher().strengths(10))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OldTeacher(strength=0.0), r"OldTeacher: strength 0.0, .* expected above 0"),
        (lambda: OldTeacher(temperature=-1.0), "OldTeacher: .*temperature -1.0"),
        (lambda: OldTeacher(until=1.5), "OldTeacher: .*until 1.5"),
        (lambda: OldModelFilter(0.6, 0.4), "OldModelFilter: drop_lowest [+] drop_highest leave no old image"),
        (lambda: OldModelFilter(-0.1), "OldModelFilter: drop_lowest -0.1, expected in 0..1"),
    ],
)
def test_bad_values_are_refused(make, said: str):
    with pytest.raises(StrategyError, match=said):
        make()


def test_none_is_neither_described_nor_hashed_and_one_is_set_on_the_command_line():
    plain = Entrant("mine", PLAIN)
    assert "teacher" not in plain.describe()
    assert Entrant("mine", replace(PLAIN, teacher=OldTeacher())).hash() != plain.hash()
    assert not PLAIN.needs_predictions
    entrant = load_variant("naive[teacher=OldTeacher(until=0.2),selection=OldModelFilter]")
    assert entrant.strategy.teacher == OldTeacher(until=0.2)
    assert entrant.strategy.needs_predictions
    assert load_variant("scratch[teacher=OldTeacher]").strategy.needs_base


def test_the_pass_over_old_images_is_charged_as_counted_and_changes_no_weight(short, updates, base: Base):
    old = int((~updates[1].pool.new).sum())
    learner, parts = replay(TrialSpec(short, Entrant("one", TAUGHT), 1, 0), updates[1], base, CPU)
    assert parts[0].counted == parts[0].charged == old * learner.flops.forward
    assert all(part.agrees for part in parts)
    plain, taught = made(short, updates, base, PLAIN), made(short, updates, base, TAUGHT)
    assert taught.expected_flops() - plain.expected_flops() == old * learner.flops.forward
    assert all(torch.equal(value, plain.weights()[name]) for name, value in taught.weights().items())


def test_it_changes_training_until_it_ends(short, updates, base: Base):
    short_lived = replace(PLAIN, teacher=OldTeacher(until=1 / 32))
    plain, taught = made(short, updates, base, PLAIN), made(short, updates, base, short_lived)
    assert plain.train(1) == taught.train(1)  # the loss that is reported is the labels' alone
    assert not torch.equal(plain.weights()["head.weight"], taught.weights()["head.weight"])
    taught._model.load_state_dict(plain._model.state_dict())
    for name, momentum in taught._step.momentum.items():
        momentum.copy_(plain._step.momentum[name])
    assert plain.train(2) == taught.train(2)
    assert torch.equal(plain.weights()["head.weight"], taught.weights()["head.weight"])


def test_recorded_steps_do_the_same(short, updates, base: Base):
    plain, taped = (made(short, updates, base, TAUGHT, each) for each in (run_again, record_on_tape))
    assert plain.train(20) == taped.train(20)  # past the end of the teaching


def test_an_interrupted_trial_resumes_bit_identically(run_trial: RunTrial, base: Base):
    entrant = Entrant("mine", TAUGHT)
    whole = run_trial(entrant, base=base, name="whole")
    with pytest.raises(KeyboardInterrupt):
        run_trial(entrant, base=base, name="cut", observer=Interrupt(8))
    again = run_trial(entrant, base=base, name="cut")
    assert again.record.summary.weights_sha256 == whole.record.summary.weights_sha256


@dataclass(frozen=True)
class Odd:
    temperature: float = 1.0

    def strengths(self, steps: int) -> list[float]:
        return [-1.0] * steps


def test_strengths_that_are_none_are_refused(short, updates, base: Base):
    with pytest.raises(StrategyError, match="Odd: strengths returned 32 numbers for 32 steps, expected"):
        made(short, updates, base, replace(PLAIN, teacher=Odd()))
