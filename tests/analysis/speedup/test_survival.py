"""Compared with external numbers: Kaplan-Meier and log-rank from lifelines, sums by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.analysis.speedup.survival import estimate_reach, log_rank, reached_by_cost, sign_flip

SLOW = np.array([100.0, 110, 120, 500, 500]), np.array([True, True, True, False, False])
FAST = np.array([50.0, 55, 60, 70, 500]), np.array([True, True, True, True, False])


def test_a_median_and_a_restricted_mean_with_two_misses_of_five():
    found = estimate_reach(*SLOW, 500)
    assert (found.share, found.median, found.limit) == (0.6, 120, 500)
    assert found.restricted_mean == pytest.approx(266)


def test_a_median_and_a_restricted_mean_with_one_miss_of_five():
    found = estimate_reach(*FAST, 500)
    assert (found.share, found.median) == (0.8, 60)
    assert found.restricted_mean == pytest.approx(147)


def test_if_fewer_than_half_reached_there_is_no_median():
    found = estimate_reach(np.array([5.0, 9, 9]), np.array([True, False, False]), 9)
    assert (found.share, found.median) == (pytest.approx(1 / 3), np.inf)
    assert found.restricted_mean == pytest.approx((5 + 9 + 9) / 3)


def test_no_seed_reached():
    found = estimate_reach(np.array([9.0, 9.0]), np.array([False, False]), 9)
    assert (found.share, found.median, found.restricted_mean) == (0, np.inf, 9)


def test_a_miss_of_a_shorter_trial_is_not_a_success():
    # One seed was censored at 10: the two still at risk then each weigh a half.
    found = estimate_reach(np.array([10.0, 20, 30]), np.array([False, True, True]), 30)
    assert found.median == 20
    assert found.restricted_mean == pytest.approx(20 * 1 + 10 * 0.5)


def test_the_log_rank_test_of_both():
    assert log_rank(*SLOW, *FAST) == pytest.approx(0.136, abs=5e-4)


@pytest.mark.parametrize("seed", range(20))
def test_the_log_rank_test_is_scipys(seed: int):
    random = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        n = int(random.integers(1, 12))
        sides.append((random.integers(1, 9, n).astype(float), random.uniform(size=n) < 0.7))
    censored = [stats.CensoredData(uncensored=costs[hit], right=costs[~hit]) for costs, hit in sides]
    with np.errstate(all="ignore"):
        expected = float(stats.logrank(*censored).pvalue)
    found = log_rank(*sides[0], *sides[1])
    assert found is None if np.isnan(expected) else found == pytest.approx(expected, rel=1e-12)


def test_a_sign_flip_of_three_agreeing_pairs_is_a_quarter():
    assert sign_flip(np.array([0.1, 0.2, 0.3])) == 0.25
    assert sign_flip(np.array([0.1])) == 1.0
    assert sign_flip(np.ones(6)) == 2 / 64


def test_a_sign_flip_by_hand():
    # Sums of +-1 +-2 +-4: 7, 5, 3, 1 and their opposites. Found: 1 + 2 - 4 = -1; every sum is at least as far from 0.
    assert sign_flip(np.array([1.0, 2.0, -4.0])) == 1.0
    assert sign_flip(np.array([-1.0, 2.0, 4.0])) == 4 / 8


def test_stopping_early_does_not_look_cheaper():
    early = estimate_reach(np.array([3.0, 3.0]), np.array([False, False]), 10)
    sure = estimate_reach(np.array([5.0, 5.0]), np.array([True, True]), 10)
    assert (early.restricted_mean, sure.restricted_mean) == (10, 5)


def test_a_log_rank_test_without_events_is_undefined():
    never = np.array([9.0, 9.0]), np.array([False, False])
    assert log_rank(*never, *never) is None


@pytest.mark.parametrize("seeds", [1, 3, 10, 40])
def test_the_survival_function_is_scipys_bit_for_bit(seeds: int):
    random = np.random.default_rng(seeds)
    for misses in (0.0, 0.3, 1.0):
        costs, reached = random.integers(1, 12, seeds).astype(float), random.uniform(size=seeds) >= misses
        expected = stats.ecdf(stats.CensoredData(uncensored=costs[reached], right=costs[~reached])).sf
        found = estimate_reach(costs, reached, 12.0)
        half = expected.quantiles[expected.probabilities <= 0.5]
        assert found.median == (half[0] if len(half) else np.inf)
        areas = np.diff([0.0, *expected.quantiles, 12.0]) * np.array([1.0, *expected.probabilities])
        assert found.restricted_mean == areas.sum()


def test_reached_by_cost_is_the_kaplan_meier_estimate():
    key = {"strategy": "slow", "title": "Slow", "horizon": 1.0}
    found = reached_by_cost(pd.DataFrame({**key, "cost": SLOW[0], "crossed": SLOW[1]}))
    assert found["cost"].tolist() == [0, 100, 110, 120, 500]
    assert found["reached"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.6])
    assert found["n"].unique().tolist() == [5]


def test_a_seed_censored_early_leaves_the_others_a_larger_share():
    key = {"strategy": "slow", "title": "Slow", "horizon": 1.0}
    found = reached_by_cost(pd.DataFrame({**key, "cost": [1.0, 2.0, 3.0], "crossed": [False, True, True]}))
    assert found["reached"].tolist() == pytest.approx([0, 0, 0.5, 1])  # of the two still at risk


def test_no_crossings_give_no_steps():
    assert reached_by_cost(pd.DataFrame(columns=["strategy", "title", "horizon", "cost", "crossed"])).empty
