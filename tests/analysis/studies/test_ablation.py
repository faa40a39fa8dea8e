from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from bench.analysis.speedup.student import paired_interval
from bench.analysis.studies.ablation import ablation, differing
from bench.errors import RecordError
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, records

RECIPE = {"start": {"type": "Shrink", "shrink": 0.8}, "regularizer": {"type": "L2Init", "strength": 5e-5}}
RECIPE |= {"selection": {"type": "Uniform"}, "schedule": {"type": "Linear"}, "source": None}
PLAIN = {"type": "NoRegularizer"}
FULL = {("optimized", 0.5): {0: [0.4, 0.9], 1: [0.4, 0.8]}}
WITHOUT = {("without", 0.5): {0: [0.4, 0.7], 1: [0.4, 0.5]}}


def with_pieces(curves: dict, pieces: dict[str, dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    trials, evals = records(curves)
    other = {aspect: {"type": "Other"} for aspect in RECIPE if aspect != "source"} | {"source": None}
    return trials.assign(pieces=[json.dumps(pieces.get(name, other)) for name in trials["strategy"]]), evals


def test_what_differs_in_one_piece_is_compared_with_the_recipe():
    found = ablation(
        *with_pieces(SCRATCH | FULL | WITHOUT | FAST, {"optimized": RECIPE, "without": RECIPE | {"regularizer": PLAIN}})
    )
    assert found["strategy"].tolist() == ["optimized", "without"]  # neither scratch nor fast, which differ in all
    recipe, without = (found.iloc[place] for place in range(2))
    assert (recipe["aspect"], recipe["difference"], recipe["value"], recipe["relation"]) == ("", 0, 2.0, "=")
    assert (without["aspect"], without["n"]) == ("regularizer", 2)
    assert without["change"] == "L2Init(strength=5e-05) → NoRegularizer()"
    assert (without["value"], without["relation"]) == (2.0, "<")  # it ends at 0.6, below 0.8
    assert (without["accuracy"], without["difference"]) == (pytest.approx(0.6), pytest.approx(-0.25))
    # Differences -0.2 and -0.3: mean -0.25, t(0.975, 1) = 12.7062, standard error 0.05.
    assert without["difference_low"] == pytest.approx(-0.25 - 12.7062 * 0.05, abs=1e-5)
    assert without["difference_high"] == pytest.approx(-0.25 + 12.7062 * 0.05, abs=1e-5)


def test_a_difference_in_two_pieces_is_not_an_ablation():
    both = RECIPE | {"regularizer": PLAIN, "selection": {"type": "Other"}}
    assert ablation(*with_pieces(SCRATCH | FULL | WITHOUT, {"optimized": RECIPE, "without": both})).empty


def test_a_horizon_is_a_piece_like_any_other():
    longer = {("optimized", 1.0): {0: [0.1, 0.2, 0.3, 0.9], 1: [0.1, 0.2, 0.3, 0.9]}}
    found = ablation(*with_pieces(SCRATCH | FULL | longer, {"optimized": RECIPE}))
    assert found["horizon"].tolist() == [1.0, 0.5]  # the longest of equals is the recipe
    assert (found["aspect"].tolist(), found["change"].iloc[1]) == (["", "horizon"], "1 → 0.5")


def test_the_recipes_horizon_is_the_one_with_the_most_one_piece_variants():
    longer = {("optimized", 1.0): {0: [0.1, 0.2, 0.3, 0.9], 1: [0.1, 0.2, 0.3, 0.9]}}
    pieces = {"optimized": RECIPE, "without": RECIPE | {"regularizer": PLAIN}}
    found = ablation(*with_pieces(SCRATCH | FULL | longer | WITHOUT, pieces))
    assert (found["strategy"].iloc[0], found["horizon"].iloc[0]) == ("optimized", 0.5)
    assert sorted(found["aspect"]) == ["", "horizon", "regularizer"]


def test_only_seeds_that_all_three_share_are_compared():
    pieces = {"optimized": RECIPE, "without": RECIPE | {"regularizer": PLAIN}}
    uneven = {("without", 0.5): {1: [0.4, 0.5], 7: [0.4, 0.9]}}
    found = ablation(*with_pieces(SCRATCH | FULL | uneven, pieces))
    assert found["n"].tolist() == [2, 1]
    assert found["difference"].iloc[1] == pytest.approx(-0.3)
    assert np.isnan(found["difference_low"].iloc[1])


def test_another_recipe_can_be_named():
    pieces = {"without": RECIPE, "optimized": RECIPE | {"start": PLAIN}}
    found = ablation(*with_pieces(SCRATCH | FULL | WITHOUT, pieces), recipe="without")
    assert found["aspect"].tolist() == ["", "start"]


def test_without_pieces_or_a_recipe_there_are_no_rows():
    assert ablation(*records(SCRATCH | FULL | WITHOUT)).empty
    assert ablation(*with_pieces(SCRATCH | WITHOUT, {"without": RECIPE})).empty


def test_different_custom_code_differs_in_all_aspects():
    one, other = ({**RECIPE, "horizon": 0.5, "source": source} for source in ("a", "b"))
    assert len(differing(one, other)) == 10
    assert differing(one, one | {"selection": PLAIN}) == ["selection"]
    assert differing(one, one | {"selection": PLAIN, "source": None}) == ["selection"]


def test_a_meaningless_interval_is_nan():
    for differences in ([0.1], [0.1, 0.1, 0.1]):
        assert np.isnan(paired_interval(np.array(differences))).all()


def test_mixtures_are_refused():
    trials, evals = with_pieces(SCRATCH | FULL | WITHOUT, {"optimized": RECIPE, "without": RECIPE | {"start": PLAIN}})
    trials.loc[0, "scenario_hash"] = "other"
    with pytest.raises(RecordError, match="scenario_hash"):
        ablation(trials, evals)


def test_without_a_name_the_recipe_is_the_one_with_most_variants():
    pieces = {"mine": RECIPE, "without": RECIPE | {"regularizer": PLAIN}, "fast": RECIPE | {"start": PLAIN}}
    mine = {("mine", 0.5): FULL[("optimized", 0.5)]}
    found = ablation(*with_pieces(SCRATCH | mine | WITHOUT | FAST, pieces))
    assert found["strategy"].iloc[0] == "mine"
    assert set(found["strategy"].iloc[1:]) == {"without", "fast"}


def test_scratch_is_no_variant_of_what_continues():
    pieces = {"scratch": RECIPE | {"start": PLAIN}, "mine": RECIPE}
    assert ablation(*with_pieces(SCRATCH | {("mine", 0.5): FULL[("optimized", 0.5)]}, pieces)).empty
