from __future__ import annotations

import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.studies.targets import speedups_by_target
from bench.errors import RecordError
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records


def test_every_strategy_has_a_row_at_every_share_by_hand():
    table = speedups_by_target(*records(SCRATCH | FAST | WEAK), shares=(0.5, 1.0))
    keys = list(zip(table["strategy"], table["share"], strict=True))
    assert keys == [("fast", 0.5), ("fast", 1.0), ("scratch", 0.5), ("scratch", 1.0), ("weak", 0.5), ("weak", 1.0)]
    # Half of 0.8 is 0.4: scratch holds it from step 20, fast and weak from step 10. All of it: 40, 20 and never.
    assert table["value"].tolist() == pytest.approx([2.0, 2.0, 1.0, 1.0, 2.0, 1.0])
    assert table["relation"].tolist() == ["=", "=", "=", "=", "=", "<"]
    assert table["n"].tolist() == [2] * 6


def test_the_rows_agree_with_the_leaderboard():
    trials, evals = records(SCRATCH | FAST | WEAK)
    board = leaderboard(trials, evals).set_index("strategy")
    for row in speedups_by_target(trials, evals).to_dict("records"):
        column = "flops" if row["share"] == 1 else f"flops_at_{row['share']:.2f}"
        assert row["relation"] == board.loc[row["strategy"], f"relation_{column}"]
        assert row["value"] == pytest.approx(board.loc[row["strategy"], f"value_{column}"])


def test_an_interval_is_given_where_there_is_one():
    scratch = {("scratch", 1.0): {seed: [0.5, 0.6, 0.7, 0.8] for seed in range(3)}}
    ours = {("fast", 1.0): {0: [0.8] * 4, 1: [0.8] * 4, 2: [0.7, 0.8, 0.8, 0.8]}}
    table = speedups_by_target(*records(scratch | ours), shares=(1.0,)).set_index("strategy")
    # Per-seed ratios 4, 4 and 2; the mean curve crosses with the last seed. ln: mean 1.155245, sd 0.400189, t 4.302653.
    assert table.loc["fast", "low"] == pytest.approx(1.174828, rel=1e-5)
    assert table.loc["fast", "high"] == pytest.approx(8.579445, rel=1e-5)
    assert pd.isna(table.loc["scratch", "low"])


def test_what_cannot_be_compared_has_no_row():
    trials, evals = records(SCRATCH | FAST | {("late", 0.5): {9: [0.9, 0.9]}})
    trials.loc[trials["strategy"] == "fast", "machine"] = "other"
    assert set(speedups_by_target(trials, evals)["strategy"]) == {"fast", "scratch"}
    assert set(speedups_by_target(trials, evals, currency="device_seconds")["strategy"]) == {"scratch"}
    assert speedups_by_target(trials, evals, currency="gpu_joules").empty


def test_without_scratch_there_is_no_target():
    with pytest.raises(RecordError, match="no finished scratch trial"):
        speedups_by_target(*records(FAST))
