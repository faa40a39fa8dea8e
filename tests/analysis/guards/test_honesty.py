from __future__ import annotations

import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.reporting.layout import markdown
from bench.reporting.tables import leaderboard_cells
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records
from tests.analysis.test_published import MAKERS, both, with_target

# Four seeds about 0.8, with a standard deviation of 0.01.
SPREAD = {("scratch", 1.0): dict(enumerate([[0.2, 0.4, 0.7, end] for end in (0.785, 0.80, 0.805, 0.81)]))}


def board(curves: dict, accuracy: float = 0.8, steps: str | None = None) -> pd.DataFrame:
    trials, evals = records(curves)
    return leaderboard(with_target(trials, accuracy, steps), evals)


def test_scratch_like_the_published_one_passes():
    row = board(SPREAD).iloc[0]
    assert row["scratch_difference"] == pytest.approx(0.0)
    assert row["scratch_p"] == pytest.approx(1.0)
    assert row["scratch_verdict"] == "no difference found"


@pytest.mark.parametrize("accuracy", [0.83, 0.77])
def test_a_scratch_too_weak_or_too_good_is_named_below_the_table(accuracy: float):
    table = board(SPREAD, accuracy)
    # std sqrt((225 + 0 + 25 + 100) e-6 / 3) = 0.0108; t = 0.03 / sqrt(0.0108^2 / 4 + 0.01^2 / 5) = 4.29 at 6 degrees.
    assert 0.001 < table.loc[0, "scratch_p"] < 0.01
    text = markdown(leaderboard_cells(table))
    assert f"It ends {0.8 - accuracy:+.4f} from the published accuracy, p = 0.00" in text
    assert "differs from the published one (Welch's test, two-sided, at 0.05)" in text


def test_a_single_seed_is_said_to_be_too_few():
    text = markdown(leaderboard_cells(board({("scratch", 1.0): {0: [0.2, 0.8]}})))
    assert "It ends +0.0000 from the published accuracy: not tested: n = 1 is too small" in text


def test_the_table_says_published_from_how_many_seeds_and_where_and_what_was_left_out():
    text = markdown(leaderboard_cells(board(both(SCRATCH | FAST, MAKERS), 0.84)))
    assert "Target: validation accuracy 0.8400 ± 0.0100, published (5 seeds, there)" in text
    assert "Not scored: 10 trials of seeds 10-14, from which the published target was computed." in text
    assert "provisional" not in text
    assert "Not scored" not in markdown(leaderboard_cells(board(SCRATCH | FAST, 0.84)))


def test_a_share_of_a_published_target_is_described_as_such():
    trials, evals = records(SCRATCH | FAST)
    text = markdown(leaderboard_cells(leaderboard(with_target(trials, 0.8), evals, share=0.5)))
    assert "Target: validation accuracy 0.4000 ± 0.0050, published (0.5 of it, 5 seeds, there)" in text


def test_a_provisional_target_has_no_guard():
    trials, evals = records(SCRATCH | FAST | WEAK)
    text = markdown(leaderboard_cells(leaderboard(trials, evals)))
    assert "provisional (mean of scratch's 2 seeds)" in text
    assert "honest" not in text


def test_strategies_that_converge_faster_than_published_scratch_are_named():
    curves = {("scratch", 1.0): [0.2, 0.4, 0.77, 0.8], ("fast", 0.5): [0.5, 0.9], ("weak", 1.0): [0.7] * 4}
    four = {key: dict.fromkeys(range(4), curve) for key, curve in curves.items()}
    table = board(four, 0.8, "28 29 30 30 31").set_index("strategy")
    # 0.95 of 0.8: scratch holds it from step 30, fast from 20, weak never. The reference: mean of 29, 30, 30; std 1.0198.
    # Least of four runs: 29.6667 - 2.3534 * 1.0198 * sqrt(1 / 3 + 1 / 2) = 27.476, t of 0.95 at 3 degrees from tables.
    assert table["convergence_least"].tolist() == pytest.approx([27.4757] * 3, abs=1e-3)
    assert table["convergence_mean"].to_dict() == {"scratch": 30, "fast": 20, "weak": float("inf")}
    assert table["too_fast"].to_dict() == {"scratch": False, "fast": True, "weak": False}
    text = markdown(leaderboard_cells(table.reset_index()))
    assert "Significantly faster to 0.95 of the target than published scratch (MLPerf's convergence points)" in text
    assert "fast at horizon 0.5 (step 20, expected at least 27)" in text
    assert "weak at horizon" not in text


def test_convergence_needs_three_seeds_and_the_published_steps():
    assert "too_fast" not in board(SCRATCH, 0.8, "38 39 40 40 41")  # two seeds
    assert "too_fast" not in board(SPREAD)
