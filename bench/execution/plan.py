"""Which trials a run asks for, and which of them are due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.errors import RecordError
from bench.records.store import evaluations_complete, read_trial, trial_folder
from bench.training import TRAINING_VERSION
from bench.training.learner import TrialSpec

State = Literal["due", "cut off", "failed before", "damaged", "finished"]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that was asked for, where its record belongs, and how far it is."""

    spec: TrialSpec
    folder: Path
    state: State

    @property
    def due(self) -> bool:
        return self.state != "finished"


def plan_trials(
    specs: Sequence[TrialSpec], results: Path, device_type: str, data_hash: str, *, fresh: bool
) -> list[PlannedTrial]:
    """Look at what is there already. data_hash: see Provenance. fresh: run everything again.

    Raises RecordError where a record of another trial, or of the same from another kind of device, stands in the way;
    nothing is overwritten unasked.
    """
    return [plan_trial(spec, results, device_type, data_hash, fresh=fresh) for spec in specs]


def plan_trial(spec: TrialSpec, results: Path, device_type: str, data_hash: str, *, fresh: bool) -> PlannedTrial:
    """Do what plan_trials does, for one."""
    name = spec.entrant.name
    folder = trial_folder(results, spec.scenario.name, name, spec.horizon, spec.seed)
    record = None if fresh else read_trial(folder)
    if record is None:
        return PlannedTrial(spec, folder, "due")
    differences = [
        ("scenario", record.scenario_hash, spec.scenario.hash()),
        ("strategy", record.strategy_hash, spec.entrant.hash()),
        ("training version", record.training_version, TRAINING_VERSION),
        ("data", record.provenance.data_hash, data_hash),
        ("device", record.provenance.device_type, device_type),
    ]
    for what, found, expected in differences:
        if found != expected:
            raise RecordError(
                f"{folder}: holds a trial of another {what} ({found}, asked for {expected}). "
                "Name another folder with --results, or run it again with --fresh, which replaces it."
            )
    states: dict[str, State] = {"finished": "finished", "failed": "failed before", "running": "cut off"}
    state = states[record.status]
    if state == "finished" and not evaluations_complete(folder, record):
        state = "damaged"
    return PlannedTrial(spec, folder, state)
