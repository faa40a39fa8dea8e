from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import load_results
from bench.records.schema import Shared, TrialRecord
from bench.records.sharing import shared_by
from bench.records.store import read_trial
from tests.records.made_up import change, finished, trial


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


def test_seconds_of_trials_that_shared_their_machine_are_compared_with_none(tmp_path: Path):
    for strategy, accuracies in (("scratch", [0.5, 0.75]), ("naive", [0.8, 0.9])):
        for seed in (0, 1):
            folder = finished(tmp_path, accuracies, strategy=strategy, seed=seed)
            shared = {"jobs": 2, "busy_share": 0.5} if strategy == "naive" and seed else None
            change(folder, lambda record, shared=shared: record["summary"].update(shared=shared))
    board = load_results(tmp_path).leaderboard("made-up")
    (row,) = board.frame.query("strategy == 'naive'").to_dict("records")
    assert row["value_flops"] == 2.0
    assert pd.isna(row["value_device_seconds"])
    assert row["shared"]
    assert "Shared: some trials ran beside others" in " ".join(board.cells.notes)
    (scratch,) = board.frame.query("strategy == 'scratch'").to_dict("records")
    assert scratch["value_device_seconds"] == 1.0


@pytest.mark.parametrize(
    ("place", "trained", "others", "neighbours", "expected"),
    [
        ({}, 100.0, 9.0, 0, None),  # of two processors, 4.5 %
        ({}, 100.0, 11.0, 0, Shared(jobs=1, busy_share=0.055)),
        ({}, 1.0, 0.4, 0, None),  # noise
        ({}, 100.0, None, 0, None),
        ({"jobs": 2}, 100.0, None, 0, Shared(jobs=2, busy_share=None)),
        ({"device_type": "cuda", "jobs": 2}, 100.0, 90.0, 0, None),  # a GPU each
        ({"device_type": "cuda"}, 100.0, 110.0, 0, Shared(jobs=1, busy_share=0.55)),
        ({"device_type": "cuda"}, 100.0, 0.0, 1, Shared(jobs=1, busy_share=0.0, neighbours=1)),
    ],
)
def test_a_trial_was_shared_if_others_took_its_processors_or_its_gpu(
    place: dict,
    trained: float,
    others: float | None,
    neighbours: int,
    expected: Shared | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("bench.records.sharing.LEAST_SECONDS", 0.5)
    record = read_trial(finished(tmp_path, [0.5]))
    assert record is not None
    assert shared_by(record.provenance.model_copy(update=place), trained, others, neighbours) == expected
