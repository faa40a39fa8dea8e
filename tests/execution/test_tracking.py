"""A training loop of one's own: counted by the counter, recorded as the open division, compared with its own scratch alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import bench
from bench.catalog import find_scenario
from bench.errors import RecordError, TrialError
from bench.records.rules import check_results
from bench.scenario import Scenario, load_scenario
from tests.conftest import shorten


@pytest.fixture
def tiny() -> Scenario:
    return shorten(load_scenario(find_scenario("digits-7-3")), points=2, epochs=1)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    return {"results": tmp_path / "runs", "cache": tmp_path / "cache", "device": "cpu"}


def loop(trial: Any, *, old: bool = False, skip: bool = False) -> None:
    """Train as scratch does, by hand: SGD with Nesterov momentum and weight decay, batches of 64."""
    model = trial.old_model() if old else trial.new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    order = torch.randperm(len(trial.labels), generator=torch.Generator().manual_seed(0))
    while trial.steps < trial.total_steps:
        begin = 64 * trial.steps % (len(order) - 64)
        images, labels = trial.batch(order[begin : begin + 64])
        loss = F.cross_entropy(model(images)[:, : trial.classes], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if trial.due() and not skip:
            trial.evaluate(model, loss=loss.item())
    trial.finish(model)


def test_the_same_steps_by_hand_cost_what_scratch_is_charged(tiny: Scenario, places: dict[str, Any]):
    results = bench.run(bench.plan(tiny, ["scratch"], seeds=[0], **places))
    (scratch,) = results.trials.to_dict("records")
    with bench.track(tiny, "by-hand", seed=0, old_model=False, **places) as trial:
        loop(trial)
    record = json.loads(next(places["results"].rglob("open-by-hand/**/trial.json")).read_text())
    summary = record["summary"]
    assert record["strategy"]["division"] == "open"
    assert record["status"] == "finished"
    assert "def loop(trial" in record["strategy"]["source"]
    assert (summary["steps"], summary["images"]) == (scratch["steps"], scratch["images"])
    assert summary["train_flops"] == pytest.approx(scratch["train_flops"], rel=1e-3)
    assert summary["aux_flops"] == scratch["aux_flops"]
    assert summary["evaluate_flops"] == pytest.approx(scratch["evaluate_flops"], rel=1e-3)
    assert abs(summary["unaccounted_share"]) < 0.5
    rules = {each.rule for each in check_results(places["results"]).violations}
    assert rules <= {"commit"}  # of a checkout that is being worked on
    board = bench.load_results(places["results"]).leaderboard(tiny)
    (mine,) = board.frame[board.frame["division"] == "open"].to_dict("records")
    assert (mine["strategy"], mine["n"]) == ("open-by-hand", 1)
    assert mine["value_flops"] is None or mine["value_flops"] != mine["value_flops"]
    assert mine["validation_accuracy"] == pytest.approx(summary["validation_accuracy"])
    assert [" ".join(row) for row in board.cells.rows][-1].startswith("- open-by-hand")
    assert board.frame["rank"].isna().all()
    assert "nan" not in board.latex()
    assert "open-by-hand" not in set(bench.load_results(places["results"]).curves(tiny).frame["strategy"])


def test_with_a_scratch_under_the_same_freedom_there_is_a_ratio(tiny: Scenario, places: dict[str, Any]):
    bench.run(bench.plan(tiny, ["scratch"], seeds=[0], **places))
    with bench.track(tiny, "my-scratch", old_model=False, **places) as trial:
        loop(trial)
    with bench.track(tiny, "mine", reference="my-scratch", steps=8, **places) as trial:
        loop(trial, old=True)
    board = bench.load_results(places["results"]).leaderboard(tiny)
    rows = board.frame[board.frame["division"] == "open"].set_index("strategy")
    assert set(rows.index) == {"open-mine", "open-my-scratch"}
    held = rows.loc["open-mine", "validation_accuracy"] >= rows.loc["open-my-scratch", "validation_accuracy"]
    assert rows.loc["open-mine", "relation_flops"] == ("=" if held else "<")
    assert rows.loc["open-mine", "target"] == rows.loc["open-my-scratch", "validation_accuracy"]
    assert rows.loc["open-mine", "value_flops"] > 0


def test_a_loop_that_skips_an_evaluation_or_does_not_finish_fails_and_says_so(tiny: Scenario, places: dict[str, Any]):
    with (
        pytest.raises(TrialError, match="step 8 was not evaluated"),
        bench.track(tiny, "skips", old_model=False, **places) as trial,
    ):
        loop(trial, skip=True)
    record = json.loads(next(places["results"].rglob("open-skips/**/trial.json")).read_text())
    assert (record["status"], "was not evaluated" in record["reason"]) == ("failed", True)
    with (
        pytest.raises(TrialError, match="ended without finish"),
        bench.track(tiny, "stops", old_model=False, **places),
    ):
        pass
    with (
        pytest.raises(RecordError, match="holds a record already"),
        bench.track(tiny, "stops", old_model=False, **places),
    ):
        pass
    with pytest.raises(bench.BenchError, match="strategy: found 'a/b'"), bench.track(tiny, "a/b", **places):
        pass


def test_compiled_code_is_refused_since_the_counter_cannot_see_it(
    tiny: Scenario, places: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    graphs = iter([0, 1])
    monkeypatch.setattr("bench.execution.tracking._compiled_graphs", lambda: next(graphs))
    with (
        pytest.raises(TrialError, match="runs compiled code, which the counter cannot see"),
        bench.track(tiny, "compiled", old_model=False, **places) as trial,
    ):
        loop(trial)
