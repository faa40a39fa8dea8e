from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.catalog import find_scenario
from bench.errors import RecordError
from bench.records import published
from bench.records.published import PublishedTargets
from bench.records.schema import TrialRecord
from bench.records.store import read_trial
from bench.scenario import load_scenario
from tests.test_target import TARGET

_RECORD = Path(__file__).resolve().parents[2] / "results/fashion-mnist-7-3/scratch/1/seed-0"


@pytest.fixture
def record() -> TrialRecord:
    found = read_trial(_RECORD)
    assert found is not None
    return found


def changed(record: TrialRecord, target: Any, scenario_hash: str | None = None) -> TrialRecord:
    scenario = record.scenario | ({} if target is None else {"target": target})
    return record.model_copy(update={"scenario": scenario, "scenario_hash": scenario_hash or record.scenario_hash})


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fashion-mnist-7-3 as if it were shipped with a target."""
    path = tmp_path / "fashion-mnist-7-3.toml"
    text = find_scenario("fashion-mnist-7-3").read_text()
    path.write_text(f'{text}\n[target]\naccuracy = 0.93\nstd = 0.001\nseeds = [0, 1, 2, 3, 4]\nsource = "shipped"\n')
    monkeypatch.setattr(published, "find_scenario", lambda name: path)


def test_a_record_without_a_target_has_none(record: TrialRecord):
    assert PublishedTargets().of(record) is None


@pytest.mark.usefixtures("shipped")
def test_the_shipped_target_holds_for_records_that_ask_the_same(record: TrialRecord):
    found = PublishedTargets().of(record)
    assert found is not None
    assert (found.accuracy, found.source) == (0.93, "shipped")
    assert load_scenario(find_scenario("fashion-mnist-7-3")).target is None  # none is actually shipped


@pytest.mark.usefixtures("shipped")
def test_the_shipped_target_takes_precedence_over_the_records_own(record: TrialRecord):
    found = PublishedTargets().of(changed(record, [TARGET]))
    assert found is not None
    assert found.source == "shipped"


@pytest.mark.usefixtures("shipped")
def test_a_scenario_of_that_name_that_asks_something_else_has_its_own(record: TrialRecord):
    assert PublishedTargets().of(changed(record, None, "other")) is None
    found = PublishedTargets().of(changed(record, [TARGET], "other"))
    assert found is not None
    assert found.source == TARGET["source"]


@pytest.mark.parametrize("target", [[{"accuracy": 0.9}], "0.9", [], [TARGET | {"seeds": [1]}]])
def test_a_copy_without_a_valid_target_is_an_error_or_none(record: TrialRecord, target: Any):
    of = PublishedTargets().of
    if not target:
        assert of(changed(record, target, "other")) is None
        return
    with pytest.raises(
        RecordError, match="fashion-mnist-7-3: seed 0: the record's copy of the scenario has no valid target"
    ):
        of(changed(record, target, "other"))
