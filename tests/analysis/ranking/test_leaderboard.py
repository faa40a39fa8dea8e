from __future__ import annotations

import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard, mean_curves
from bench.errors import RecordError
from bench.reporting.tables import _notes

COSTS = {"images": 64, "train_flops": 1000, "aux_flops": 10, "device_seconds": 0.5}


def records(curves: dict[tuple[str, float], dict[int, list[float]]], **changes: object):
    """Make trials and evaluations: (strategy, horizon) -> seed -> accuracy at steps 10, 20, ..."""
    trials, evals = [], []
    for (strategy, horizon), seeds in curves.items():
        for seed, accuracies in seeds.items():
            key = {"scenario": "s", "strategy": strategy, "horizon": horizon, "seed": seed, "update": 1}
            facts = {"title": strategy.title(), "scenario_title": "S", "status": "finished", "scenario_hash": "h"}
            facts |= {"strategy_hash": strategy, "rules_version": 1, "training_version": 1, "device": "d"}
            facts |= {"machine": "m", "data_hash": "d", "updates": 1, "old_share": 1.0}
            facts |= {"commit": "c" * 40, "modified": False, "base_flops": None if strategy == "scratch" else 5000.0}
            trials.append({**key, **facts})
            for place, accuracy in enumerate(accuracies, 1):
                costs = {name: place * 10 * cost for name, cost in COSTS.items()}
                found = {"validation_accuracy": accuracy, "test_accuracy": accuracy - 0.01, "gpu_joules": None}
                evals.append({**key, "step": place * 10, **costs, **found})
    return pd.DataFrame(trials).assign(**changes), pd.DataFrame(evals)


SCRATCH = {("scratch", 1.0): {0: [0.2, 0.4, 0.6, 0.8], 1: [0.2, 0.4, 0.6, 0.8]}}
FAST = {("fast", 0.5): {0: [0.5, 0.9], 1: [0.5, 0.8]}}
WEAK = {("weak", 1.0): {0: [0.7, 0.7, 0.7, 0.7], 1: [0.5, 0.5, 0.5, 0.5]}}


def test_strategies_are_ranked_by_flops_and_the_censored_come_last():
    table = leaderboard(*records(SCRATCH | FAST | WEAK))
    assert table["strategy"].tolist() == ["scratch", "fast", "weak"]
    assert table["rank"].tolist() == [pd.NA, 1, 2]
    scratch, fast, weak = (table.iloc[place] for place in range(3))
    assert (fast["value_flops"], fast["relation_flops"], fast["cost_flops"]) == (2.0, "=", 20 * 1010)
    assert fast["bracket_flops"] == 10 * 1010
    assert (scratch["value_flops"], scratch["cost_steps"]) == (1.0, 40)
    assert pd.isna(scratch["reached"])  # the reference does not compete
    assert (weak["value_flops"], weak["relation_flops"], weak["reached"]) == (1.0, "<", 0.0)
    assert (fast["base_flops"], fast["test_at_crossing"]) == (5000.0, pytest.approx(0.84))
    assert fast["validation_at_crossing"] == pytest.approx(0.85)
    assert pd.isna(weak["validation_at_crossing"])
    assert table["rules_version"].tolist() == [1, 1, 1]
    assert fast["value_flops_at_0.95"] == 2.0  # 0.76: scratch holds it from step 40, ours from 20
    assert table["target"].tolist() == [pytest.approx(0.8)] * 3


def test_rows_rank_by_what_all_their_seeds_did():
    """Steady reaches with two of three seeds, and its mean ends below; lucky with one, which lifts its mean above."""
    scratch = {("scratch", 1.0): {seed: [0.2, 0.4, 0.6, 0.8] for seed in range(3)}}
    steady = {("steady", 0.5): {0: [0.5, 0.81], 1: [0.5, 0.81], 2: [0.5, 0.70]}}
    lucky = {("lucky", 0.25): {0: [0.99], 1: [0.79], 2: [0.79]}}
    table = leaderboard(*records(scratch | lucky | steady)).set_index("strategy")
    assert table["relation_flops"].to_dict() == {"scratch": "=", "steady": "<", "lucky": "="}
    assert table["rank"].dropna().to_dict() == {"steady": 1, "lucky": 2}


