from __future__ import annotations

from typing import Any

import pytest

from bench.catalog import find_scenario
from bench.errors import ScenarioError
from bench.scenario import load_scenario, parse_scenario

TARGET = {"accuracy": 0.9, "std": 0.01, "seeds": [0, 1, 2, 3, 4], "source": "made for a test"}


@pytest.fixture
def content() -> dict[str, Any]:
    return load_scenario(find_scenario("digits-7-3")).model_dump(mode="json")


@pytest.fixture
def chain() -> dict[str, Any]:
    return load_scenario(find_scenario("digits-4-2-2-2")).model_dump(mode="json")


def test_a_target_changes_no_hash(content: dict[str, Any]):
    plain = parse_scenario(content, "mine.toml")
    held = parse_scenario(content | {"target": TARGET}, "mine.toml")
    assert (held.hash(), held.base_hash()) == (plain.hash(), plain.base_hash())


def test_a_target_is_in_the_copy_that_a_record_keeps_and_none_leaves_no_trace(content: dict[str, Any]):
    held = parse_scenario(content | {"target": TARGET}, "mine.toml")
    copied = held.model_dump(mode="json")
    assert copied["target"] == [TARGET | {"convergence_steps": None}]
    assert parse_scenario(copied, "record") == held
    assert "target" not in parse_scenario(content, "mine.toml").model_dump(mode="json")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"accuracy": 93.1}, r"target\[0\]\.accuracy: found 93\.1, expected less than or equal to 1"),
        ({"accuracy": 0.0}, r"accuracy: found 0\.0, expected greater than 0"),
        ({"accuracy": float("nan")}, r"accuracy: found nan, expected a finite number"),
        ({"std": -0.1}, r"std: found -0\.1, expected greater than or equal to 0"),
        ({"seeds": [0, 1, 2, 3]}, r"target\[0\]\.seeds: 4 found, expected at least 5"),
        ({"seeds": [0, 1, 2, 3, 3]}, r"seeds: \[0, 1, 2, 3, 3\] found, expected distinct ones"),
        ({"seeds": [-1, 1, 2, 3, 4]}, r"expected distinct ones from 0 to 2\^63 - 1"),
        ({"seeds": [0.5, 1, 2, 3, 4]}, r"seeds\[0\]: found 0\.5, expected a valid integer"),
        ({"seeds": 5}, r"seeds: found 5, expected a valid tuple"),
        ({"source": ""}, r"source: found '', expected"),
        ({"n": 5}, r"target\[0\]\.n: unknown key"),
        (
            {"convergence_steps": [10, 20]},
            r"convergence_steps: \[10, 20\] found, expected a step above 0 for each of 5",
        ),
        ({"convergence_steps": [0, 1, 2, 3, 4]}, r"expected a step above 0"),
    ],
)
def test_an_invalid_target_is_refused_by_key(content: dict[str, Any], change: dict[str, Any], complaint: str):
    with pytest.raises(ScenarioError, match=complaint):
        parse_scenario(content | {"target": TARGET | change}, "mine.toml")


def test_a_target_without_its_source_is_refused(content: dict[str, Any]):
    with pytest.raises(ScenarioError, match=r"target\[0\]\.source: missing"):
        parse_scenario(content | {"target": {key: TARGET[key] for key in ("accuracy", "std", "seeds")}}, "mine.toml")


def test_a_chain_has_a_target_for_each_update_all_from_the_same_seeds(chain: dict[str, Any]):
    assert len(parse_scenario(chain | {"target": [TARGET] * 3}, "mine.toml").target or ()) == 3
    with pytest.raises(ScenarioError, match="target: 1 found for 3 updates, expected one each"):
        parse_scenario(chain | {"target": TARGET}, "mine.toml")
    other = TARGET | {"seeds": [5, 6, 7, 8, 9]}
    with pytest.raises(ScenarioError, match="target: found different seeds"):
        parse_scenario(chain | {"target": [TARGET, TARGET, other]}, "mine.toml")
