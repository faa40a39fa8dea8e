from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.speedup.crossing import find_crossing, find_crossings


@pytest.mark.parametrize(
    ("accuracies", "target", "expected"),
    [
        ([0.1, 0.5, 0.6], 0.5, 1),  # reaching it exactly counts
        ([0.6, 0.6, 0.6], 0.5, 0),
        ([0.1, 0.6, 0.4, 0.7], 0.5, 3),  # the dip moves the crossing past it
        ([0.1, 0.6, 0.7, 0.4], 0.5, None),  # it reached the target once, but did not hold it
        ([0.1, 0.2], 0.5, None),
        ([0.6, math.nan, 0.6], 0.5, 2),
        ([0.6, math.nan], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_a_crossing_is_the_first_evaluation_from_which_accuracy_holds(accuracies, target, expected):
    assert find_crossing(accuracies, target) == expected


def test_equal_accuracies_match_their_own_mean():
    assert np.mean([0.8, 0.8, 0.8]) > 0.8  # by rounding
    assert find_crossing([0.5, 0.8], float(np.mean([0.8, 0.8, 0.8]))) == 1


curves = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(curves, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_target_is_never_crossed_earlier(accuracies, first, second):
    low, high = (find_crossing(accuracies, target) for target in sorted((first, second)))
    if high is not None:
        assert low is not None
        assert low <= high


@given(curves, st.floats(0, 1))
def test_all_is_above_from_the_crossing_on_and_the_one_before_is_not(accuracies, target):
    place = find_crossing(accuracies, target)
    if place is None:
        assert accuracies[-1] < target
        return
    assert all(accuracy >= target - 1e-9 for accuracy in accuracies[place:])
    assert place == 0 or accuracies[place - 1] < target


@given(
    st.integers(0, 6).flatmap(
        lambda count: st.lists(
            st.lists(st.floats(0, 1) | st.just(math.nan), min_size=count, max_size=count), min_size=1, max_size=5
        )
    ),
    st.floats(0, 1),
)
def test_several_curves_cross_as_each_does_alone(rows, target):
    found = find_crossings(np.array(rows).reshape(len(rows), -1), target)
    each = [find_crossing(row, target) for row in rows]
    assert found.tolist() == [len(row) if place is None else place for row, place in zip(rows, each, strict=True)]
