from __future__ import annotations

from pathlib import Path

import pytest

from bench.catalog import find_scenario, find_strategy, scenario_names, shipped_folder, strategy_names
from bench.errors import ScenarioError, StrategyError
from bench.strategies.strategy import load_strategy


def test_the_five_scenarios_and_three_baselines_are_shipped():
    assert {"digits-7-3", "fashion-mnist-7-3", "cifar10-5-5", "cifar100-70-30", "cifar100-70-30-lite"} <= set(
        scenario_names()
    )
    assert {"scratch", "naive", "optimized"} <= set(strategy_names())


def test_a_name_and_a_path_find_the_same_file():
    assert find_scenario("digits-7-3") == shipped_folder("scenarios") / "digits-7-3.toml"
    assert find_scenario(str(shipped_folder("scenarios") / "digits-7-3.toml")) == find_scenario("digits-7-3")


def test_a_users_own_strategy_is_found_by_path(tmp_path: Path):
    own = tmp_path / "mine.py"
    own.write_text("")
    assert find_strategy(str(own)) == own


def test_a_misspelt_scenario_is_answered_with_the_nearest_name():
    with pytest.raises(ScenarioError, match=r"'cifar100-70-3'.*Did you mean cifar100-70-30\?"):
        find_scenario("cifar100-70-3")


def test_a_missing_file_is_named():
    with pytest.raises(StrategyError, match=r"\./nowhere\.py: no such \.py file"):
        find_strategy("./nowhere.py")


def test_each_shipped_ablation_differs_from_the_recipe_in_one_piece_and_all_four_exist():
    described = {
        path.stem: load_strategy(path).describe() for path in shipped_folder("baselines").rglob("optimized*.py")
    }
    recipe = described.pop("optimized")
    pieces = ("start", "regularizer", "selection", "schedule")
    others = ("horizon", "tuned_on", "source")
    found = [[name for name in pieces if mine[name] != recipe[name]] for mine in described.values()]
    assert sorted(found) == sorted([piece] for piece in pieces)
    assert all(mine.get(name) == recipe.get(name) for mine in described.values() for name in others)


def test_ablations_are_not_entrants_of_a_plain_run():
    assert not any("optimized-" in name for name in strategy_names())
