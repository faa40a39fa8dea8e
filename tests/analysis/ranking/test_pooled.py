from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.pooled import cost_ratios, pool, profile, profile_score
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records

MISS = np.inf


def test_always_being_best_scores_one_and_never_reaching_scores_zero():
    always, never = cost_ratios(np.array([[1.0, 5, 2], [MISS, MISS, MISS]]))
    assert profile_score(always) == 1
    assert profile_score(never) == 0


def test_a_tie_is_best_for_both():
    one, other = cost_ratios(np.array([[3.0], [3.0]]))
    assert profile_score(one) == profile_score(other) == 1


def test_a_ratio_of_exactly_four_counts_as_reached_and_scores_zero():
    ratios = cost_ratios(np.array([[1.0, 1.0], [4.0, 4.1]]))[1]
    assert ratios.tolist() == [4, np.inf]
    assert profile(ratios, np.array([1.0, 3.99, 4.0])).tolist() == [0, 0, 0.5]
    assert profile_score(ratios) == 0


def test_a_scenario_that_no_strategy_reaches_still_counts():
    one, other = cost_ratios(np.array([[1.0, MISS], [2.0, MISS]]))
    assert profile_score(one) == 0.5
    assert profile_score(other) == pytest.approx((4 - 2) / 3 / 2)


def test_the_score_is_the_area_below_the_profile():
    ratios = np.array([1.0, 1.7, 2.5, np.inf])
    taus = np.linspace(1, 4, 30_001)
    area = np.trapezoid(profile(ratios, taus), taus) / 3
    assert profile_score(ratios) == pytest.approx(area, abs=1e-4)


def test_pooling_takes_the_geometric_mean_with_a_miss_at_the_budget_plus_one_step():
    first = leaderboard(*records(SCRATCH | FAST | WEAK))  # fast: 2.0; weak: missed
    second = leaderboard(*records(SCRATCH | {("fast", 0.5): {0: [0.9, 0.9], 1: [0.9, 0.8]}} | WEAK))  # fast: 4.0
    found = pool([first, second]).set_index("strategy")
    assert found.loc["fast", "geometric_mean"] == pytest.approx(8**0.5)
    assert found.loc["weak", "geometric_mean"] == pytest.approx(40 / 41)
    assert found.loc["scratch", "geometric_mean"] == 1
    assert found["reached"].to_dict() == {"fast": 2, "scratch": 2, "weak": 0}
    # Scratch costs twice and four times the best: (4 - 2) / 3 and 0.
    assert found["score"].to_dict() == pytest.approx({"fast": 1, "scratch": 1 / 3, "weak": 0})
    assert found.index[0] == "fast"


def test_a_strategy_missing_from_one_table_is_not_pooled():
    found = pool([leaderboard(*records(SCRATCH | FAST)), leaderboard(*records(SCRATCH | WEAK))])
    assert found["strategy"].tolist() == ["scratch"]
    assert isinstance(found, pd.DataFrame)


def test_a_miss_at_a_share_of_the_target_costs_scratchs_whole_budget():
    # Scratch holds 0.6, three quarters of its accuracy, from step 30 of 40; weak never does.
    boards = [leaderboard(*records(SCRATCH | {("weak", 1.0): {0: [0.5] * 4, 1: [0.5] * 4}}), share=0.75)] * 2
    found = pool(boards).set_index("strategy")
    assert found.loc["weak", "geometric_mean"] == pytest.approx(30 / 41)


def test_a_currency_that_cannot_be_compared_is_not_a_miss():
    trials, evals = records(SCRATCH | FAST)
    trials.loc[trials["strategy"] == "fast", "machine"] = "other"
    board = leaderboard(trials, evals, currency="device_seconds")
    assert pool([board, board])["strategy"].tolist() == ["scratch"]
