"""A training that diverged is no result: it ends, its record says where, and it sets no target."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.analysis.guards.guard import untrained
from bench.analysis.guards.rules import GUARDS
from bench.analysis.ranking.leaderboard import leaderboard
from bench.errors import NothingToCompareError, TrialError
from bench.execution.listener import Silent
from bench.execution.local import LocalRun
from bench.records.collect import collect
from bench.records.rules import check_results
from bench.records.store import read_evals, read_trial, trial_folder
from bench.scenario import Scenario
from bench.strategies.schedule import OneCycle
from bench.strategies.start import Fresh
from bench.strategies.strategy import Entrant, Strategy
from bench.training.learner import Learner
from tests.conftest import RunTrial, shorten
from tests.records.made_up import change


class Loud(OneCycle):
    """A schedule whose learning rate is far too high."""

    def factors(self, steps):
        return [1e20] * steps


SCRATCH = Entrant("scratch", Strategy(title="Scratch", start=Fresh(), schedule=OneCycle(warmup=0.2)))
LOUD = Entrant("loud", Strategy(title="Loud", start=Fresh(), schedule=Loud(warmup=0.2)))


def run(scenario: Scenario, entrants: list[Entrant], tmp_path: Path, seeds=(0,)) -> LocalRun:
    folders = {"data_root": tmp_path, "results": tmp_path / "results", "cache": tmp_path / "cache"}
    made = LocalRun(scenario, entrants, seeds, device="cpu", **folders)
    made.run(Silent())
    return made


def test_a_loss_that_is_not_finite_ends_the_trial_and_the_record_says_where(run_trial: RunTrial, tmp_path: Path):
    record = run_trial(LOUD, name="loud").record
    rows = read_evals(tmp_path / "loud")
    assert record == read_trial(tmp_path / "loud")
    assert (record.status, record.summary) == ("diverged", None)
    assert (record.diverged.step, record.diverged.loss) == (8, "nan")
    assert [row.step for row in rows] == [8]  # of 32
    assert record.reason == "diverged at step 8 with loss nan: not a finite loss"


def test_a_weight_that_is_not_finite_ends_the_trial(run_trial: RunTrial, monkeypatch: pytest.MonkeyPatch):
    train = Learner.train

    def spoil(self, steps):
        loss = train(self, steps)
        if self.ledger.steps == 16:
            with torch.no_grad():
                next(self._model.parameters()).view(-1)[0] = torch.inf
        return loss

    monkeypatch.setattr(Learner, "train", spoil)
    record = run_trial(SCRATCH).record
    assert (record.status, record.diverged.step, record.diverged.why) == ("diverged", 16, "a weight is not finite")


def test_a_loss_that_ends_above_where_it_began_and_above_guessing_is_no_training(
    run_trial: RunTrial, monkeypatch: pytest.MonkeyPatch
):
    train = Learner.train
    monkeypatch.setattr(Learner, "train", lambda self, steps: train(self, steps) * 0 + steps * self.ledger.steps)
    record = run_trial(SCRATCH).record
    assert (record.status, record.diverged.step, record.diverged.loss) == ("diverged", 32, "32")
    assert record.reason == "diverged at step 32 with loss 32: it began at 8, and guessing has 2.30259"


def test_a_loss_near_guessing_is_no_divergence(run_trial: RunTrial, monkeypatch: pytest.MonkeyPatch):
    """Three steps of a warm-up, or none that change anything, end above where they began by the noise of their batches."""
    train = Learner.train  # from 0.8 to 3.2, where guessing has 2.303 and 1.5 times that is 3.454
    monkeypatch.setattr(Learner, "train", lambda self, steps: train(self, steps) * 0 + steps * self.ledger.steps / 10)
    assert run_trial(SCRATCH).record.status == "finished"


def test_a_loss_that_rises_below_guessing_is_no_divergence(run_trial: RunTrial, monkeypatch: pytest.MonkeyPatch):
    train = Learner.train
    monkeypatch.setattr(Learner, "train", lambda self, steps: train(self, steps) * 0 + steps * self.ledger.steps / 100)
    assert run_trial(SCRATCH).record.status == "finished"


def test_a_diverged_strategy_is_a_miss_and_the_others_go_on(short: Scenario, tmp_path: Path):
    again = run(short, [LOUD, SCRATCH], tmp_path, seeds=(0, 1)).look()
    assert [trial.due for trial in again] == [False] * 4  # it would diverge again
    records = collect(tmp_path / "results")
    rows = leaderboard(records.trials, records.evals).set_index("strategy")
    assert (rows.loc["loud", "n"], rows.loc["loud", "reached"]) == (2, 0)
    assert rows.loc["loud", "relation_flops"] == "<"
    assert rows.loc["scratch", "value_flops"] == 1
    steps = records.evals[(records.evals["strategy"] == "loud") & (records.evals["seed"] == 0)]
    assert steps["step"].tolist() == [8, 16, 24, 32]
    assert steps["validation_accuracy"].isna().all()
    assert steps["train_flops"].nunique() == 1


def test_a_scratch_that_diverged_sets_no_target_and_the_guard_says_why(short: Scenario, tmp_path: Path):
    hot = shorten(short, learning_rate=1e20)
    run(hot, [SCRATCH, Entrant("naive", SCRATCH.strategy)], tmp_path)
    records = collect(tmp_path / "results")
    why = "scratch seed 0 diverged at step 8 with loss nan: not a finite loss, so there is no target"
    with pytest.raises(NothingToCompareError, match=why):
        leaderboard(records.trials, records.evals)
    found = [each for each in check_results(tmp_path / "results", GUARDS).violations if each.rule == "learned scratch"]
    assert [each.found for each in found] == ["seed 0 diverged at step 8 with loss nan: not a finite loss"]


def test_a_scratch_at_chance_sets_no_target_and_the_guard_says_why(short: Scenario, tmp_path: Path):
    run(short, [SCRATCH], tmp_path)
    folder = trial_folder(tmp_path / "results", "short", "scratch", 1.0, 0)
    assert 0.1 <= json.loads((folder / "trial.json").read_text())["chance"] < 0.12  # ten classes of about equal size
    change(folder, lambda record: record["summary"].update(validation_accuracy=record["chance"]))
    records = collect(tmp_path / "results")
    with pytest.raises(NothingToCompareError, match=r"scratch ends at 0.1.*not above guessing .*so there is no target"):
        leaderboard(records.trials, records.evals)
    found = [each.rule for each in check_results(tmp_path / "results", GUARDS).violations]
    assert "learned scratch" in found


def test_guessing_and_its_noise_by_hand():
    # A guess is right with 0.5 on 100 images: two standard deviations are 2 * sqrt(0.25 / 100) = 0.1.
    assert untrained([0.599], [0.5], [100]) == "ends at 0.5990, not above guessing (0.5000) and its noise (0.1000)"
    assert untrained([0.601], [0.5], [100]) is None
    assert untrained([0.3, 0.9], [0.5], [100])  # 0.6 on average, but the seeds differ by more


def test_a_base_model_that_diverged_is_named_and_is_not_trained_again(short: Scenario, tmp_path: Path, monkeypatch):
    from bench.catalog import shipped_folder
    from bench.strategies.strategy import load_strategy
    from bench.training.trial import Trial

    naive = load_strategy(shipped_folder("baselines") / "naive.py")
    hot = shorten(short, learning_rate=1e20)
    with pytest.raises(TrialError, match=r"base model of seed 0 diverged at step \d+ with loss nan.*learning_rate"):
        run(hot, [naive], tmp_path)
    monkeypatch.delattr(Trial, "run")
    with pytest.raises(TrialError, match=r"base model of seed 0 diverged at step"):
        run(hot, [naive], tmp_path)
