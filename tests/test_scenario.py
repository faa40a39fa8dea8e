from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.catalog import find_scenario, scenario_names
from bench.errors import ScenarioError
from bench.scenario import load_scenario, parse_scenario


@pytest.fixture
def content() -> dict[str, Any]:
    return load_scenario(find_scenario("digits-7-3")).model_dump(mode="json")


@pytest.mark.parametrize("name", scenario_names())
def test_every_shipped_scenario_is_valid_and_named_like_its_file(name: str):
    assert load_scenario(find_scenario(name)).name == name


def test_the_headline_is_what_the_study_asks_for():
    headline = load_scenario(find_scenario("cifar100-70-30"))
    assert [stage.classes for stage in headline.stages] == [70, 30]
    assert (headline.model.name, headline.training.batch_size, headline.training.epochs) == ("resnet18-cifar", 256, 50)
    assert headline.training.precision == "bf16"


def test_an_unknown_key_is_refused_by_name(content: dict[str, Any]):
    content["training"]["epoch"] = 3
    with pytest.raises(ScenarioError, match=r"^mine\.toml: training\.epoch: unknown key"):
        parse_scenario(content, "mine.toml")


def test_a_wrong_type_is_refused_with_what_was_found_and_expected(content: dict[str, Any]):
    content["stages"][1]["classes"] = "3"
    with pytest.raises(ScenarioError, match=r"stages\[1\]\.classes: found '3', expected a valid integer"):
        parse_scenario(content, "mine.toml")


def test_a_missing_key_is_named(content: dict[str, Any]):
    del content["data"]["set"]
    with pytest.raises(ScenarioError, match=r"mine\.toml: data\.set: missing"):
        parse_scenario(content, "mine.toml")


@pytest.mark.parametrize("share", [0.0, 0.5, float("nan")])
def test_a_validation_share_outside_its_range_is_refused(content: dict[str, Any], share: float):
    content["data"]["validation_share"] = share
    with pytest.raises(ScenarioError, match=r"data\.validation_share"):
        parse_scenario(content, "mine.toml")


def test_one_stage_is_no_update(content: dict[str, Any]):
    content["stages"] = content["stages"][:1]
    with pytest.raises(ScenarioError, match=r"stages"):
        parse_scenario(content, "mine.toml")


def test_broken_toml_is_one_line_with_the_file(tmp_path: Path):
    file = tmp_path / "broken.toml"
    file.write_text("name = 'a\n")
    with pytest.raises(ScenarioError, match=r"broken\.toml: not valid TOML") as caught:
        load_scenario(file)
    assert "\n" not in str(caught.value)


def test_the_hash_is_of_what_is_asked_not_of_the_title(content: dict[str, Any]):
    first = parse_scenario(content, "").hash()
    content["title"] = "Another title"
    assert parse_scenario(content, "").hash() == first
    content["training"]["learning_rate"] = 0.3
    assert parse_scenario(content, "").hash() != first


def test_another_evaluation_grid_keeps_the_base_model(content: dict[str, Any]):
    first = parse_scenario(content, "")
    content["evaluation"]["points"] += 1
    second = parse_scenario(content, "")
    assert first.hash() != second.hash()
    assert first.base_hash() == second.base_hash()
