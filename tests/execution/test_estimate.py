from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.catalog import find_scenario, shipped_folder
from bench.execution.estimate import estimate
from bench.execution.local import LocalRun
from bench.records.store import read_trial, trial_folder
from bench.scenario import load_scenario
from bench.strategies.strategy import load_strategy
from tests.conftest import shorten
from tests.execution.test_chain import Log

BASELINES = [load_strategy(shipped_folder("baselines") / f"{name}.py") for name in ("scratch", "naive", "four-aspects")]


@pytest.fixture
def make(tmp_path: Path):
    def build(name: str, seeds: tuple[int, ...]) -> LocalRun:
        folders = {"data_root": tmp_path, "results": tmp_path / "results", "cache": tmp_path / "cache"}
        scenario = shorten(load_scenario(find_scenario(name)), points=2)
        return LocalRun(scenario, BASELINES, seeds, device="cpu", **folders)

    return build


def test_a_plan_predicts_what_a_run_costs(make, tmp_path: Path):
    before = estimate(make("digits-7-3", (0,)))
    assert [(row.strategy, row.update, row.asked, row.due) for row in before.estimates] == [
        ("base model", 0, 1, 1),
        ("scratch", 1, 1, 1),
        ("naive", 1, 1, 1),
        ("four-aspects", 1, 1, 1),
    ]
    assert not (tmp_path / "results").exists()
    make("digits-7-3", (0,)).run(Log())
    for row, entrant in zip(before.estimates[1:], BASELINES, strict=True):
        record = read_trial(trial_folder(tmp_path / "results", "short", entrant.name, entrant.strategy.horizon, 0))
        assert (row.steps, row.images) == (record.summary.steps, record.summary.images)
        start = 3 * record.parameters if entrant.name == "four-aspects" else 0  # shrink and perturb, once
        assert row.flops == record.summary.train_flops + record.summary.aux_flops - start
        assert row.seconds > 0
        assert record.base is None or before.estimates[0].images == record.base.images
    after = estimate(make("digits-7-3", (0, 1)))
    assert [(row.asked, row.due) for row in after.estimates] == [(2, 1)] * 4


def test_side_by_side_trials_take_a_share_of_the_time_but_at_least_the_longest_chain(make):
    before = torch.get_num_threads()
    run = make("digits-4-2-2-2", (0, 1))
    two, many = estimate(run, 2), estimate(run, 100)
    assert torch.get_num_threads() == before
    assert (two.jobs, many.jobs) == (2, 100)
    assert two.seconds == pytest.approx(sum(row.due * row.seconds for row in two.estimates) / 2)
    chain = sum(row.seconds for row in many.estimates if row.strategy in ("base model", "naive"))
    assert many.seconds == pytest.approx(chain)


def test_a_chain_is_planned_update_by_update(make):
    rows = estimate(make("digits-4-2-2-2", (0, 1))).estimates
    assert [(row.strategy, row.update) for row in rows[:4]] == [("base model", 0), *((e.name, 1) for e in BASELINES)]
    assert len(rows) == 1 + 3 * 3
    scratch = [row.steps for row in rows if row.strategy == "scratch"]
    assert scratch == sorted(scratch)
    assert all(row.due == 2 for row in rows)
