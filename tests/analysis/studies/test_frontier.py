from __future__ import annotations

import numpy as np
import pytest

from bench.analysis.studies.frontier import cost_at, frontier_points, frontiers
from bench.reporting.numbers import frontier_text
from tests.analysis.ranking.test_leaderboard import SCRATCH, WEAK, records

COSTS = np.array([100.0, 200.0, 400.0])


def test_between_two_horizons_the_cost_is_interpolated_in_log_cost():
    # Half way from 0.6 to 0.8 is half way from 100 to 200 in the logarithm.
    assert cost_at(COSTS, np.array([0.6, 0.8, 0.9]), 0.7) == pytest.approx(100 * 2**0.5)
    assert cost_at(COSTS, np.array([0.6, 0.8, 0.9]), 0.8) == pytest.approx(200)


def test_of_several_crossings_the_most_expensive_counts():
    # At 100 it is above 0.8, at 200 not any more: the line that counts goes from 0.5 at 200 to 0.9 at 400.
    assert cost_at(COSTS, np.array([0.85, 0.5, 0.9]), 0.8) == pytest.approx(200 * 2**0.75)
    assert cost_at(COSTS, np.array([0.85, 0.9, 0.7]), 0.8) is None  # the longest misses


def test_the_shortest_horizon_run_is_the_lowest_cost():
    assert cost_at(COSTS, np.array([0.9, 0.9, 0.9]), 0.5) == 100


def test_a_target_that_no_horizon_reaches_has_no_cost():
    assert cost_at(COSTS, np.array([0.6, 0.8, 0.9]), 0.91) is None


def test_horizons_in_any_order():
    assert cost_at(COSTS[::-1], np.array([0.9, 0.8, 0.6]), 0.8) == pytest.approx(200)


SHORT = {("fast", 0.25): {0: [0.7], 1: [0.7]}, ("fast", 0.5): {0: [0.4, 0.9], 1: [0.4, 0.9]}}


def test_a_frontier_speedup_by_hand():
    found = frontiers(*records(SCRATCH | SHORT | WEAK))
    assert found["strategy"].tolist() == ["fast"]  # the others have one horizon
    row = found.iloc[0]
    # Target 0.8, half way between 0.7 at 10 steps and 0.9 at 20; scratch takes 40.
    assert (row["horizons"], row["n"], row["relation"]) == ("0.25, 0.5", 2, "=")
    assert row["value"] == pytest.approx(40 / (10 * 2**0.5))


def test_the_speedup_inside_one_run_is_the_longest_horizons_last_crossing():
    longer = {("fast", 0.25): {0: [0.7], 1: [0.7]}, ("fast", 0.75): {0: [0.9, 0.8, 0.9], 1: [0.9, 0.8, 0.9]}}
    row = frontiers(*records(SCRATCH | longer)).iloc[0]
    # It holds 0.8 from step 10 of its 30 on; scratch takes 40. The frontier lies between 0.7 at 10 steps and 0.9 at 30.
    assert (row["value_inside"], row["relation_inside"]) == (4.0, "=")
    assert row["value"] == pytest.approx(40 / (10 * 3**0.5))
    dipping = {("fast", 0.25): {0: [0.9], 1: [0.9]}, ("fast", 0.75): {0: [0.9, 0.7, 0.9], 1: [0.9, 0.8, 0.9]}}
    assert frontiers(*records(SCRATCH | dipping)).iloc[0]["value_inside"] == pytest.approx(40 / 30)
    missing = {("fast", 0.25): {0: [0.9], 1: [0.9]}, ("fast", 0.5): {0: [0.9, 0.7], 1: [0.9, 0.7]}}
    row = frontiers(*records(SCRATCH | missing)).iloc[0]
    assert (row["value_inside"], row["relation_inside"]) == (2.0, "<")


