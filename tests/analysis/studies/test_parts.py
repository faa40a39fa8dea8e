from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.studies.parts import old_and_new
from tests.analysis.ranking.test_leaderboard import SCRATCH, records
from tests.reporting.made_up import made_up


def board(old: list[float], new: list[float], overall: list[float]) -> pd.DataFrame:
    rows = {"strategy": ["scratch", "naive"], "title": ["Scratch", "Naive"], "horizon": [1.0, 1.0], "n": [3, 3]}
    accuracies = {"validation_accuracy_old": old, "validation_accuracy_new": new, "validation_accuracy": overall}
    spreads = {"validation_accuracy_old_std": [0.01, 0.02], "validation_accuracy_new_std": [0.03, 0.04]}
    return pd.DataFrame({**rows, **accuracies, **spreads})


def test_the_share_of_old_images_follows_from_the_accuracies():
    found = old_and_new(board([0.5, 0.8], [0.9, 0.6], [0.6, 0.75]))
    assert found["old_weight"].to_numpy() == pytest.approx(0.75)  # 0.75 * 0.5 + 0.25 * 0.9 = 0.6
    naive = found[found["strategy"] == "naive"].iloc[0]
    assert (naive["images"], naive["old"], naive["new"], naive["old_std"], naive["new_std"], naive["all"]) == (
        "validation", 0.8, 0.6, 0.02, 0.04, 0.75,
    )  # fmt: skip


def test_accuracies_that_no_share_explains_have_no_weight():
    assert np.isnan(old_and_new(board([0.5, 0.8], [0.9, 0.6], [0.6, 0.70]))["old_weight"]).all()
    assert np.isnan(old_and_new(board([0.5, 0.6], [0.5, 0.6], [0.5, 0.6]))["old_weight"]).all()


def test_validation_and_test_are_separate():
    records_ = made_up(3, seeds=2)
    found = old_and_new(leaderboard(records_.trials, records_.evals))
    assert found.groupby("images").size().to_dict() == {"test": 3, "validation": 3}
    assert found["old_weight"].to_numpy() == pytest.approx(0.7)


def test_without_old_and_new_there_are_no_rows():
    assert old_and_new(leaderboard(*records(SCRATCH))).empty
    nothing = board([np.nan, np.nan], [np.nan, np.nan], [0.5, 0.6])
    assert old_and_new(nothing).empty
