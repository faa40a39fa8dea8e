"""The strategies in docs/examples: short, of public names alone, charged, and the same when recorded."""

from __future__ import annotations

import ast
import math
import runpy
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

import bench
from bench.catalog import find_scenario
from bench.strategies.strategy import load_strategy
from bench.strategies.variants import load_variant
from bench.training.audit import replay
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from tests.benchmarks import examples
from tests.conftest import CPU
from tests.training.tape import record_on_tape, run_again

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "examples"
NAMES = ("ema", "head-only", "infobatch", "layer-wise", "loss-weighted", "lwf", "replay")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_under_forty_lines_of_public_names(name: str):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert {node.module.partition(".")[0] for node in imports} <= {
        "bench",
        "collections",
        "dataclasses",
        "torch",
        "typing",
    }
    ours = {alias.name for node in imports if node.module == "bench" for alias in node.names}
    assert ours <= set(bench.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_charged_what_is_counted_and_recorded_steps_do_the_same(name: str, short, updates, base: Base):
    spec = TrialSpec(short, load_strategy(FOLDER / f"{name}.py"), 1, 0)
    assert all(part.counted == part.charged for part in replay(spec, updates[1], base, CPU)[1])
    weights = []
    for recorder in (run_again, record_on_tape):
        learner = Learner(spec, updates[1], base, CPU, False, None, recorder)
        learner.prepare()
        learner.start()
        assert learner.train(4) > 0
        weights.append(learner.weights())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_one_of_them_runs_on_a_new_model_as_a_variant():
    found = load_variant(f"{FOLDER}/infobatch.py[start=Fresh]")
    assert (found.name, found.strategy.needs_base) == ("infobatch[start=Fresh]", False)


def started(name: str, short, updates, base: Base) -> Learner:
    entrant = load_strategy(FOLDER / f"{name}.py")
    learner = Learner(TrialSpec(short, entrant, 1, 0), updates[1], base, CPU, False)
    learner.start()
    return learner


def test_learning_rates_rise_from_layer_to_layer(short, updates, base: Base):
    entrant = load_strategy(FOLDER / "layer-wise.py")
    same = replace(entrant, strategy=replace(entrant.strategy, objective=bench.CrossEntropy()))
    plain = Learner(TrialSpec(short, same, 1, 0), updates[1], base, CPU, False)
    plain.start()
    scaled = started("layer-wise", short, updates, base)
    for learner in (plain, scaled):
        learner.train(1)
    found = [
        float((mine.grad / theirs.grad).nanmedian())
        for mine, theirs in zip(scaled._model.parameters(), plain._model.parameters(), strict=True)
    ]
    assert found[0] == pytest.approx(0.1, rel=1e-3)
    assert found[-1] == pytest.approx(1, rel=1e-3)
    assert found == sorted(found)


def test_an_old_model_that_agrees_adds_nothing_and_one_that_does_not_its_divergence(short, updates, base: Base):
    objective = load_strategy(FOLDER / "lwf.py").strategy.objective
    given = {field.name: None for field in fields(bench.Batch)}
    logits, losses = torch.tensor([[2.0, 0.0, 9.0]], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    found = [
        objective.loss(bench.Batch(**given | {"logits": logits, "losses": losses, "old_logits": old})).item()
        for old in (torch.tensor([[3.0, 1.0]]), torch.tensor([[0.0, 0.0]]))
    ]
    # Divided by 2, the network has (p, 1 - p) with p = 0.7311; KL((0.5, 0.5) || that) = -ln(4 p (1 - p)) / 2, times 4.
    p = 1 / (1 + math.exp(-1))
    assert found == pytest.approx([1, 1 - 2 * math.log(4 * p * (1 - p))])
    learner = started("lwf", short, updates, base)
    assert learner.hook_flops(0) == short.training.batch_size * learner.flops.forward


def test_a_loss_twice_as_high_weighs_more(short, updates, base: Base):
    objective = load_strategy(FOLDER / "loss-weighted.py").strategy.objective
    losses = torch.tensor([1.0, 4.0], requires_grad=True)
    given = bench.Batch(**{field.name: None for field in fields(bench.Batch)} | {"losses": losses})
    # The weights are 1 and 2, over their mean.
    assert objective.loss(given).tolist() == pytest.approx([1 / 1.5, 8 / 1.5])


def test_adamw_and_its_scratch_are_tracked_under_forty_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = (FOLDER / "adamw.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    scenario = find_scenario("digits-7-3").read_text().replace("digits-7-3", "tiny")
    scenario = scenario.replace("epochs = 24", "epochs = 1").replace("points = 20", "points = 2")
    (tmp_path / "tiny.toml").write_text(scenario)
    (tmp_path / "mine.py").write_text(text.replace('"glyphs-32-15"', '"./tiny.toml"'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mine.py", "runs", "0"])
    monkeypatch.setattr("bench.api.tracking.cache_folder", lambda: tmp_path / "cache")
    runpy.run_path("mine.py")
    trials = bench.load_results(tmp_path / "runs").trials.set_index("strategy")
    assert set(trials["status"]) == {"finished"}
    assert trials.loc["open-adamw", "reference"] == "open-adamw-scratch"
    assert trials.loc["open-adamw", "horizon"] == pytest.approx(0.7, abs=0.05)


def test_the_table_is_what_the_records_say():
    page = (FOLDER.parent / "strategies.md").read_text(encoding="utf-8").splitlines()
    begin = page.index(examples.HEADER[0])
    end = next(number for number in range(begin, len(page)) if not page[number].startswith("|"))
    assert page[begin:end] == [*examples.HEADER, *examples.table()]
