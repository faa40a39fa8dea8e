"""Whether a model was trained on held-out images: the test, against R and by hand."""

from __future__ import annotations

from math import comb

import pytest
from scipy import stats

from bench.analysis.guards.seen import seen_p


def test_one_class_is_fishers_exact_test():
    expected = stats.fisher_exact([[9, 1], [11, 9]], alternative="greater").pvalue
    assert seen_p(([9], [10]), ([11], [20])) == pytest.approx(expected)
    # 4 of 4 and 1 of 4 right: of 5 right ones, all 4 are among the first with C(4, 4) C(4, 1) / C(8, 5).
    assert seen_p(([4], [4]), ([1], [4])) == pytest.approx(4 / comb(8, 5))


def test_several_classes_are_the_exact_conditional_test_of_r():
    """R, mantelhaen.test(Rabbits, exact = TRUE): penicillin at five levels (Agresti 1990), two-sided p = 0.03994."""
    cut_off = ([0, 3, 6, 5, 2], [6, 6, 6, 6, 2])
    unseen = ([0, 0, 2, 6, 5], [5, 6, 6, 6, 5])
    assert 2 * seen_p(cut_off, unseen) == pytest.approx(0.03994, abs=5e-6)


def test_more_images_of_an_easy_class_are_no_evidence():
    """Each class is right as often in both, but the easy one is frequent in one and the hard one in the other."""
    assert seen_p(([90, 2], [100, 10]), ([9, 20], [10, 100])) > 0.4
    assert stats.fisher_exact([[92, 18], [29, 81]], alternative="greater").pvalue < 1e-15


def test_a_model_that_is_worse_on_cut_off_images_and_classes_of_one_side_alone_say_nothing():
    assert seen_p(([1], [10]), ([9], [10])) > 0.99
    assert seen_p(([5, 0], [5, 0]), ([0, 3], [0, 9])) == 1
