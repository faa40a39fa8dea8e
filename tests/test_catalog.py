from __future__ import annotations

from pathlib import Path

import pytest

from bench.catalog import (
    find_scenario,
    find_strategy,
    scenario_argument,
    scenario_names,
    shipped_folder,
    strategy_names,
)
from bench.errors import ScenarioError, StrategyError


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


@pytest.mark.parametrize("asked", ["{tmp}", "{tmp}/", "."])
def test_a_folder_is_no_scenario_and_the_message_says_so(asked: str, tmp_path: Path):
    with pytest.raises(ScenarioError, match=r"is a folder, expected a \.toml file\. Name a file in it\."):
        find_scenario(asked.replace("{tmp}", str(tmp_path)))


def test_a_recorded_scenario_is_run_again_by_its_name_or_its_file():
    assert scenario_argument("digits-7-3") == "digits-7-3"
    assert scenario_argument("mine") == "./mine.toml"
