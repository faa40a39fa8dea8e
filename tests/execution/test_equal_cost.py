from __future__ import annotations

from pathlib import Path

import pytest

from bench.catalog import find_scenario, shipped_folder
from bench.errors import StrategyError
from bench.execution.equal_cost import Expectations
from bench.execution.local import LocalRun
from bench.records.store import read_trial, trial_folder
from bench.scenario import load_scenario
from bench.strategies.freezing import FreezeStages
from bench.strategies.head import Ridge
from bench.strategies.regularizer import L2Init
from bench.strategies.strategy import Entrant, load_strategy
from bench.strategies.variants import vary
from tests.conftest import shorten
from tests.execution.test_chain import Log

NAIVE = load_strategy(shipped_folder("baselines") / "naive.py")
FROZEN = {"freezing": FreezeStages(("stage1",)), "head": Ridge(images=300), "regularizer": L2Init(1e-4)}


@pytest.fixture
def make(tmp_path: Path):
    def build(name: str, entrants: list[Entrant], **training: object) -> LocalRun:
        folders = {"data_root": tmp_path, "results": tmp_path / "results", "cache": tmp_path / "cache"}
        scenario = shorten(load_scenario(find_scenario(name)), points=2, **training)
        return LocalRun(scenario, entrants, (0,), device="cpu", **folders)

    return build


def test_variants_at_equal_expected_cost_are_measured_to_cost_the_same(make, tmp_path: Path):
    # 96 steps at horizon 1, so that half a step is less than 1 % of a trial.
    recipe = vary(NAIVE, {**FROZEN, "horizon": 0.9})
    variants = [vary(recipe, {name: getattr(NAIVE.strategy, name)}) for name in FROZEN]
    costs = Expectations(make("digits-7-3", [recipe], epochs=6))
    expected = [costs.of(recipe), *(costs.at_equal_cost(each, costs.of(recipe).flops) for each in variants)]
    assert not (tmp_path / "results").exists()
    make("digits-7-3", [each.entrant for each in expected], epochs=6).run(Log())
    measured = []
    for each in expected:
        name, horizon = each.entrant.name, each.entrant.strategy.horizon
        summary = read_trial(trial_folder(tmp_path / "results", "short", name, horizon, 0)).summary
        measured.append(summary.train_flops + summary.aux_flops)
        assert summary.steps == each.steps
        assert each.flops == pytest.approx(measured[-1], rel=0.01)
    assert measured == pytest.approx([measured[0]] * len(measured), rel=0.02)
    # Nothing frozen: a whole step costs so much more that fewer fit in. No regularizer: next to nothing, so the horizon stays.
    assert [each.entrant.strategy.horizon for each in expected][3] == 0.9
    assert expected[1].steps < 0.7 * expected[0].steps


def test_the_updates_of_a_chain_cost_the_same_together(make):
    recipe = vary(NAIVE, {**FROZEN, "horizon": 0.9})
    costs = Expectations(make("digits-4-2-2-2", [recipe], epochs=8))
    whole = costs.of(recipe)
    found = costs.at_equal_cost(NAIVE, whole.flops)
    assert found.flops == pytest.approx(whole.flops, rel=0.02)
    assert whole.steps > 2 * costs._run.budget(1)


def test_a_horizon_out_of_range_is_refused(make):
    costs = Expectations(make("digits-7-3", [NAIVE]))
    with pytest.raises(StrategyError, match="expected above 0 and at most 10"):
        costs.at_equal_cost(NAIVE, 20 * costs.of(NAIVE).flops)