def test_scratch_is_no_faster_inside_its_own_run_by_definition():
    early = {
        ("scratch", 1.0): {0: [0.2, 0.8, 0.8, 0.8], 1: [0.2, 0.8, 0.8, 0.8]},
        ("scratch", 0.5): {0: [0.4, 0.6], 1: [0.4, 0.6]},
    }
    row = frontiers(*records(early)).iloc[0]
    assert (row["value_inside"], row["relation_inside"]) == (1.0, "=")


def test_a_strategy_whose_horizons_all_miss_has_a_bound():
    short = {("fast", 0.25): {0: [0.7], 1: [0.7]}, ("fast", 0.5): {0: [0.4, 0.75], 1: [0.4, 0.75]}}
    row = frontiers(*records(SCRATCH | short)).iloc[0]
    assert (row["value"], row["relation"]) == (2.0, "<")
    assert np.isnan(row["cost"])


def test_only_seeds_that_every_horizon_has_are_compared():
    uneven = {("fast", 0.25): {0: [0.7]}, ("fast", 0.5): {0: [0.4, 0.9], 1: [0.4, 0.1]}}
    assert frontiers(*records(SCRATCH | uneven)).iloc[0]["n"] == 1
    apart = {("fast", 0.25): {0: [0.7]}, ("fast", 0.5): {1: [0.4, 0.9]}}
    assert frontiers(*records(SCRATCH | apart)).empty


def test_a_currency_unmeasured_or_of_different_machines_has_no_frontier():
    trials, evals = records(SCRATCH | SHORT)
    assert frontiers(trials, evals, currency="gpu_joules").empty
    assert len(frontiers(trials, evals, currency="device_seconds")) == 1
    trials.loc[trials["horizon"] == 0.25, "machine"] = "other"
    assert frontiers(trials, evals, currency="device_seconds").empty


def test_points_are_every_horizons_end_and_scratchs():
    points = frontier_points(*records(SCRATCH | SHORT | WEAK))
    assert points[["strategy", "horizon", "n"]].to_numpy().tolist() == [
        ["scratch", 1, 2],
        ["fast", 0.25, 2],
        ["fast", 0.5, 2],
    ]
    assert points["cost"].tolist() == [40 * 1010, 10 * 1010, 20 * 1010]
    assert points["accuracy"].tolist() == pytest.approx([0.8, 0.7, 0.9])
    assert points["target"].tolist() == pytest.approx([0.8] * 3)
    assert points["cost_at_target"].iloc[1:].to_numpy() == pytest.approx(10 * 2**0.5 * 1010)
    assert np.isnan(points["cost_at_target"].iloc[0])
    assert points["std"].tolist() == pytest.approx([0, 0, 0])


def test_the_frontier_through_the_points_never_falls():
    falling = {("fast", 0.25): {0: [0.85], 1: [0.85]}, ("fast", 0.5): {0: [0.4, 0.7], 1: [0.4, 0.7]}}
    points = frontier_points(*records(SCRATCH | falling))
    assert points[points["strategy"] == "fast"]["frontier"].tolist() == pytest.approx([0.7, 0.7])


def test_scratch_at_several_horizons_has_its_frontier_once():
    longer = {("scratch", 0.5): {0: [0.4, 0.6], 1: [0.4, 0.6]}}
    points = frontier_points(*records(SCRATCH | longer))
    assert points["strategy"].tolist() == ["scratch", "scratch"]
    assert points["horizon"].tolist() == [0.5, 1.0]


def test_without_several_horizons_there_are_no_points():
    assert frontier_points(*records(SCRATCH | WEAK)).empty


def test_a_horizon_that_ends_with_no_number_has_missed():
    costs, accuracies = np.array([10.0, 20.0, 40.0]), np.array([0.95, np.nan, 0.9])
    assert cost_at(costs, accuracies, 0.9) == 40
    assert cost_at(costs, np.array([np.nan, 0.9, 0.9]), 0.9) == 20
    assert cost_at(costs, np.array([0.5, 0.95, np.nan]), 0.9) is None


