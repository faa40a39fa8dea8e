from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.ranking.entries import accuracies_at_target, seed_results
from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.speedup.curves import ACCURACIES
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records


def entries(curves: dict) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    trials, evals = records(curves, reason=None)
    return leaderboard(trials, evals), trials, evals


def test_every_trial_has_a_row_with_its_own_crossing_and_its_whole_cost():
    found = seed_results(*entries(SCRATCH | FAST | WEAK))
    assert found["strategy"].tolist() == ["scratch", "scratch", "fast", "fast", "weak", "weak"]
    fast = found.iloc[2]
    assert (fast["held"], fast["steps_at_target"], fast["flops_at_target"], fast["flops"]) == (True, 20, 20200, 20200)
    weak = found.iloc[4]
    assert (weak["held"], weak["steps"], weak["device_seconds"]) == (False, 40, 20.0)
    assert np.isnan(weak["flops_at_target"])
    assert weak["validation_accuracy"] == 0.7
    assert np.isnan(weak["validation_accuracy_old"])  # these records do not distinguish old and new


def test_a_row_s_seeds_agree_with_the_leaderboard():
    rows, trials, evals = entries(SCRATCH | {("late", 0.5): {0: [0.9], 1: [0.1], 7: [0.9]}})
    found = seed_results(rows, trials, evals)
    late = found[found["strategy"] == "late"]
    row = rows[rows["strategy"] == "late"].iloc[0]
    assert late["scored"].tolist() == [True, True, False]  # scratch has no seed 7
    assert late["scored"].sum() == row["n"]
    assert late[late["scored"]]["held"].mean() == row["reached"]


def test_a_failed_trial_has_its_reason_and_no_measurements():
    rows, trials, evals = entries(SCRATCH)
    trials.loc[len(trials)] = {**trials.iloc[0].to_dict(), "seed": 2, "status": "failed", "reason": "no memory"}
    last = seed_results(rows, trials, evals).iloc[-1]
    assert (last["seed"], last["status"], last["reason"], last["scored"]) == (2, "failed", "no memory", False)
    assert pd.isna(last["flops"])


def test_a_strategy_without_a_common_seed_still_has_its_trials():
    rows, trials, evals = entries(SCRATCH | {("late", 0.5): {5: [0.9]}})
    late = seed_results(rows, trials, evals).iloc[-1]
    assert (late["scored"], late["flops"]) == (False, 10100)
    assert pd.isna(late["held"])  # there is no target to hold
    assert "late" not in set(accuracies_at_target(rows, trials, evals)["strategy"])


def test_accuracies_at_the_crossing_are_means_and_test_is_from_its_next_measurement():
    _, trials, evals = entries(SCRATCH | {("slow", 1.0): {0: [0.7, 0.8, 0.8, 0.9], 1: [0.7, 0.9, 0.9, 0.9]}})
    evals.loc[evals["step"].isin([20, 30]), "test_accuracy"] = np.nan
    for name in ("validation_accuracy", "test_accuracy"):
        evals[f"{name}_old"], evals[f"{name}_new"] = evals[name] + 0.01, evals[name] - 0.02
    rows = leaderboard(trials, evals)
    found = accuracies_at_target(rows, trials, evals).set_index("strategy").loc["slow"]
    assert found["step"] == 20
    assert found["validation_accuracy"] == pytest.approx(0.85)
    assert found["validation_accuracy_std"] == pytest.approx(0.0707107, abs=1e-7)  # 0.1 / sqrt 2
    assert found["test_accuracy"] == pytest.approx(0.89)  # of step 40
    row = rows.set_index("strategy").loc["slow"]
    for name in ACCURACIES:
        assert found[name] == pytest.approx(row[name.replace("_accuracy", "_at_crossing")]), name
    assert row["validation_at_crossing_old"] == pytest.approx(0.86)
    assert row["test_at_crossing_new"] == pytest.approx(0.87)


def test_scratch_crosses_at_its_end_even_if_it_reached_the_target_earlier():
    rows, trials, evals = entries({("scratch", 1.0): {0: [0.8, 0.8], 1: [0.8, 0.8]}})
    assert accuracies_at_target(rows, trials, evals)["step"].tolist() == [20]


def test_a_strategy_that_missed_has_no_accuracies_at_a_crossing():
    rows, trials, evals = entries(SCRATCH | WEAK)
    assert accuracies_at_target(rows, trials, evals)["strategy"].tolist() == ["scratch"]


def test_one_seed_has_no_spread():
    rows, trials, evals = entries({("scratch", 1.0): {0: [0.4, 0.8]}})
    found = accuracies_at_target(rows, trials, evals).iloc[0]
    assert found["validation_accuracy"] == 0.8
    assert all(np.isnan(found[f"{name}_std"]) for name in ACCURACIES)
