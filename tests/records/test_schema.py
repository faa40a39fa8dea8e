from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bench import load_results
from bench.records.schema import TrialRecord
from bench.records.store import read_trial
from tests.records.made_up import finished, trial


def seconds_of_naive(results: Path, **provenance: Any) -> float | None:
    """Return the speedup in seconds of `naive` whose trials have these entries in their provenance, over scratch."""
    place = trial()["provenance"]
    for seed in (0, 1):
        finished(results, [0.5, 0.8], seed=seed)
        finished(results, [0.8, 0.8], strategy="naive", seed=seed, provenance={**place, **provenance})
    (row,) = load_results(results).leaderboard("made-up").frame.query("strategy == 'naive'").to_dict("records")
    assert row["value_flops"] == 2.0
    return None if pd.isna(row["value_device_seconds"]) else row["value_device_seconds"]


def test_a_record_from_before_side_by_side_trials_ran_alone(tmp_path: Path):
    record = read_trial(finished(tmp_path, [0.5]))
    assert isinstance(record, TrialRecord)
    assert record.schema_version == 2
    assert record.provenance.jobs == 1


def test_seconds_of_trials_that_ran_alone_are_compared_whether_or_not_their_record_says_so(tmp_path: Path):
    assert seconds_of_naive(tmp_path, jobs=1) is not None


def test_seconds_of_trials_that_ran_side_by_side_are_not_compared_with_those_that_ran_alone(tmp_path: Path):
    assert seconds_of_naive(tmp_path, jobs=2) is None
