from __future__ import annotations

import numpy as np
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.pooled import pool
from bench.analysis.ranking.profiles import profiles
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records

BOARDS = [
    leaderboard(*records(SCRATCH | FAST | WEAK)),  # fast at half of scratch's cost, weak never
    leaderboard(*records(SCRATCH | {("fast", 0.5): {0: [0.9, 0.9], 1: [0.9, 0.8]}} | WEAK)),  # at a quarter
]


def steps(strategy: str) -> dict[float, float]:
    found = profiles(BOARDS)
    mine = found[found["strategy"] == strategy]
    return dict(zip(mine["tau"], mine["rho"], strict=True))


def test_a_profile_by_hand():
    assert steps("fast") == {1: 1, 2: 1, 4: 1}
    assert steps("scratch") == {1: 0, 2: 0.5, 4: 1}  # a ratio of exactly four still counts
    assert steps("weak") == {1: 0, 2: 0, 4: 0}


def test_a_profile_says_what_the_pooled_table_says():
    found = profiles(BOARDS).drop_duplicates("strategy")
    pooled = pool(BOARDS)
    for column in ("strategy", "geometric_mean", "score", "reached", "scenarios"):
        assert found[column].tolist() == pooled[column].tolist()


def test_the_area_below_the_steps_is_the_score():
    for strategy, mine in profiles(BOARDS).groupby("strategy"):
        area = (np.diff(mine["tau"]) * mine["rho"].iloc[:-1]).sum() / 3
        assert area == pytest.approx(mine["score"].iloc[0]), strategy


def test_tables_that_share_only_scratch_have_only_its_profile():
    boards = [leaderboard(*records(SCRATCH | FAST)), leaderboard(*records(SCRATCH | WEAK))]
    assert set(profiles(boards)["strategy"]) == {"scratch"}
