from __future__ import annotations

import math

import pandas as pd
import pytest

from bench.analysis.studies.equal_cost import Compared, Study, equal_cost_ablation, verdict
from bench.errors import RecordError

RECIPE = ("r", 0.4)
NO_START, NO_HEAD = Compared("r[a]", 0.4, "start", "left out", "S"), Compared("r[b]", 0.3, "head", "left out", "H")
HEAD_ALONE = Compared("r[c]", 0.35, "head", "alone", "H")


def trials(
    scenario: str, ends: dict[tuple[str, float], list[float]], flops: dict[str, int] | None = None
) -> pd.DataFrame:
    """Make finished trials: (strategy, horizon) -> final accuracy by seed."""
    rows = []
    for (strategy, horizon), accuracies in ends.items():
        for seed, accuracy in enumerate(accuracies):
            facts = {
                "scenario": scenario,
                "strategy": strategy,
                "horizon": horizon,
                "seed": seed,
                "update": 1,
                "updates": 1,
            }
            facts |= {"status": "finished", "scenario_hash": "h", "strategy_hash": strategy, "data_hash": "d"}
            facts |= {"rules_version": 1, "training_version": 1, "validation_accuracy": accuracy}
            rows.append(facts | {"train_flops": (flops or {}).get(strategy, 1000) - 10, "aux_flops": 10})
    return pd.DataFrame(rows)


def study(name: str, frame: pd.DataFrame, *variants: Compared, seeds: range = range(3)) -> Study:
    return Study(name, frame, RECIPE, variants, seeds)


def test_an_ablation_by_hand():
    """Two degrees of freedom: p = 1 - |t| / sqrt(2 + t^2).

    Without the start -0.01, -0.02, -0.06: t^2 = 27 / 7, p = 1 - sqrt(27 / 41) = 0.18850. Without the head -0.100, -0.101, -0.102:
    t = -0.101 / (0.001 / sqrt 3) = -174.937, p = 3.2675e-5. The head alone 0.02, 0.02, 0.05: t = 3, p = 0.09547.
    Holm: three times the least, twice the next, and the largest as it is, but not below the one before.
    """
    ends = {RECIPE: [0.80, 0.81, 0.82], ("r[a]", 0.4): [0.79, 0.79, 0.76], ("r[b]", 0.3): [0.70, 0.709, 0.718]}
    ends |= {("r[c]", 0.35): [0.82, 0.83, 0.87]}
    frame = trials("s", ends, {"r[b]": 1010})
    rows = equal_cost_ablation([study("s", frame, NO_START, NO_HEAD, HEAD_ALONE)])
    assert rows["strategy"].tolist() == ["r[a]", "r[b]", "r[c]"]
    assert rows["difference"].tolist() == pytest.approx([-0.03, -0.101, 0.03])
    assert rows["p"].tolist() == pytest.approx([1 - (27 / 41) ** 0.5, 3.2675e-5, 1 - 3 / 11**0.5], rel=1e-4)
    assert rows["p_holm"].tolist() == pytest.approx([0.19093, 3 * 3.2675e-5, 0.19093], rel=1e-4)
    assert rows["verdict"].tolist() == ["no difference shown", "earns its place", ""]
    assert rows["cost"].tolist() == pytest.approx([1, 1.01, 1])
    assert rows["n"].tolist() == [3, 3, 3]
    assert rows["comparisons"].tolist() == [3, 3, 3]
    assert rows["low"].iloc[0] == pytest.approx(-0.03 - 0.065724, abs=1e-6)


def test_every_row_of_several_scenarios_is_a_comparison_and_so_is_each_of_all_together():
    first = trials("s", {RECIPE: [0.5, 0.5, 0.5], ("r[a]", 0.4): [0.51, 0.52, 0.53]})
    second = trials("t", {RECIPE: [0.5, 0.5], ("r[a]", 0.35): [0.5 + 0.06 - 0.02 / 2**0.5, 0.5 + 0.06 + 0.02 / 2**0.5]})
    shorter = Compared("r[a]", 0.35, "start", "left out", "S")
    rows = equal_cost_ablation([study("s", first, NO_START), study("t", second, shorter)]).set_index("scenario")
    assert rows["difference"].to_dict() == pytest.approx({"s": 0.02, "t": 0.06, "all": 0.04})
    assert rows["n"].to_dict() == {"s": 3, "t": 2, "all": 5}
    assert set(rows["comparisons"]) == {3}
    assert rows.loc["s", "p_holm"] == pytest.approx(min(3 * rows.loc["s", "p"], 1))
    assert math.isnan(rows.loc["all", "horizon"])


def test_only_the_seeds_asked_for_that_both_have_finished_are_compared():
    frame = trials("s", {RECIPE: [0.5, 0.5, 0.5, 0.9], ("r[a]", 0.4): [0.4, 0.41, 0.42, 0.0]})
    frame.loc[(frame["strategy"] == "r[a]") & (frame["seed"] == 2), "status"] = "failed"
    row = equal_cost_ablation([study("s", frame, NO_START)]).iloc[0]
    assert (row["n"], row["accuracy"], row["recipe_accuracy"]) == (2, pytest.approx(0.405), 0.5)


def test_a_chain_ends_with_its_last_update_and_costs_all_of_them():
    first = trials("s", {RECIPE: [0.9, 0.9], ("r[a]", 0.4): [0.9, 0.9]}).assign(updates=2)
    last = trials("s", {RECIPE: [0.5, 0.5], ("r[a]", 0.4): [0.52, 0.54]}, {"r[a]": 3000}).assign(update=2, updates=2)
    rows = equal_cost_ablation([study("s", pd.concat([first, last]), NO_START)])
    assert (rows["difference"].iloc[0], rows["cost"].iloc[0]) == (pytest.approx(0.03), 4000 / 2000)
    unfinished = equal_cost_ablation([study("s", first, NO_START)])
    assert (unfinished["n"].iloc[0], unfinished["verdict"].iloc[0]) == (0, "not tested")


def test_trials_of_different_strategies_under_one_name_are_refused():
    frame = trials("s", {RECIPE: [0.5, 0.5], ("r[a]", 0.4): [0.4, 0.4]})
    frame.loc[3, "strategy_hash"] = "other"
    with pytest.raises(RecordError, match="different strategies under one name"):
        equal_cost_ablation([study("s", frame, NO_START)])


@pytest.mark.parametrize(
    ("change", "difference", "p", "expected"),
    [
        ("left out", -0.1, 0.049, "earns its place"),
        ("left out", 0.1, 0.049, "costs accuracy"),
        ("left out", -0.1, 0.05, "no difference shown"),
        ("left out", -0.1, math.nan, "not tested"),
        ("alone", -0.1, 0.001, ""),
    ],
)
def test_the_verdict_is_about_leaving_out_and_takes_the_corrected_p(
    change: str, difference: float, p: float, expected: str
):
    assert verdict(change, difference, p) == expected
