"""Trials in the training loops of other libraries: counted, recorded and checked like those of a loop by hand."""

from __future__ import annotations

import importlib
import json
import re
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from bench.adapters.batches import Batches, require_one_process
from bench.catalog import find_scenario
from bench.errors import BenchError, TrialError
from bench.records.rules import check_results
from bench.records.schema import EvalRow
from bench.records.store import read_evals, read_trial
from bench.scenario import load_scenario
from tests.conftest import shorten

STEPS = 16
PAGE = Path(__file__).resolve().parents[2] / "docs" / "strategies.md"


def example(module: str) -> str:
    """Return the script in docs/strategies.md that uses an adapter."""
    (found,) = [
        text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if module in text
    ]
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with glyphs in one epoch, evaluated twice, and scratch's record of it, by the native loop."""
    folder = tmp_path_factory.mktemp("adapters")
    text = find_scenario("glyphs-32-15").read_text()
    for before, after in (("glyphs-32-15", "tiny"), ("epochs = 14", "epochs = 1"), ("points = 9", "points = 2")):
        assert before in text
        text = text.replace(before, after)
    (folder / "tiny.toml").write_text(re.sub(r"test_every = \d+", "test_every = 2", text))
    places = {"results": folder / "runs", "cache": folder / "cache", "device": "cpu"}
    bench.run(bench.plan(folder / "tiny.toml", ["scratch"], seeds=[0], **places))
    return folder


def require_native_counts(module: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> list[EvalRow]:
    """Run a few steps of an example; require scratch's FLOPs for as many, within 0.1 %, and a record that passes bench check."""
    script, name = example(module), module.rpartition(".")[2]
    assert '"glyphs-32-15"' in script
    script = script.replace('"glyphs-32-15"', '"./tiny.toml"').replace("seed=0)", f"seed=0, steps={STEPS})")
    (place / f"in-{name}.py").write_text(script)
    monkeypatch.chdir(place)
    monkeypatch.setattr("bench.api.tracking.cache_folder", lambda: place / "cache")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    runpy.run_path(f"in-{name}.py")
    (path,) = (place / "runs" / "tiny" / f"open-in-{name}").rglob("trial.json")
    mine, native = read_trial(path.parent), read_trial(place / "runs" / "tiny" / "scratch" / "1" / "seed-0")
    assert mine is not None
    assert native is not None
    assert (mine.strategy["division"], mine.total_steps) == ("open", STEPS)
    assert mine.summary is not None
    assert native.summary is not None
    share = STEPS / native.total_steps
    assert mine.summary.images == share * native.summary.images
    assert mine.summary.train_flops == pytest.approx(share * native.summary.train_flops, rel=1e-3)
    assert mine.summary.aux_flops == 14 * mine.parameters * STEPS  # AdamW's work on the parameters
    assert {each.rule for each in check_results(place / "runs").violations} <= {"commit"}  # of a changed checkout
    return read_evals(path.parent)


@pytest.mark.skipif(
    not (find_spec("lightning") or find_spec("pytorch_lightning")), reason="needs lightning or pytorch_lightning"
)
def test_the_lightning_example_costs_what_the_native_loop_is_charged(place: Path, monkeypatch: pytest.MonkeyPatch):
    rows = require_native_counts("bench.adapters.lightning", place, monkeypatch)
    assert [row.step for row in rows] == [STEPS]
    assert rows[0].train_loss is not None
    assert 0 < rows[0].train_loss < 10


@pytest.mark.skipif(
    not (find_spec("transformers") and find_spec("accelerate")), reason="needs transformers and accelerate"
)
def test_the_transformers_example_costs_what_the_native_loop_is_charged(place: Path, monkeypatch: pytest.MonkeyPatch):
    assert len(require_native_counts("bench.adapters.transformers", place, monkeypatch)) == 1


def test_images_fetched_ahead_are_charged_once_they_were_trained_on(tmp_path: Path):
    tiny = shorten(load_scenario(find_scenario("digits-7-3")), points=2, epochs=1)
    places = {"results": tmp_path / "runs", "cache": tmp_path / "cache", "device": "cpu"}

    def prefetch(trial: Any) -> None:
        batches, model = Batches(trial), trial.new_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        fetched = [batches.collate([number, number + 1]) for number in range(20)]
        for images, _ in fetched[:8]:
            model(images).sum().backward()
            optimizer.step()
            batches.trained()
        trial.evaluate(model)
        for _ in range(20 - 8 + 1):
            batches.trained()

    with (
        pytest.raises(TrialError, match="did not come from the callback's own images"),
        bench.track(tiny, "ahead", old_model=False, **places) as trial,
    ):
        prefetch(trial)
    (row,) = (json.loads(line) for path in tmp_path.rglob("evals.jsonl") for line in path.read_text().splitlines())
    assert (row["step"], row["images"]) == (8, 16)


def test_several_processes_are_refused():
    require_one_process(1)
    with pytest.raises(TrialError, match="2 processes or devices"):
        require_one_process(2)


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_a_missing_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch):
    for module in ("lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(importlib.sys.modules, module, None)
    monkeypatch.delitem(importlib.sys.modules, f"bench.adapters.{name}", raising=False)
    with pytest.raises(BenchError, match=rf"needs the extra {name}, .* pip install 'compute-to-accuracy\[{name}\]'"):
        importlib.import_module(f"bench.adapters.{name}")