def three_seeds(*ends: tuple[float, list[float]]) -> dict:
    """Scratch at 0.8 and 40 steps, and a strategy's final accuracies at other lengths, three seeds each."""
    scratch = {("scratch", 1.0): {seed: [0.2, 0.4, 0.6, 0.8] for seed in range(3)}}
    return scratch | {
        ("fast", horizon): {seed: [0.1] * (round(4 * horizon) - 1) + [end] for seed, end in enumerate(found)}
        for horizon, found in ends
    }


def test_a_frontier_has_the_interval_of_the_inverted_test():
    curves = three_seeds((0.25, [0.78, 0.785, 0.775]), (0.5, [0.83, 0.82, 0.84]))
    (row,) = frontiers(*records(curves)).to_dict("records")
    assert (row["relation"], row["note"]) == ("=", "paired t, inverted, n = 3")
    assert 2.0 < row["low"] < row["value"] < row["high"] < 4.0
    assert (row["low_open"], row["high_open"]) == (False, False)


def test_the_points_have_the_interval_as_costs():
    curves = three_seeds((0.25, [0.70, 0.85, 0.76]), (0.5, [0.83, 0.82, 0.84]))
    (row,) = frontiers(*records(curves)).to_dict("records")
    point = frontier_points(*records(curves)).set_index("strategy").loc["fast"].iloc[0]
    # The speedup is open upwards, at scratch's 40 steps over 10: the cost is open downwards, at 10 steps.
    assert (point["cost_low"], point["cost_low_open"], point["cost_high_open"]) == (
        pytest.approx(10 * 1010),
        True,
        False,
    )
    assert point["cost_high"] == pytest.approx(40 * 1010 / row["low"])


def test_what_a_shorter_scratch_saves_as_well_is_not_attributed_to_continuing():
    curves = three_seeds((0.25, [0.78, 0.785, 0.775]), (0.5, [0.83, 0.82, 0.84]))
    # Scratch ends at 0.8 after 20 of its 40 steps as well, so half of the saving is not the strategy's.
    curves |= {("scratch", 0.5): {seed: [0.1, 0.8] for seed in range(3)}}
    rows = frontiers(*records(curves)).set_index("strategy")
    assert rows.loc["scratch", "value"] == pytest.approx(2.0)
    assert rows.loc["fast", "attributable"] == pytest.approx(rows.loc["fast", "value"] / 2)
    assert np.isnan(rows.loc["scratch", "attributable"])
    alone = frontiers(*records(three_seeds((0.25, [0.7] * 3), (0.5, [0.9] * 3))))
    assert alone["attributable"].isna().all()


def test_an_end_outside_the_horizons_is_open_and_too_few_seeds_have_none():
    wide = three_seeds((0.25, [0.70, 0.85, 0.76]), (0.5, [0.83, 0.82, 0.84]))
    (row,) = frontiers(*records(wide)).to_dict("records")
    assert (row["high"], row["high_open"], row["low_open"]) == (pytest.approx(4.0), True, False)
    assert frontier_text(row).endswith("to > 4.00)")
    two = {key: {seed: seeds[seed] for seed in (0, 1)} for key, seeds in wide.items()}
    (row,) = frontiers(*records(two)).to_dict("records")
    assert np.isnan(row["low"])
    assert row["note"] == "none: n = 2 is too small"


def test_a_strategy_that_is_surely_worse_or_surely_better_has_no_interval_and_says_so():
    for ends, side in (([0.5, 0.51, 0.52], "below"), ([0.9, 0.91, 0.92], "above")):
        (row,) = frontiers(*records(three_seeds((0.25, ends), (0.5, ends)))).to_dict("records")
        assert row["note"] == f"none: significantly {side} the target at every horizon"


def test_a_strategy_that_surely_misses_at_its_longest_has_no_interval_at_shorter_ones():
    # At 0.25 nothing is certain, but no length from 0.5 on holds the target.
    curves = three_seeds((0.25, [0.70, 0.85, 0.76]), (0.5, [0.77, 0.775, 0.78]))
    (row,) = frontiers(*records(curves)).to_dict("records")
    assert (row["relation"], row["note"]) == ("<", "none: significantly below the target at the longest horizon")
    assert np.isnan(row["low"])
