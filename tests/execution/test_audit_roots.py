from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.errors import RecordError
from bench.execution.audit import _with_root
from bench.records.schema import TrialRecord
from bench.scenario import Scenario, load_scenario
from tests.records.made_up import trial

TEXT = """name = "mine"
title = "Mine"
kind = "mixed"
stages = [{ folder = "old" }, { folder = "new" }]
data = { validation_share = 0.1, test_share = 0.2, image_size = 8 }
model = { name = "resnet8" }
evaluation = { points = 4, test_every = 1 }

[training]
epochs = 1
batch_size = 8
learning_rate = 0.1
momentum = 0.9
weight_decay = 0.0
label_smoothing = 0.0
precision = "fp32"
crop_padding = 1
flip = true
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """A scenario with two folders beside its file, of which records lie in runs/."""
    home = tmp_path / "home"
    for name in ("old", "new", "runs/mine/scratch/1/seed-0"):
        (home / name).mkdir(parents=True)
    (home / "mine.toml").write_text(TEXT)
    return load_scenario(home / "mine.toml")


def record(scenario: Scenario) -> TrialRecord:
    content = trial() | {"scenario": scenario.model_dump(mode="json"), "scenario_hash": scenario.hash()}
    return TrialRecord.model_validate(content)


def test_an_audit_finds_folders_beside_the_results(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "home/runs/mine/scratch/1/seed-0"
    assert _with_root(record(scenario), folder, None).root == tmp_path / "home"
    assert _with_root(record(scenario), Path(os.path.relpath(folder)), None).root == tmp_path / "home"


def test_an_audit_of_moved_records_says_where_it_looked(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    moved = tmp_path / "elsewhere/mine/scratch/1/seed-0"
    moved.mkdir(parents=True)
    with pytest.raises(RecordError) as found:
        _with_root(record(scenario), moved, None)
    said = str(found.value)
    assert "its scenario's folders old, new are not there, looked in " in said
    assert str(tmp_path / "elsewhere") in said
    assert "--scenario" in said
    assert _with_root(record(scenario), moved, tmp_path / "home/mine.toml").root == tmp_path / "home"


def test_another_scenario_file_is_refused(scenario: Scenario, tmp_path: Path):
    other = tmp_path / "home/other.toml"
    other.write_text(TEXT.replace("epochs = 1", "epochs = 2"))
    with pytest.raises(RecordError, match="another scenario than the recorded one"):
        _with_root(record(scenario), tmp_path, other)
