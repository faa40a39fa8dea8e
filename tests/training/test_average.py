"""The weights that are evaluated and left behind are the averaged ones, and averaging is charged and changes nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from bench import Keep, NoAveraging, OneCycle, Strategy, TailDecay, TailMean
from bench.errors import StrategyError
from bench.records.schema import EvalRow
from bench.records.store import read_evals
from bench.strategies.strategy import Entrant, load_strategy
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from bench.training.trial import Finished
from tests.conftest import CPU, RunTrial
from tests.training.tape import record_on_tape

PLAIN = Strategy("Plain", Keep(), OneCycle(0.1))
MEAN = replace(PLAIN, averaging=TailMean(0.25))  # the last 8 of 32 steps


def made(short, updates, base: Base, strategy: Strategy = MEAN, recorder=None) -> Learner:
    learner = Learner(TrialSpec(short, Entrant("one", strategy), 1, 0), updates[1], base, CPU, False, None, recorder)
    learner.prepare()
    learner.start()
    return learner


def test_what_is_left_is_the_mean_of_the_tail_and_training_does_not_see_it(short, updates, base: Base):
    plain, mean = made(short, updates, base, PLAIN), made(short, updates, base)
    kept: list[dict[str, torch.Tensor]] = []
    for step in range(32):
        assert plain.train(1) == mean.train(1)
        if step >= 24:
            kept.append(plain.weights())
    for name, found in mean.weights().items():
        expected = torch.stack([each[name] for each in kept])
        if found.is_floating_point():  # the statistics of batch norm, too
            torch.testing.assert_close(found, expected.mean(0), msg=name)
        else:
            assert found == expected[-1], name
    assert any("running_mean" in name for name in kept[0])
    assert mean.weights().keys() == plain.weights().keys()
    for name, value in plain.state()["model"].items():  # what the optimizer works on
        assert torch.equal(value, mean.state()["model"][name]), name


def test_the_average_is_evaluated_and_evaluating_changes_nothing(short, updates, base: Base):
    first, second, plain = made(short, updates, base), made(short, updates, base), made(short, updates, base, PLAIN)
    for learner in (first, second, plain):
        learner.train(30)
    found = first.evaluate(with_test=True)
    judge = made(short, updates, base, PLAIN)
    judge._model.load_state_dict(first.weights())
    assert judge.evaluate(with_test=True) == found
    assert found != plain.evaluate(with_test=True)
    assert first.train(2) == second.train(2)
    assert all(torch.equal(value, second.weights()[name]) for name, value in first.weights().items())


def test_each_averaged_step_is_charged_three_flops_a_number(short, updates, base: Base):
    plain, mean = made(short, updates, base, PLAIN), made(short, updates, base)
    for learner in (plain, mean):
        learner.train(32)
    numbers = sum(value.numel() for value in plain.weights().values() if value.is_floating_point())
    assert mean.ledger.aux_flops - plain.ledger.aux_flops == 8 * 3 * numbers
    assert mean.expected_flops() - plain.expected_flops() == 8 * 3 * numbers
    assert mean.ledger.train_flops == plain.ledger.train_flops


def test_an_average_follows_recorded_steps(short, updates, base: Base):
    eager, taped = (made(short, updates, base, MEAN, recorder) for recorder in (None, record_on_tape))
    for learner in (eager, taped):
        learner.train(32)
    for name, value in eager.weights().items():
        torch.testing.assert_close(value, taped.weights()[name], rtol=1e-3, atol=1e-4)


class Interrupt:
    def __init__(self, step: int) -> None:
        self.step = step

    def began(self, total_steps: int, done_steps: int) -> None: ...

    def evaluated(self, row: EvalRow) -> None:
        if row.step == self.step:
            raise KeyboardInterrupt


def whole_and_resumed(run_trial: RunTrial, entrant: Entrant, base: Base, step: int) -> tuple[Finished, Finished]:
    """Run a trial, "whole", and the same again, "cut", interrupted at a step; they must end with the same weights."""
    whole = run_trial(entrant, base=base, name="whole")
    with pytest.raises(KeyboardInterrupt):
        run_trial(entrant, base=base, name="cut", observer=Interrupt(step))
    again = run_trial(entrant, base=base, name="cut")
    assert again.record.summary is not None
    assert whole.record.summary is not None
    assert again.record.summary.sittings == 2
    assert again.record.summary.weights_sha256 == whole.record.summary.weights_sha256
    return whole, again


@pytest.mark.parametrize("step", [16, 24])
def test_an_interrupted_trial_resumes_its_average_bit_identically(
    run_trial: RunTrial, base: Base, tmp_path: Path, step: int
):
    entrant = Entrant("mine", replace(PLAIN, averaging=TailDecay(0.9, 0.5)))
    whole_and_resumed(run_trial, entrant, base, step)
    rows = [[row.validation_accuracy for row in read_evals(tmp_path / name)] for name in ("whole", "cut")]
    assert rows[0] == rows[1]


@dataclass(frozen=True)
class Odd:
    numbers: tuple[float, ...]

    def rates(self, steps: int) -> list[float]:
        return list(self.numbers) or [0.5] * (steps - 1)


@pytest.mark.parametrize("numbers", [(), (0.0,) * 31 + (1.5,), (1.0, 0.0) + (0.5,) * 30, (float("nan"),) * 32])
def test_rates_that_are_none_are_refused(short, updates, base: Base, numbers):
    with pytest.raises(StrategyError, match=r"Odd: rates returned .* expected one in 0..1 for each step"):
        made(short, updates, base, replace(PLAIN, averaging=Odd(numbers)))


def test_a_strategy_file_may_bring_its_own(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom bench import Keep, OneCycle, Strategy\n"
        "@dataclass(frozen=True)\nclass Last:\n    def rates(self, steps):\n        return [0.0] * (steps - 1) + [1.0]\n"
        "strategy = Strategy('Mine', Keep(), OneCycle(0.1), averaging=Last())\n"
    )
    entrant = load_strategy(tmp_path / "mine.py")
    assert entrant.describe()["averaging"] == {"type": "Last"}
    assert entrant.source is not None
    assert entrant.strategy.averaging != NoAveraging()
