"""bench update runs what of a strategy can run, and says what it left out; bench run refuses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import bench
from bench.api.named import strategy
from bench.catalog import find_scenario
from bench.errors import StrategyError
from bench.models.build import build_model
from bench.records.store import read_trial
from bench.scenario import Scenario, load_scenario, parse_scenario
from bench.strategies.freezing import FreezeStages, NoFreezing
from bench.strategies.head import RandomHead
from bench.strategies.selection import Uniform
from bench.training.able import able


def scenario(model: str, **more: object) -> Scenario:
    content = load_scenario(find_scenario("digits-7-3")).model_dump(mode="json")
    content["training"] |= {"epochs": 1}
    return parse_scenario({**content, "model": {"name": model, **more}}, "test")


def test_a_strategy_that_can_run_is_left_as_it_is():
    asked = strategy("optimized")
    runs, left_out = able(asked, scenario("resnet8-narrow"), (1, 8, 8), 10, 20)
    assert (runs, left_out) == (asked, None)
    assert able(strategy("four-aspects"), scenario("resnet8-narrow"), (1, 8, 8), 10, 20)[1] is None


@pytest.mark.parametrize(
    ("through", "runs", "why"),
    [
        (("stage1", "stage9"), FreezeStages(("stage1",)), "the model has no stage 'stage9' before its head"),
        (("stage9", "stage1"), NoFreezing(), "the model has no stage 'stage9' before its head"),
    ],
)
def test_stages_that_the_model_lacks_are_trained(through: tuple[str, ...], runs: object, why: str):
    asked = strategy("optimized", freezing=FreezeStages(through, (0.0, 0.5)))
    found, left_out = able(asked, scenario("resnet8-narrow"), (1, 8, 8), 10, 20)
    assert found.strategy.freezing == runs
    assert found.strategy.head == asked.strategy.head
    assert left_out is not None
    assert (left_out.asked, left_out.runs) == (asked.name, found.name)
    assert why in left_out.why[0]


def test_features_that_cannot_be_kept_are_computed_anew():
    """At 8 pixels, what all stages return together is one pixel, from which no crop can be cut."""
    asked = strategy("optimized", freezing=FreezeStages(("body",)), head=RandomHead())
    found, left_out = able(asked, scenario("resnet8-narrow"), (1, 8, 8), 10, 20)
    assert found.strategy.freezing == FreezeStages(("body",), features="recomputed")
    assert left_out is not None
    assert "from which no crop can be cut" in left_out.why[0]


def test_a_head_that_is_no_linear_layer_begins_at_random():
    found, left_out = able(strategy("optimized"), scenario("squeezenet1_1"), (3, 64, 64), 10, 20)
    assert found.name == "optimized[head=RandomHead]"
    assert found.strategy.freezing == strategy("optimized").strategy.freezing
    assert left_out is not None
    assert left_out.lines() == [
        "optimized cannot run as it is; optimized[head=RandomHead] runs instead",
        "  head: SqueezeNet ends in classifier.1, expected one linear layer",
    ]


def test_the_record_is_of_what_ran_and_bench_run_refuses_it(tmp_path: Path):
    torch.save(build_model("resnet8-narrow", 1, 7, 0, "test", 8).state_dict(), tmp_path / "old.pt")
    asked = scenario("resnet8-narrow", checkpoint=str(tmp_path / "old.pt"), untrained_is_fine=True)
    options = {"data_root": tmp_path / "data", "cache": tmp_path / "cache", "device": "cpu"}
    with pytest.raises(StrategyError, match="LearningSpeed needs each old image's learning speed"):
        bench.plan(asked, ["scratch", "four-aspects"], [0], results=tmp_path / "runs", **options)
    both = ["scratch", "four-aspects", "four-aspects[selection=Uniform]"]
    plan = bench.plan_update(asked, tmp_path / "up", both, [0], **options)
    runs = "four-aspects[selection=Uniform]"
    assert [each.name for each in plan.strategies] == ["scratch", runs]
    done = bench.update(plan, tmp_path / "up", keep=["four-aspects"])
    assert (done.models[runs] / "model.json").is_file()
    records = [read_trial(path.parent) for path in (tmp_path / "up" / "runs").rglob("trial.json")]
    (record,) = [each for each in records if each is not None and each.strategy["name"] != "scratch"]
    assert record.strategy["selection"] == {"type": "Uniform"}
    expected = strategy("four-aspects", selection=Uniform())
    assert (record.strategy["name"], record.strategy_hash) == (runs, expected.hash())
    verdict = json.loads((tmp_path / "up" / "verdict.json").read_text())
    assert [(each["asked"], each["runs"]) for each in verdict["left_out"]] == [("four-aspects", runs)]
    assert "no learning speeds" in verdict["left_out"][0]["why"][0]


def test_frozen_stages_that_cannot_be_kept_are_refused_before_anything_is_trained(tmp_path: Path):
    asked = strategy("naive", freezing=FreezeStages(("body",)))
    places = {"results": tmp_path / "runs", "cache": tmp_path / "cache", "data_root": tmp_path / "data"}
    said = (
        r"naive\[freezing=.*\]: freezing: body returns features of shape \(32,\), .*Set freezing\.features=recomputed"
    )
    with pytest.raises(StrategyError, match=said):
        bench.plan(scenario("resnet8-narrow"), ["scratch", asked], seeds=[0], device="cpu", **places)
    assert not list(tmp_path.iterdir())
    again = strategy("naive", freezing=FreezeStages(("body",), features="recomputed"))
    assert bench.plan(scenario("resnet8-narrow"), [again], seeds=[0], device="cpu", **places)
