from __future__ import annotations

import math

import pytest

from bench.analysis.studies.duel import duel
from bench.errors import RecordError
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records

# Target 0.8. Of three seeds one needs steps 20, 30 and 10, the other 40, 30 and 20: ratios 2, 1 and 2.
THREE = {("scratch", 1.0): {seed: [0.2, 0.4, 0.6, 0.8] for seed in range(3)}}
ONE = {("one", 1.0): {0: [0.1, 0.9, 0.9, 0.9], 1: [0.1, 0.1, 0.9, 0.9], 2: [0.9, 0.9, 0.9, 0.9]}}
OTHER = {("other", 1.0): {0: [0.1, 0.1, 0.1, 0.9], 1: [0.1, 0.1, 0.9, 0.9], 2: [0.1, 0.9, 0.9, 0.9]}}


def test_a_duel_by_hand():
    trials, evals = records(THREE | ONE | OTHER)
    found = duel(trials, evals, ("one", 1.0), ("other", 1.0), currency="steps")
    assert (found.costs, found.other_costs) == ((20, 30, 10), (40, 30, 20))
    assert found.ratio == pytest.approx(4 ** (1 / 3))
    # Of the eight ways to flip log 2, 0 and log 2, four have a sum as far from 0.
    assert found.paired_p == 0.5
    assert (found.reach.median, found.other_reach.median) == (20, 30)


def test_a_miss_leaves_no_ratio_but_a_log_rank_test():
    trials, evals = records(SCRATCH | FAST | WEAK)
    found = duel(trials, evals, ("fast", 0.5), ("weak", 1.0))
    assert (found.ratio, found.paired_p) == (None, None)
    assert math.isinf(found.other_costs[0])
    assert 0 < found.log_rank_p < 1


def test_a_lower_target_is_a_share_of_scratchs_accuracy():
    trials, evals = records(THREE | ONE | OTHER)
    assert duel(trials, evals, ("one", 1.0), ("other", 1.0), share=0.5).target == pytest.approx(0.4)


def test_strategies_without_a_common_seed_are_refused():
    trials, evals = records(SCRATCH | FAST | {("late", 0.5): {7: [0.9, 0.9]}})
    with pytest.raises(RecordError, match=r"fast at horizon 0\.5 and late at horizon 0\.5: no seed that both"):
        duel(trials, evals, ("fast", 0.5), ("late", 0.5))


def test_a_currency_that_was_not_measured_is_refused():
    trials, evals = records(SCRATCH | FAST)
    with pytest.raises(RecordError, match="gpu_joules was not measured"):
        duel(trials, evals, ("fast", 0.5), ("scratch", 1.0), currency="gpu_joules")


def test_seconds_of_different_machines_are_not_compared():
    trials, evals = records(SCRATCH | FAST | WEAK)
    trials.loc[trials["strategy"] == "fast", "machine"] = "other"
    assert duel(trials, evals, ("fast", 0.5), ("weak", 1.0)).seeds == (0, 1)
    with pytest.raises(RecordError, match="device_seconds was measured on different machines"):
        duel(trials, evals, ("fast", 0.5), ("weak", 1.0), currency="device_seconds")
