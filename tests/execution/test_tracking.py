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
from bench.metering.clock import PhaseClock
from bench.metering.formulas import Tally
from bench.models import build_model
from bench.records.rules import check_results
from bench.scenario import Scenario, load_scenario
from bench.training.evaluate import measure
from tests.conftest import CPU, shorten


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


def resumable(trial: Any, *, stop: int | None = None, ask: bool = True) -> None:
    """Train with momentum and a schedule, on batches of PyTorch's own random stream and of a generator; stop as Ctrl-C does."""
    model = trial.new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    generator = torch.Generator().manual_seed(3)
    if ask:
        trial.resume(model=model, optimizer=optimizer, schedule=schedule, generator=generator)
    while trial.steps < trial.total_steps:
        if trial.steps == stop:
            raise KeyboardInterrupt
        chosen = torch.cat([torch.randint(len(trial.labels), (32,), generator=each) for each in (None, generator)])
        images, labels = trial.batch(chosen)
        loss = F.cross_entropy(model(images)[:, : trial.classes], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if trial.due():
            trial.evaluate(model, loss=loss.item())
    trial.finish(model)


def learned(folder: Path) -> tuple[Any, ...]:
    """Return what a trial learned and was charged, without its clocks."""
    record = json.loads((folder / "trial.json").read_text())
    rows = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]
    summary = {key: record["summary"][key] for key in ("steps", "images", "train_flops", "aux_flops", "weights_sha256")}
    return kept, summary


def test_an_interrupted_trial_goes_on_from_its_last_evaluation_to_the_bit(tiny: Scenario, places: dict[str, Any]):
    def track(name: str) -> Any:
        return bench.track(tiny, name, old_model=False, **places)

    torch.manual_seed(0)
    with track("whole") as trial:
        resumable(trial)
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt), track("cut") as trial:
        resumable(trial, stop=12)
    (folder,) = (path.parent for path in places["results"].rglob("open-cut/**/trial.json"))
    assert json.loads((folder / "trial.json").read_text())["status"] == "interrupted"
    torch.manual_seed(7)  # of no account: it goes on with the streams of the checkpoint
    with track("cut") as trial:
        resumable(trial)
    assert learned(folder) == learned(next(path.parent for path in places["results"].rglob("open-whole/**/trial.json")))
    assert json.loads((folder / "trial.json").read_text())["summary"]["sittings"] == 2
    assert not list((places["cache"] / "checkpoints").glob("*.pt*"))
    with pytest.raises(RecordError, match=r"holds a record already\. Give"), track("cut"):
        pass


def test_without_parts_to_resume_a_killed_trial_begins_anew_and_another_codes_is_refused(
    tiny: Scenario, places: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def track() -> Any:
        return bench.track(tiny, "cut", old_model=False, **places)

    for ask in (False, True):
        with pytest.raises(KeyboardInterrupt), track() as trial:
            resumable(trial, stop=12, ask=ask)
    code = {"source": "print()", "modules": {}, "packages": {}}
    with monkeypatch.context() as patch:
        patch.setattr("bench.api.tracking._calling_code", lambda: code)
        with pytest.raises(RecordError, match="a record already of other code, which was interrupted"), track():
            pass
    with track() as trial:  # which has a checkpoint, but does not ask for it
        resumable(trial, ask=False)
    (path,) = places["results"].rglob("trial.json")
    rows = [json.loads(line)["step"] for line in (path.parent / "evals.jsonl").read_text().splitlines()]
    assert (rows, json.loads(path.read_text())["summary"]["sittings"]) == ([8, 16], 1)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "resume: called without parts"),
        ({"model": 3}, "resume: model is a int, expected a generator, or something with state_dict"),
        (
            {"odd": type("Odd", (), {"state_dict": lambda self: {"a": pytest}, "load_state_dict": print})()},
            "odd cannot be",
        ),
    ],
)
def test_what_cannot_be_resumed_is_named(tiny: Scenario, places: dict[str, Any], parts: dict[str, Any], said: str):
    with pytest.raises(TrialError, match=said), bench.track(tiny, "odd", old_model=False, **places) as trial:
        trial.resume(**parts)


def test_images_that_nobody_counted_end_the_trial(tiny: Scenario, places: dict[str, Any]):
    def uncounted(trial: Any) -> None:
        model = trial.new_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        images, _ = trial.plain(torch.arange(4))
        while not trial.due():
            model(images).sum().backward()
            optimizer.step()
        trial.evaluate(model)

    with (
        pytest.raises(TrialError, match="no images were counted"),
        bench.track(tiny, "uncounted", old_model=False, **places) as trial,
    ):
        uncounted(trial)


def test_evaluating_leaves_each_part_of_a_model_in_its_mode(updates):
    model = build_model("resnet8-narrow", 1, 10, 0, "update", 8)
    fixed = next(part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)).eval()
    measure(model, [], updates[1].validation, 10, "fp32", CPU)
    assert (model.training, fixed.training) == (True, False)


def test_what_counting_loads_is_loaded_before_the_clock(
    tiny: Scenario, places: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    phases = []

    class Watched(Tally):
        def __torch_dispatch__(self, *given: Any) -> Any:
            phases.append(clocks[-1]._running)
            return super().__torch_dispatch__(*given)

    clocks = []
    monkeypatch.setattr("bench.execution.tracking.Tally", Watched)
    monkeypatch.setattr(
        "bench.execution.tracking.PhaseClock", lambda *given: clocks.append(PhaseClock(*given)) or clocks[-1]
    )
    with bench.track(tiny, "by-hand", old_model=False, **places) as trial:
        assert trial._totals["train_flops"] == 0
        loop(trial)
    assert list(dict.fromkeys(phases)) == ["prepare", "train", "evaluate"]
