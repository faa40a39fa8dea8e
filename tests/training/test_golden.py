"""If these fail and the change was intended, increment TRAINING_VERSION and add the new values."""

from __future__ import annotations

from pathlib import Path

from bench.records.store import read_evals
from bench.strategies.strategy import Entrant
from bench.training import TRAINING_VERSION
from tests.conftest import RunTrial

GOLDEN = {1: [100, 169, 210, 242]}  # images predicted correctly, out of 267


def test_a_short_trial_learns_what_its_training_version_learned(run_trial: RunTrial, scratch: Entrant, tmp_path: Path):
    run_trial(scratch)
    right = [round(row.validation_accuracy * 267) for row in read_evals(tmp_path / "trial")]
    assert right == GOLDEN[TRAINING_VERSION]
