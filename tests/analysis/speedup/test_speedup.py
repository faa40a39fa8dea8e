from __future__ import annotations

import math

import numpy as np
import pytest

from bench.analysis.speedup import speedup
from bench.analysis.speedup.crossing import find_crossing
from bench.analysis.speedup.speedup import Run, compare, hold, hold_resampled, ratio, reference


def run(*curves: list[float], costs: list[float]) -> Run:
    """One curve per seed, all at the same costs."""
    accuracy = np.array(curves, dtype=float).T
    return Run(accuracy, np.repeat(np.array(costs, dtype=float)[:, None], len(curves), axis=1))


# Target: mean of 0.78 and 0.82 at the end, so 0.8. Whole cost 40.
SCRATCH = run([0.2, 0.5, 0.7, 0.78], [0.2, 0.5, 0.7, 0.82], costs=[10, 20, 30, 40])


def test_scratch_costs_its_full_horizon_by_definition():
    early = run([0.2, 0.9, 0.9, 0.8], costs=[10, 20, 30, 40])
    assert reference(early).cost == 40
    assert compare(early, run([0.9, 0.9, 0.9, 0.9], costs=[10, 20, 30, 40])).value == 4.0


def test_a_speedup_by_hand():
    ours = run([0.6, 0.79, 0.85], [0.6, 0.81, 0.83], costs=[5, 16, 25])
    found = compare(SCRATCH, ours)
    # The mean curve is 0.6, 0.8, 0.84: it crosses at 16, one evaluation after 5.
    assert (found.value, found.relation, found.cost, found.bracket) == (40 / 16, "=", 16, 5)


def test_a_dip_of_the_mean_moves_the_crossing_past_it():
    ours = run([0.85, 0.7, 0.85], costs=[5, 16, 25])
    assert compare(SCRATCH.take(np.array([0])), ours).cost == 25


def test_a_strategy_that_never_holds_the_target_has_a_bound_from_its_whole_cost():
    ours = run([0.6, 0.9, 0.7], [0.6, 0.9, 0.7], costs=[5, 16, 25])
    found = compare(SCRATCH, ours)
    assert (found.value, found.relation, found.cost, found.bracket) == (40 / 25, "<", 25, None)
    assert (found.low, found.note) == (None, "censored")


def test_a_nan_target_leaves_the_speedup_undetermined():
    falling = run([0.5, 0.9, 0.9, 0.3, 1.0], costs=[1, 2, 3, 4, 5])
    missing = Run(falling.accuracy.copy(), falling.cost)
    missing.accuracy[-1] = np.nan
    ours = run([0.99], costs=[2])
    # If the end is NaN there is no target either, and nothing can hold it.
    assert compare(missing, ours, 0.9).relation == "undetermined"
    assert math.isnan(compare(missing, ours, 0.9).value)


def test_a_relative_target_moves_scratchs_cost_too():
    ours = run([0.6, 0.79, 0.85], [0.6, 0.81, 0.83], costs=[5, 16, 25])
    # 0.75 * 0.8 = 0.6: scratch holds it from 0.7 at 30, ours from the first evaluation at 5.
    found = compare(SCRATCH, ours, 0.75)
    assert (found.value, found.cost, found.bracket) == (6.0, 5, None)


def test_three_seeds_have_a_t_interval_on_log_ratios():
    scratch = run(*[[0.5, 0.8]] * 3, costs=[50, 100])
    ours = run([0.7, 0.8, 0.8, 0.8], [0.7, 0.7, 0.8, 0.8], [0.7, 0.7, 0.7, 0.8], costs=[10, 25, 40, 50])
    found = compare(scratch, ours)
    # Per-seed ratios 4, 2.5 and 2. ln: 1.386294, 0.916291, 0.693147; mean 0.998577, sd 0.353824.
    # t(0.975, 2) = 4.302653 (tables); half width 4.302653 * 0.353824 / sqrt(3) = 0.878944.
    assert found.low == pytest.approx(math.exp(0.998577 - 0.878944), rel=1e-4)
    assert found.high == pytest.approx(math.exp(0.998577 + 0.878944), rel=1e-4)
    assert found.note == "t, n = 3"


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds_have_no_interval(n: int):
    found = compare(run(*[[0.5, 0.8]] * n, costs=[50, 100]), run(*[[0.7, 0.8]] * n, costs=[10, 25]))
    assert (found.low, found.high, found.note) == (None, None, f"n = {n} is too small")


def test_a_seed_that_missed_leaves_no_interval():
    scratch = run(*[[0.5, 0.8]] * 3, costs=[50, 100])
    ours = run([0.9, 0.9], [0.9, 0.9], [0.7, 0.7], costs=[10, 25])
    found = compare(scratch, ours)
    assert found.relation == "="  # the mean held it
    assert (found.low, found.note) == (None, "none: 2 of 3 seeds crossed")


def test_seeds_that_cross_at_the_same_evaluation_give_no_zero_width_interval():
    scratch = run(*[[0.5, 0.8]] * 3, costs=[50, 100])
    found = compare(scratch, run(*[[0.7, 0.8]] * 3, costs=[10, 25]))
    assert (found.low, found.note) == (None, "none: all 3 seeds crossed at one evaluation")


