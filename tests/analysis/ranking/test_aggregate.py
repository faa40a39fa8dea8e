from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.ranking.aggregate import aggregate, aggregate_speedups, interquartile_mean, seed_speedups
from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.pooled import pool
from bench.reporting.layout import markdown
from bench.reporting.tables import pooled_cells
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records
from tests.analysis.test_published import MAKERS, both, with_target


def test_the_interquartile_mean_is_of_the_middle_half_of_all_scores():
    scores = np.array([[1.0, 100.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    assert interquartile_mean(scores) == (4 + 5 + 6 + 7) / 4  # without 1 and 3, 8 and 100
    assert interquartile_mean(scores.T) == interquartile_mean(scores)


def test_scenarios_may_have_different_numbers_of_seeds():
    assert interquartile_mean([np.array([1.0, 2.0, 3.0]), np.array([10.0])]) == 2.5


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=40), st.floats(-3, 3), st.floats(0.1, 3))
def test_the_interquartile_mean_moves_and_grows_with_its_scores(scores, shift, factor):
    values = np.array(scores)
    moved = interquartile_mean([values * factor + shift])
    assert moved == pytest.approx(interquartile_mean([values]) * factor + shift, abs=1e-9)
    assert values.min() - 1e-9 <= interquartile_mean([values]) <= values.max() + 1e-9


def test_one_wild_seed_does_not_move_it():
    calm = [np.array([1.0, 1.1, 0.9, 1.0]), np.array([1.0, 1.0, 1.05, 0.95])]
    wild = [np.array([1.0, 1.1, 0.9, 1000.0]), calm[1]]
    assert interquartile_mean(wild) == pytest.approx(interquartile_mean(calm), abs=0.05)


def test_seeds_are_drawn_within_their_scenario():
    # Each scenario's seeds agree, so every resample has the same scores: zero width, although scenarios differ.
    found = aggregate([np.full(3, 1.0), np.full(3, 2.0), np.full(3, 9.0)])
    assert found.value == found.low == found.high


def test_a_scenario_with_one_seed_leaves_no_interval():
    found = aggregate([np.array([1.0, 2.0, 3.0]), np.array([2.0])])
    assert (found.low, found.high) == (None, None)
    assert found.value == 2.0


def test_the_same_scores_give_the_same_interval():
    scores = np.random.default_rng(3).normal(size=(4, 5))
    assert aggregate(scores) == aggregate(scores)


@pytest.fixture
def rliable(monkeypatch: pytest.MonkeyPatch):
    """The reference implementation. Its dependency arch calls a pandas decorator in a way that pandas no longer allows."""
    import pandas.util._decorators as decorators

    pytest.importorskip("rliable")
    if "arch" not in sys.modules:
        monkeypatch.setattr(decorators, "deprecate_kwarg", lambda *_, **__: lambda function: function, raising=False)
    from rliable import library, metrics

    return library, metrics


def test_rliable_finds_the_same_mean_and_interval(rliable):
    library, metrics = rliable
    seeds, scenarios = 6, np.array([1.0, 1.5, 0.8, 2.0])
    runs = np.random.default_rng(11).lognormal(0.5, 0.4, size=(seeds, len(scenarios))) * scenarios
    ours = aggregate(runs.T)
    points, intervals = library.get_interval_estimates(
        {"ours": runs}, lambda scores: np.array([metrics.aggregate_iqm(scores)]), reps=10_000
    )
    assert ours.value == pytest.approx(points["ours"][0], rel=1e-12)
    low, high = intervals["ours"][:, 0]
    # Each end is a 2.5 % quantile of 10,000 draws, off by 0.03 of their deviation on either side; a 20th of the width is 0.2,
    # and a 90 % interval would be 0.3 narrower at each end.
    assert ours.low == pytest.approx(low, abs=0.05 * (high - low))
    assert ours.high == pytest.approx(high, abs=0.05 * (high - low))


def test_each_seed_has_its_own_speedup_and_a_miss_counts_as_the_budget_plus_one_step():
    mixed = {("mixed", 1.0): {0: [0.5, 0.9, 0.9, 0.9], 1: [0.9, 0.5, 0.5, 0.5]}}
    table = seed_speedups(*records(SCRATCH | mixed))
    assert table[table["strategy"] == "mixed"]["speedup"].tolist() == pytest.approx([2.0, 40 / 41])
    assert table[table["strategy"] == "scratch"]["speedup"].tolist() == [1.0, 1.0]


def test_at_a_share_scratchs_seeds_have_their_own_costs():
    table = seed_speedups(*records(SCRATCH | FAST), share=0.75)  # 0.6: scratch from step 30, fast from 20
    assert table[table["strategy"] == "fast"]["speedup"].tolist() == pytest.approx([1.5, 1.5])


def test_seed_speedups_use_a_published_target_and_leave_its_seeds_out():
    trials, evals = records(both(SCRATCH | FAST, MAKERS))
    table = seed_speedups(with_target(trials, 0.85), evals)
    fast = table[table["strategy"] == "fast"]
    assert fast["seed"].tolist() == [0, 1]
    assert fast["speedup"].tolist() == pytest.approx([2.0, 40 / 41])  # it ends at 0.9 and 0.8


def test_speedups_are_averaged_over_their_logarithms():
    tables = [
        pd.DataFrame({"strategy": "s", "horizon": 1.0, "seed": [0, 1], "speedup": pair})
        for pair in ([2, 2], [0.5, 0.5])
    ]
    found = aggregate_speedups(tables).iloc[0]
    assert found["iqm"] == pytest.approx(1.0)
    assert (found["iqm_low"], found["iqm_high"]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_the_table_of_all_scenarios_shows_the_interquartile_mean():
    one, other = records(SCRATCH | FAST | WEAK), records(SCRATCH | FAST)
    boards, seeds = [leaderboard(*one), leaderboard(*other)], [seed_speedups(*one), seed_speedups(*other)]
    table = pool(boards, seeds)
    assert table.set_index("strategy")["iqm"].to_dict() == pytest.approx({"fast": 2.0, "scratch": 1.0})
    text = markdown(pooled_cells(table))
    assert "| IQM of seeds |" in text
    assert "| 2.00 (2.00 to 2.00) |" in text
    assert "IQM" not in markdown(pooled_cells(pool(boards)))
