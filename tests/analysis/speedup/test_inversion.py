"""The interval of a cost by the inverted paired t test: by hand, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest

from bench.analysis.speedup.inversion import equal_cost_interval
from bench.analysis.speedup.student import t_quantile

COSTS = np.array([0.2, 0.3, 0.5])


def test_the_ends_are_where_the_t_statistic_is_the_quantile():
    differences = np.array([[-0.03, -0.01, -0.02, -0.025], [0.02, 0.03, 0.01, 0.02]])
    costs = np.array([1.0, 2.0])
    found = equal_cost_interval(costs, differences)
    assert found is not None
    for cost in (found.low, found.high):
        u = np.log(cost) / np.log(2)
        there = (1 - u) * differences[0] + u * differences[1]
        t = there.mean() / (there.std(ddof=1) / np.sqrt(4))
        assert abs(t) == pytest.approx(t_quantile(3), rel=1e-9)


def test_parallel_lines_by_hand():
    """All seeds rise by 2 over one doubling, and start at -1 +- 0.1: D is -1 + 2u, its error 0.1 / sqrt(3), t = 4.3027."""
    start = np.array([-1.1, -1.0, -0.9])
    found = equal_cost_interval(np.array([1.0, 2.0]), np.stack([start, start + 2]))
    assert found is not None
    half = 4.302653 * 0.1 / np.sqrt(3) / 2
    assert np.log2([found.low, found.high]) == pytest.approx([0.5 - half, 0.5 + half], rel=1e-6)
    assert not found.low_open
    assert not found.high_open


def test_where_nothing_can_be_said_there_is_none():
    some = np.array([[-0.1, -0.12, -0.11], [0.1, 0.12, 0.11]])
    assert equal_cost_interval(COSTS[:2], some) is not None
    assert equal_cost_interval(COSTS[:2], some[:, :2]) is None  # two seeds
    assert equal_cost_interval(COSTS[:2], np.where(some > 0.11, np.nan, some)) is None
    assert equal_cost_interval(COSTS[:2], np.array([[-0.1] * 3, [0.1] * 3])) is None  # no spread at all
    assert equal_cost_interval(COSTS[:1], some[:1]) is None  # one horizon
    assert equal_cost_interval(COSTS[:2], abs(some)) is None  # surely above everywhere


def test_a_zero_that_is_certain_is_in_the_interval():
    """Scratch against itself at its own length: zero for every seed."""
    found = equal_cost_interval(COSTS[:2], np.array([[-0.1, -0.12, -0.11], [0.0, 0.0, 0.0]]))
    assert found is not None
    assert (found.high, found.high_open) == (pytest.approx(0.3), True)
    assert found.low > 0.2


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_ninety_five_of_a_hundred_intervals_hold_the_true_cost(seeds: int):
    """Made-up accuracies, linear in log cost between horizons, with seed effects and noise of scratch and of each horizon."""
    random = np.random.default_rng(seeds)
    means = np.array([-0.010, 0.004, 0.012])  # the true difference is zero between 0.2 and 0.3
    crossing = np.exp(np.log(0.2) + 10 / 14 * np.log(0.3 / 0.2))
    runs, held = 4000, 0
    for _ in range(runs):
        scratch = random.normal(0, 0.002, seeds)
        ended = means[:, None] + random.normal(0, 0.002, seeds) + random.normal(0, 0.0015, (3, seeds))
        found = equal_cost_interval(COSTS, ended - scratch)
        held += found is not None and found.low <= crossing <= found.high
    assert 0.93 <= held / runs <= 0.97