def test_nor_do_costs_that_differ_there_by_the_fit_of_a_head():
    scratch, ours = run(*[[0.5, 0.8]] * 3, costs=[50, 100]), run(*[[0.7, 0.8]] * 3, costs=[10, 25])
    found = compare(scratch, Run(ours.accuracy, ours.cost * [1, 1.0004, 1.0002]))
    assert (found.low, found.note) == (None, "none: all 3 seeds crossed at one evaluation")
    apart = compare(scratch, Run(ours.accuracy, ours.cost * [1, 1.04, 1.02]))
    assert apart.low is not None
    assert apart.low < apart.value


def test_ten_seeds_are_resampled_jointly():
    # In every seed, scratch costs exactly twice as much as ours: paired, the ratio never varies.
    random = np.random.default_rng(1)
    cost = np.array([[1.0], [2.0]]) * random.uniform(1, 9, 12)
    accuracy = np.repeat([[0.5], [0.8]], 12, axis=1)
    found = compare(Run(accuracy, 2 * cost), Run(accuracy, cost))
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == (pytest.approx(2.0), pytest.approx(2.0))
    assert found.note == "bootstrap, n = 12"


def test_a_bootstrap_interval_counts_misses_as_infinite_cost():
    accuracy = np.repeat([[0.5], [0.8]], 12, axis=1)
    scratch = Run(accuracy, np.repeat([[50.0], [100.0]], 12, axis=1))
    ours = Run(np.full((1, 12), 0.81), np.full((1, 12), 40.0))
    ours.accuracy[0, :4] = 0.785  # mean 0.8017: just at the target; many resamples are not
    found = compare(scratch, ours)
    assert found.value == 2.5
    assert found.low == 0.0
    assert found.high == 2.5


def resampled_one_by_one(scratch: Run, strategy: Run, share: float, seed: int) -> tuple[float, float]:
    """The bootstrap of RULES 13, resample by resample."""
    random, values = np.random.default_rng(seed), []
    for _ in range(2000):
        seeds = random.integers(scratch.seeds, size=scratch.seeds)
        pair = scratch.take(seeds), strategy.take(seeds)
        point = ratio(*pair, hold(*pair, share))
        values.append(point.value if point.relation == "=" else 0.0)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def noisy(seeds: int, rate: float, noise: float, random: np.random.Generator, evaluations: int = 40) -> Run:
    steps = np.arange(1, evaluations + 1)[:, None]
    accuracy = 0.8 * (1 - np.exp(-rate * steps / evaluations)) + random.normal(0, noise, (evaluations, seeds))
    return Run(accuracy, steps * random.uniform(0.9, 1.1, seeds))


@pytest.mark.parametrize("share", [1.0, 0.95, 0.5])
@pytest.mark.parametrize("seeds", [10, 11, 25])
@pytest.mark.parametrize("noise", [0.0, 0.004, 0.05])
def test_resampling_all_at_once_equals_resampling_one_by_one(share: float, seeds: int, noise: float):
    random = np.random.default_rng(seeds)
    compared = 0
    for rate in (3.9, 4.1, 6.0):
        scratch, ours = noisy(seeds, 4.0, noise, random), noisy(seeds, rate, noise, random, evaluations=50)
        if ratio(scratch, ours, hold(scratch, ours, share)).relation == "=":
            found = compare(scratch, ours, share, seed=seeds)
            assert (found.low, found.high) == pytest.approx(
                resampled_one_by_one(scratch, ours, share, seeds), rel=1e-12, abs=1e-12
            )
            compared += 1
    assert compared


def test_a_nan_accuracy_is_below_the_target_in_resamples_that_drew_it():
    random = np.random.default_rng(3)
    scratch, ours = noisy(12, 4.0, 0.004, random), noisy(12, 7.0, 0.004, random)
    ours.accuracy[5, :] = np.nan
    ours.accuracy[30, 4] = np.nan
    scratch.accuracy[2, 3] = np.nan
    # At half the target a mean in which the missing accuracy counted as 0 would still be above it.
    for share in (1.0, 0.5):
        found = compare(scratch, ours, share)
        assert (found.low, found.high) == pytest.approx(resampled_one_by_one(scratch, ours, share, 0), rel=1e-12)
        assert found.value == ratio(scratch, ours, hold(scratch, ours, share)).value


def test_one_set_of_resamples_serves_every_currency():
    random = np.random.default_rng(4)
    scratch, ours = noisy(10, 4.0, 0.004, random), noisy(10, 6.0, 0.004, random)
    other = Run(scratch.accuracy, scratch.cost**2), Run(ours.accuracy, ours.cost**2)
    assert compare(*other, held=hold_resampled(scratch, ours)) == compare(*other)
    assert hold_resampled(scratch.take(np.arange(9)), ours.take(np.arange(9))).drawn is None


def test_crossings_of_resamples_are_those_of_their_whole_means():
    """Searched a few evaluations at a time: as one search through all of them, for curves that cross anywhere or not at all."""
    draw = np.random.default_rng(3)
    for rise in (0.0, 0.02, 0.2, 3.0):
        accuracy = 1 - np.exp(-rise * np.arange(50))[:, None] + draw.normal(0, 0.05, (50, 10))
        accuracy[draw.random((50, 10)) < 0.001] = np.nan
        counts = speedup._counts(10, 0)
        targets = accuracy[-1, draw.integers(10)] + draw.normal(0, 0.02, len(counts))
        found = speedup._crossings(accuracy, counts, targets)
        for place in draw.integers(len(counts), size=100):
            drawn = np.repeat(np.arange(10), counts[place].astype(int))
            expected = find_crossing(accuracy[:, drawn].mean(axis=1), targets[place])
            assert found[place] == (50 if expected is None else expected)