def test_every_currency_is_compared_and_what_was_not_measured_is_empty():
    table = leaderboard(*records(SCRATCH | FAST))
    for currency in ("steps", "images", "flops", "device_seconds"):
        assert table.loc[1, f"value_{currency}"] == pytest.approx(2.0)
    assert table["value_gpu_joules"].isna().all()


def test_seconds_of_different_devices_are_not_compared():
    trials, evals = records(SCRATCH | FAST)
    trials.loc[trials["strategy"] == "fast", "machine"] = "other"
    fast = leaderboard(trials, evals).iloc[1]
    assert fast["value_flops"] == 2.0
    assert fast["value_device_seconds"] is None or pd.isna(fast["value_device_seconds"])


def test_a_strategy_is_compared_on_the_seeds_it_shares_with_scratch():
    scratch = {("scratch", 1.0): {0: [0.4, 0.8], 1: [0.4, 0.6], 7: [0.4, 0.1]}}
    table = leaderboard(*records(scratch | {("fast", 0.5): {0: [0.7], 1: [0.7], 9: [0.0]}}))
    fast = table[table["strategy"] == "fast"].iloc[0]
    assert (fast["n"], fast["missing"]) == (2, 1)
    assert fast["target"] == pytest.approx(0.7)
    assert (fast["value_flops"], fast["relation_flops"]) == (2.0, "=")


def test_without_scratch_there_is_no_target():
    with pytest.raises(RecordError, match=r"s: no finished scratch trial at horizon 1.*--strategy scratch"):
        leaderboard(*records(FAST))


@pytest.mark.parametrize("column", ["scenario_hash", "data_hash", "rules_version", "training_version"])
def test_trials_of_different_settings_are_not_mixed(column: str):
    trials, evals = records(SCRATCH | FAST)
    trials.loc[0, column] = 2 if trials[column].dtype == int else "other"
    with pytest.raises(RecordError, match=column):
        leaderboard(trials, evals)


def test_the_same_mixture_of_machines_on_both_sides_is_not_compared_either():
    trials, evals = records(SCRATCH | FAST)
    trials["machine"] = ["a", "b", "b", "a"]
    fast = leaderboard(trials, evals).iloc[1]
    assert fast["value_flops"] == 2.0
    assert pd.isna(fast["value_device_seconds"])


def test_a_strategy_that_shares_no_seed_still_has_a_row():
    table = leaderboard(*records(SCRATCH | {("late", 0.5): {5: [0.9]}}))
    assert table["strategy"].tolist() == ["scratch", "late"]
    assert (table.loc[1, "n"], table.loc[1, "missing"]) == (0, 2)
    assert pd.isna(table.loc[1, "value_flops"])


def test_two_strategies_under_one_name_are_refused():
    trials, evals = records(SCRATCH | FAST)
    trials.loc[trials.index[-1], "strategy_hash"] = "other"
    with pytest.raises(RecordError, match=r"fast at horizon 0\.5: trials of different strategies"):
        leaderboard(trials, evals)


def test_seeds_measured_at_different_steps_are_refused():
    trials, evals = records(SCRATCH | FAST)
    with pytest.raises(RecordError, match="fast: seeds were measured at different steps"):
        leaderboard(trials, evals.drop(evals[evals["strategy"] == "fast"].index[0]))


@pytest.mark.parametrize(("modified", "expected"), [(False, False), (True, True), (None, True)])
def test_a_tree_that_is_not_known_to_be_clean_is_marked(modified: bool | None, expected: bool):
    table = leaderboard(*records(SCRATCH, modified=modified))
    assert table["modified"].tolist() == [expected]


