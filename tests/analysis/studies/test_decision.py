"""Continue or retrain: the answer from made-up final accuracies, against hand sums."""

from __future__ import annotations

import math

import pytest

from bench.analysis.studies.decision import decide
from bench.errors import RecordError
from tests.analysis.ranking.test_leaderboard import records

SCRATCH = {("scratch", 1.0): {seed: [0.2, 0.4, 0.6, end] for seed, end in enumerate((0.80, 0.81, 0.79))}}


def half(*ends: float) -> dict:
    """A strategy at half of scratch's length that ends there."""
    return {("half", 0.5): {seed: [0.5, end] for seed, end in enumerate(ends)}}


def test_an_interval_above_the_margin_means_continue():
    # Differences +0.1, +0.2 and +0.3 points: mean 0.2, standard deviation 0.1, so 0.2 +- 4.302653 * 0.1 / sqrt(3) = 0.2484.
    found = decide(*records(SCRATCH | half(0.801, 0.812, 0.793)))
    assert (found.answer, found.remedy) == ("continue", "")
    assert found.chosen is not None
    assert (found.chosen.strategy, found.chosen.horizon, found.chosen.n) == ("half", 0.5, 3)
    assert found.chosen.difference == pytest.approx(0.002)
    assert (found.chosen.low, found.chosen.high) == pytest.approx((0.002 - 0.0024841, 0.002 + 0.0024841), abs=1e-6)
    assert found.chosen.cost == pytest.approx(0.5)
    assert found.scratch_accuracy == pytest.approx(0.80)


def test_the_margin_decides():
    trials, evals = records(SCRATCH | half(0.801, 0.812, 0.793))  # lower end at -0.048 points
    assert decide(trials, evals, 0.0005).answer == "continue"
    assert decide(trials, evals, 0.0004).answer == "undecided"


def test_an_interval_below_the_margin_means_retrain():
    found = decide(*records(SCRATCH | half(0.751, 0.762, 0.743)))  # 4.8 points lower, +- 0.25
    assert (found.answer, found.chosen) == ("retrain", None)


def test_an_interval_across_the_margin_is_undecided_and_says_what_would_decide_it():
    # Differences +1, 0 and -1 points: 0 +- 2.484. With n seeds of this spread, t(n - 1) / sqrt(n) < 0.5 holds from 18 on
    # (2.1098 / 4.2426 = 0.4973; at 17, 2.1199 / 4.1231 = 0.5142).
    found = decide(*records(SCRATCH | half(0.81, 0.81, 0.78)))
    assert (found.answer, found.chosen) == ("undecided", None)
    assert found.remedy.startswith("about 18 seeds")
    assert decide(*records(SCRATCH | half(0.80, 0.80, 0.77))).remedy.startswith("half at 0.5 lies below the margin")


def test_one_seed_gives_no_interval():
    found = decide(*records({("scratch", 1.0): {0: [0.2, 0.8]}, ("half", 0.5): {0: [0.9]}}))
    assert (found.answer, found.remedy) == ("undecided", "one seed gives no interval; run at least 3")
    assert math.isnan(found.candidates[0].low)


def test_what_costs_as_much_as_scratch_is_no_reason_to_continue():
    whole = {("whole", 1.0): {seed: [0.2, 0.4, 0.6, end] for seed, end in enumerate((0.90, 0.92, 0.91))}}
    found = decide(*records(SCRATCH | whole))
    assert (found.answer, found.remedy) == (
        "undecided",
        "nothing that was run costs less than retraining; run a shorter horizon",
    )


def test_the_cheapest_of_those_that_hold_is_chosen():
    quarter = {("quarter", 0.25): {seed: [end] for seed, end in enumerate((0.801, 0.812, 0.793))}}
    found = decide(*records(SCRATCH | half(0.901, 0.912, 0.893) | quarter))
    assert found.chosen is not None
    assert found.chosen.strategy == "quarter"
    assert [each.strategy for each in found.candidates] == ["quarter", "half"]


def test_scratch_alone_is_refused():
    with pytest.raises(RecordError, match="no strategy beside scratch on its seeds"):
        decide(*records(SCRATCH))
