"""Plans of several horizons, and the search for the shortest that holds the target."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.api import horizons
from bench.api.horizons import Tried, shortest
from bench.errors import BenchError, StrategyError


def test_bisection_asks_about_few_lengths_and_finds_the_least():
    """Of 0.02, 0.04, ..., 1, what holds from 0.33 on is 0.34: at most 1 + log2(50) questions."""
    asked: list[float] = []
    lengths = [round(0.02 * place, 6) for place in range(1, 51)]
    assert shortest(lengths, lambda length: (asked.append(length), length >= 0.33)[1]) == 0.34
    assert asked == [1.0, 0.5, 0.24, 0.36, 0.3, 0.32, 0.34]


@pytest.mark.parametrize("least", [0.25, 0.5, 0.75, 1.0])
def test_any_length_can_be_the_shortest_the_first_and_the_last_too(least: float):
    assert shortest([0.25, 0.5, 0.75, 1.0], lambda length: length >= least) == least


def test_where_the_longest_misses_there_is_none_and_nothing_else_is_run():
    asked: list[float] = []
    assert shortest([0.5, 1.0], lambda length: bool(asked.append(length))) is None
    assert asked == [1.0]


def test_a_frontiers_plan_is_each_strategy_at_each_horizon_and_scratchs_full_length(tmp_path: Path):
    def planned(strategies: list[str]) -> list[tuple[str, float]]:
        plan = bench.frontier("digits-7-3", strategies, [0.5, 0.25], seeds=[0], results=tmp_path)
        return list(plan.trials[["strategy", "horizon"]].itertuples(index=False, name=None))

    assert planned(["naive"]) == [("scratch", 1.0), ("naive", 0.5), ("naive", 0.25)]
    assert planned(["scratch"]) == [("scratch", 1.0), ("scratch", 0.5), ("scratch", 0.25)]
    with pytest.raises(StrategyError, match=r"horizons: found \[0.5\], expected at least two"):
        bench.frontier("digits-7-3", ["naive"], [0.5])


def test_a_length_is_not_looked_for_on_scored_seeds():
    with pytest.raises(BenchError, match="seeds 99: scored, and a length must not be chosen on what is scored"):
        bench.find_horizons("digits-7-3", ["naive"], [100, 99])
    with pytest.raises(BenchError, match="resolution 0: expected above 0"):
        bench.find_horizons("digits-7-3", ["naive"], resolution=0)
    with pytest.raises(StrategyError, match="none besides scratch"):
        bench.find_horizons("digits-7-3", ["scratch"])


def test_each_strategy_is_searched_and_scratch_is_not(monkeypatch: pytest.MonkeyPatch):
    """naive holds from 0.6 on, optimized never."""
    least = {"naive": 0.6, "optimized": 2.0}

    def made_up(scenario, entrant, seeds, jobs, listener, options) -> Tried:
        horizon = entrant.strategy.horizon
        return Tried(entrant.name, horizon, 0.9, 0.8, horizon >= least[entrant.name])

    monkeypatch.setattr(horizons, "_try", made_up)
    tried: list[Tried] = []
    found = bench.find_horizons("digits-7-3", ["scratch", "naive", "optimized"], resolution=0.3, tell=tried.append)
    assert found == {"naive": 0.6, "optimized": None}
    assert [(each.strategy, each.horizon) for each in tried] == [
        ("naive", 1.0),
        ("naive", 0.6),
        ("naive", 0.3),
        ("optimized", 1.0),
    ]
