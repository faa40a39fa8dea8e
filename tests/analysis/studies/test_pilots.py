"""What a pilot points to and what it cost, against hand sums."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.analysis.studies.decision import decide
from bench.analysis.studies.pilots import pilot_cost, read_pilot
from tests.analysis.ranking.test_leaderboard import records


def trials(*rows: tuple[str, float, int, int, int, int]) -> pd.DataFrame:
    names = ["strategy", "horizon", "total_steps", "train_flops", "aux_flops", "evaluate_flops"]
    return pd.DataFrame(rows, columns=names)


def test_the_cost_counts_every_trial_and_evaluating_against_scratchs_whole_training():
    # A step of scratch is (90 + 10) / 10 = 10 FLOPs, so 200 whole steps are 2,000. Spent: 100 + 20 + 50 + 10 + 60 = 240.
    found = trials(("scratch", 1, 10, 90, 10, 20), ("naive", 0.5, 5, 45, 5, 10), ("scratch", 0.5, 5, 45, 5, 10))
    assert pilot_cost(found, 200) == pytest.approx(0.12)


def test_it_points_to_the_cheapest_way_within_the_margin():
    ends = {
        ("scratch", 1.0): {0: [0.2, 0.4, 0.6, 0.8]},
        ("half", 0.5): {0: [0.5, 0.7]},
        ("more", 0.75): {0: [0, 0, 0.797]},
    }
    frames, spent = records(ends), trials(("scratch", 1, 4, 40, 0, 0))
    found = read_pilot(spent, decide(*frames), 0.1, 100)
    assert found.points_to == "continue"
    assert found.way is not None
    assert (found.way.strategy, found.share) == ("more", 0.1)
    strict = read_pilot(spent, decide(*frames, margin=0.001), 0.1, 100)
    assert (strict.points_to, strict.way) == ("retrain", None)
