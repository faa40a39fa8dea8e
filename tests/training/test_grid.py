from __future__ import annotations

import pytest

from bench.catalog import find_scenario, scenario_names
from bench.errors import ScenarioError
from bench.scenario import load_scenario
from bench.training.grid import evaluation_grid, scratch_steps
from tests.conftest import shorten

SHORT = shorten(load_scenario(find_scenario("digits-7-3")), points=4)  # test at every second point


def test_the_grid_is_even_over_scratchs_budget_and_ends_with_the_trial():
    grid = evaluation_grid(SHORT, budget=100, total=60)
    assert grid.steps == (25, 50, 60)
    assert grid.test == {50, 60}


def test_every_horizon_shares_the_grid():
    whole = set(evaluation_grid(SHORT, 100, 100).steps)
    longer = evaluation_grid(SHORT, 100, 150)
    assert set(evaluation_grid(SHORT, 100, 60).steps) - {60} < whole
    assert longer.steps == (25, 50, 75, 100, 125, 150)


def test_a_budget_smaller_than_its_points_is_evaluated_at_each_step():
    assert evaluation_grid(SHORT, 3, 3).steps == (1, 2, 3)


def test_scratch_trains_whole_batches_only():
    assert scratch_steps(SHORT, 1000) == 2 * 15  # 1000 // 64


def test_images_that_do_not_fill_a_batch_are_refused():
    with pytest.raises(ScenarioError, match="batch_size: found 64, but 63 training images do not fill"):
        scratch_steps(SHORT, 63)


@pytest.mark.parametrize("name", scenario_names())
def test_evaluating_a_shipped_scenario_costs_at_most_a_tenth_of_a_trial(name: str):
    scenario = load_scenario(find_scenario(name))
    # Image counts as published for each data set; training costs three forward passes per image.
    sizes = {
        "digits": (1352, 445),
        "fashion-mnist": (60_000, 10_000),
        "glyphs": (7520, 2350),
        "glyphs-sans-serif": (7520, 2350),
        "mnist-usps": (60_000 + 7291, 10_000 + 2007),
    }
    training, test = sizes.get(scenario.data.set, (50_000, 10_000))
    validation = training * scenario.data.validation_share
    evaluation = scenario.evaluation
    measured = evaluation.points * validation + evaluation.points // evaluation.test_every * test
    trained = 3 * scenario.training.epochs * (training - validation)
    assert measured / (trained + measured) <= 0.1  # RULES 7
