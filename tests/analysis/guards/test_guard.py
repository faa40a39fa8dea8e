from __future__ import annotations

import math

import pytest

from bench.analysis.guards.guard import ConvergencePoint, compare_scratch, convergence_point, too_fast, trimmed_mean

INF = math.inf


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [
        # mean, variance, n. The three examples of Wikipedia's article on Welch's test, from rounded data.
        # Student's test would give 0.048 for the second.
        ((20.8, 7.9, 15), (23.0, 3.8, 15), 0.021),
        ((20.6, 9.0, 10), (22.1, 0.9, 20), 0.149),
        ((19.4, 1.4, 10), (21.6, 17.1, 20), 0.036),
    ],
)
def test_welchs_test_gives_the_published_p_values(one, other, p):
    found = compare_scratch(one[0], one[1] ** 0.5, one[2], other[0], other[1] ** 0.5, other[2])
    assert found.p == pytest.approx(p, abs=0.006)
    assert found.difference == pytest.approx(one[0] - other[0])


def test_equal_spreads_and_counts_have_a_p_value_from_tables():
    # t = 0.02 / (0.01 * sqrt(2 / 5)) = 3.1623 at 8 degrees of freedom: between 2.896 (0.02) and 3.355 (0.01) in tables.
    found = compare_scratch(0.92, 0.01, 5, 0.90, 0.01, 5)
    assert 0.01 < (found.p or 0) < 0.02
    assert found.differs
    assert found.verdict == "differs from the published one"


def test_a_scratch_that_is_too_good_differs_like_one_that_is_too_weak():
    better, worse = (compare_scratch(0.90 + shift, 0.01, 5, 0.90, 0.01, 5) for shift in (0.02, -0.02))
    assert better.p == pytest.approx(worse.p)
    assert better.differs
    assert worse.differs


def test_a_small_difference_is_not_significant():
    found = compare_scratch(0.902, 0.01, 5, 0.90, 0.01, 5)
    assert not found.differs
    assert found.verdict == "no difference found"


@pytest.mark.parametrize("n", [0, 1])
def test_a_single_seed_is_not_tested(n: int):
    found = compare_scratch(0.5, math.nan, n, 0.90, 0.01, 5)
    assert (found.p, found.differs) == (None, False)
    assert found.verdict == f"not tested: n = {n} is too small"


def test_without_any_spread_equal_means_are_equal_and_others_differ():
    assert compare_scratch(0.9, 0.0, 3, 0.9, 0.0, 5).p == 1.0
    other = compare_scratch(0.91, 0.0, 3, 0.9, 0.0, 5)
    assert other.p == 0.0
    assert other.differs


def test_rounding_is_not_spread():
    assert compare_scratch(0.9, 1e-17, 3, 0.9 + 1e-16, 1e-16, 5).p == 1.0


def test_nan_is_not_tested():
    found = compare_scratch(math.nan, math.nan, 3, 0.9, 0.01, 5)
    assert (found.p, found.differs, found.verdict) == (None, False, "not tested: an accuracy is NaN")


def test_spread_on_one_side_only_is_tested():
    # Welch: t = 0.01 / (0.01 / sqrt 4) = 2 at 3 degrees, p = 0.139 (tables: 0.1 at 2.353, 0.2 at 1.638).
    assert compare_scratch(0.91, 0.01, 4, 0.90, 0.0, 5).p == pytest.approx(0.1393, abs=1e-4)


# (steps to converge, mean, standard deviation, least mean of ten runs), printed by MLPerf's own checker.
_PUBLISHED = [
    # mlcommons/training, issue 838: llama31_8b at batch 32.
    (
        [*[196608] * 3, *[208896] * 8, *[221184] * 5, *[233472] * 4],
        215040.0,
        11976.860890901255,
        206333.00067543983,
    ),
    # A log of llama2_70b_lora at batch 8, in AMD's guide to its MLPerf Training 5.0 results.
    (
        [*[2688] * 3, *[3072] * 9, *[3456] * 7, 3840],
        3178.6666666666665,
        299.91358755481554,
        2960.6339616775513,
    ),
]


@pytest.mark.parametrize(("costs", "mean", "std", "least"), _PUBLISHED)
def test_convergence_points_match_mlperfs(costs: list[int], mean: float, std: float, least: float):
    point = convergence_point(costs)
    assert len(costs) == 20
    assert (point.mean, point.std, point.n) == (pytest.approx(mean), pytest.approx(std), 18)
    assert point.least(10) == pytest.approx(least, abs=2e-4)  # their search stops within 0.0001


def test_what_mlperf_rejected_is_too_fast_and_what_it_accepted_is_not():
    refused, passed = (convergence_point(costs) for costs, *_ in _PUBLISHED)
    assert too_fast([180576.0] * 10, refused) is True
    assert too_fast([3072.0] * 10, passed) is False


def test_one_miss_is_trimmed_and_two_make_the_mean_infinite():
    assert trimmed_mean([100, 110, 120, 130, INF]) == 120
    assert trimmed_mean([100, 110, 120, INF, INF]) == INF
    reference = ConvergencePoint(mean=200, std=10, n=8)
    assert too_fast([100, 110, 120, 130, INF], reference) is True
    assert too_fast([100, 110, 120, INF, INF], reference) is False


def test_a_reference_without_spread_allows_nothing_below_its_mean():
    reference = convergence_point([50, 50, 50, 50, 50])
    assert reference.least(5) == 50
    assert too_fast([49, 49, 49], reference) is True
    assert too_fast([50, 50, 50], reference) is False


def test_too_few_runs_give_no_result():
    assert too_fast([1, 1], ConvergencePoint(mean=200, std=10, n=8)) is None
    with pytest.raises(ValueError, match="3 costs, expected at least 4"):
        convergence_point([1, 2, 3])
    with pytest.raises(ValueError, match="all finite"):
        convergence_point([1, 2, 3, INF])
