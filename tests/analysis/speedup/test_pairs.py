from __future__ import annotations

import pytest

from bench.analysis.speedup.pairs import Ratio, paired_ratio


def test_the_interval_is_that_of_the_logarithms():
    # Ratios 2 and 4: in powers of 2, the mean is 1.5 and the standard error 0.5; t of one degree is 12.706.
    found = paired_ratio([2.0, 8.0], [1.0, 2.0])
    assert found.value == pytest.approx(2**1.5)
    assert (found.low, found.high) == pytest.approx((2 ** (1.5 - 6.353102), 2 ** (1.5 + 6.353102)), rel=1e-5)
    assert found.pairs == 2


def test_what_slows_down_both_of_a_pair_cancels_and_one_disturbed_pair_leaves_the_median():
    assert paired_ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == Ratio(
        pytest.approx(2.0), None, None, pytest.approx(2.0), 3
    )
    assert paired_ratio([2.0, 2.2, 90.0], [1.0, 1.0, 1.0]).median == pytest.approx(2.2)


def test_one_pair_has_no_interval():
    assert paired_ratio([3.0], [2.0]) == Ratio(pytest.approx(1.5), None, None, pytest.approx(1.5), 1)
