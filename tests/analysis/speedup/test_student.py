from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.analysis.speedup.student import holm, mean_of_means, paired_interval, t_quantile


@pytest.mark.parametrize("degrees", [*range(1, 32), 100])
def test_the_quantile_is_scipys(degrees: int):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-14)


def test_the_quantile_is_the_printed_one():
    """Student's table: 12.706, 4.303, 3.182, 2.776 at one to four degrees."""
    assert [round(t_quantile(degrees), 3) for degrees in (1, 2, 3, 4)] == [12.706, 4.303, 3.182, 2.776]


def test_the_paired_t_test_by_hand():
    """Differences 0.01, 0.02, 0.06: mean 0.03, s = sqrt(0.0007), standard error sqrt(0.0007 / 3) = 0.015275.

    t^2 = 27 / 7; with 2 degrees of freedom p = 1 - t / sqrt(2 + t^2) = 1 - sqrt(27 / 41). The quantile is 4.30265.
    """
    found = mean_of_means([np.array([0.01, 0.02, 0.06])])
    assert found.mean == pytest.approx(0.03)
    assert (found.low, found.high) == (
        pytest.approx(0.03 - 0.065724, abs=1e-6),
        pytest.approx(0.03 + 0.065724, abs=1e-6),
    )
    assert found.p == pytest.approx(1 - (27 / 41) ** 0.5)
    assert found.p == pytest.approx(stats.ttest_1samp([0.01, 0.02, 0.06], 0).pvalue)
    assert (found.low, found.high) == pytest.approx(paired_interval(np.array([0.01, 0.02, 0.06])))


def test_scenarios_count_alike_and_their_seeds_are_independent():
    """Means 0.02 and 0.06, variances 0.0001 and 0.0004 of 3 and 2 seeds.

    Standard error sqrt(0.0001 / 3 + 0.0004 / 2) / 2 = 0.0076376.
    Degrees of freedom (1/3 + 2)^2 / ((1/3)^2 / 2 + 2^2 / 1) = 1.3425.
    """
    groups = [np.array([0.01, 0.02, 0.03]), 0.06 + 0.02 * np.array([-1, 1]) / 2**0.5]
    found = mean_of_means(groups)
    assert found.mean == pytest.approx(0.04)
    assert found.high - found.mean == pytest.approx(0.0076376 * stats.t.ppf(0.975, 1.342466), rel=1e-5)
    assert found.p == pytest.approx(2 * stats.t.sf(0.04 / 0.0076376, 1.342466), rel=1e-5)
    # Welch's test is the same sum: a scenario minus the other is a scenario plus the other with its sign changed.
    assert mean_of_means([groups[0], -groups[1]]).p == pytest.approx(stats.ttest_ind(*groups, equal_var=False).pvalue)


@pytest.mark.parametrize("groups", [[[0.1]], [[0.1, 0.1, 0.1]], [[0.1, 0.2], [0.3]], [[0.1, 0.1], [0.2, 0.2]]])
def test_what_cannot_be_tested_has_a_mean_alone(groups: list[list[float]]):
    found = mean_of_means([np.array(group) for group in groups])
    assert found.mean == pytest.approx(sum(sum(group) / len(group) for group in groups) / len(groups))
    assert all(map(math.isnan, (found.low, found.high, found.p)))


def test_holms_correction_is_that_of_published_examples():
    # R, p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm").
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    # Wikipedia, Holm-Bonferroni method: 0.01, 0.04, 0.03 and 0.005 at 0.05; the first and the last are rejected.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_was_not_tested_is_no_comparison_and_no_p_value_exceeds_1():
    corrected = holm([0.02, math.nan, 0.9, 0.8])
    assert corrected[0] == pytest.approx(0.06)
    assert math.isnan(corrected[1])
    assert corrected[2:] == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_the_p_value_and_bonferronis(ps: list[float]):
    corrected = holm(ps)
    for p, mine in zip(ps, corrected, strict=True):
        assert p <= mine <= min(1.0, p * len(ps)) + 1e-12
    assert sorted(corrected) == [corrected[place] for place in sorted(range(len(ps)), key=lambda place: ps[place])]