def test_why_a_commit_is_unknown_is_in_the_table_and_below_it():
    trials, evals = records(SCRATCH | FAST, modified=None)
    assert "commit_reason" not in leaderboard(trials.assign(commit_reason=None), evals)
    reasons = trials.assign(commit_reason=[None, *["git is not installed"] * (len(trials) - 1)])
    assert leaderboard(reasons, evals)["commit_reason"].tolist() == ["git is not installed"] * 2
    table = leaderboard(trials.assign(commit_reason=["git is not installed", *[None] * (len(trials) - 1)]), evals)
    assert table["commit_reason"].fillna("").tolist() == ["git is not installed", ""]
    assert "Commit unknown: git is not installed." in _notes(table)


def test_unfinished_trials_are_counted_not_hidden():
    trials, evals = records(SCRATCH)
    trials.loc[len(trials)] = {**trials.iloc[0].to_dict(), "seed": 2, "status": "failed"}
    assert leaderboard(trials, evals)["unfinished"].tolist() == [1]


def test_curves_are_means_with_one_standard_deviation_over_seeds():
    curves = mean_curves(*records({("scratch", 1.0): {0: [0.2, 0.8], 1: [0.4, 0.8]}}), "flops")
    first = curves.iloc[0]
    assert (first["cost"], first["accuracy"], first["n"]) == (10 * 1010, pytest.approx(0.3), 2)
    assert first["std"] == pytest.approx(0.141421, abs=1e-6)  # |0.4 - 0.2| / sqrt 2
    assert (first["low"], first["high"]) == (pytest.approx(0.158579, abs=1e-6), pytest.approx(0.441421, abs=1e-6))


def test_the_order_of_the_evaluations_does_not_matter():
    trials, evals = records(SCRATCH | FAST | WEAK)
    shuffled = evals.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(leaderboard(trials, shuffled), leaderboard(trials, evals))
    pd.testing.assert_frame_equal(mean_curves(trials, shuffled, "flops"), mean_curves(trials, evals, "flops"))


def test_a_seed_that_counts_twice_is_refused():
    trials, evals = records(SCRATCH | FAST)
    twice = evals[(evals["strategy"] == "fast") & (evals["seed"] == 0)]
    with pytest.raises(RecordError, match="fast: seeds were measured at different steps"):
        leaderboard(trials, pd.concat([evals, twice], ignore_index=True))


def test_seeds_at_different_steps_are_refused_even_if_equally_many():
    trials, evals = records(SCRATCH | FAST)
    evals.loc[(evals["strategy"] == "fast") & (evals["seed"] == 0) & (evals["step"] == 10), "step"] = 15
    with pytest.raises(RecordError, match="fast: seeds were measured at different steps"):
        leaderboard(trials, evals)


def test_a_seed_at_other_steps_does_no_harm_if_not_compared():
    late = {("late", 0.5): {0: [0.9], 1: [0.9], 5: [0.9, 0.9]}}
    table = leaderboard(*records(SCRATCH | late))
    assert table.set_index("strategy").loc["late", ["n", "value_flops"]].tolist() == [2, 4.0]


def test_ten_seeds_have_an_interval_in_every_currency():
    random = range(10)
    scratch = {("scratch", 1.0): {seed: [0.2, 0.5, 0.7, 0.8 + seed / 1000] for seed in random}}
    fast = {("fast", 1.0): {seed: [0.6, 0.81 - seed / 1000, 0.85, 0.9] for seed in random}}
    row = leaderboard(*records(scratch | fast)).iloc[1]
    for currency in ("steps", "images", "flops", "device_seconds"):
        assert row[f"note_{currency}"] == "bootstrap, n = 10"
        assert (row[f"low_{currency}"], row[f"high_{currency}"]) == (pytest.approx(4 / 3), 2.0)
    assert pd.isna(row["low_gpu_joules"])
