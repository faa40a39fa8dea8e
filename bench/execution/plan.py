"""Which trials a run asks for, and which of them are due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.errors import DamagedError, RecordError
from bench.records.schema import TrialRecord
from bench.records.store import evaluations_complete, read_trial, trial_folder
from bench.scenario import Scenario
from bench.strategies.strategy import Entrant
from bench.training import TRAINING_VERSION
from bench.training.chain import ChainStore
from bench.training.spec import TrialSpec

State = Literal["due", "cut off", "failed before", "damaged", "diverged", "finished"]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that was asked for, where its record belongs, its state, and the record if there is one."""

    spec: TrialSpec
    folder: Path
    state: State
    record: TrialRecord | None = None

    @property
    def due(self) -> bool:
        return self.state not in ("finished", "diverged")


def plan_trials(
    specs: Sequence[TrialSpec], results: Path, device_type: str, data_hash: str, *, fresh: bool
) -> list[PlannedTrial]:
    """Look up what already exists. data_hash: see Provenance. fresh: run everything again.

    Raises RecordError if a folder holds the record of a different trial, or of the same trial on another kind of device;
    nothing is overwritten unless asked.
    """
    hashes = _Hashes()
    return [plan_trial(spec, results, device_type, data_hash, fresh=fresh, hashes=hashes) for spec in specs]


class _Hashes:
    """Hashes of scenarios and strategies, each made once: many trials have the same."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Scenario | Entrant, str]] = {}

    def of(self, asked: Scenario | Entrant) -> str:
        if id(asked) not in self._found:
            self._found[id(asked)] = asked, asked.hash()  # kept, so that no other gets its id
        return self._found[id(asked)][1]


def plan_trial(
    spec: TrialSpec, results: Path, device_type: str, data_hash: str, *, fresh: bool, hashes: _Hashes | None = None
) -> PlannedTrial:
    """Do what plan_trials does, for one trial."""
    hashes = hashes or _Hashes()
    update = spec.update if spec.scenario.updates > 1 else None
    folder = trial_folder(results, spec.scenario.name, spec.entrant.name, spec.horizon, spec.seed, update)
    try:
        record = None if fresh else read_trial(folder)
    except DamagedError:  # nothing in it can be used
        return PlannedTrial(spec, folder, "damaged")
    if record is None:
        return PlannedTrial(spec, folder, "due")
    if record.seed != spec.seed:
        raise RecordError(
            f"{folder}: holds a copy of seed {record.seed}'s record, expected seed {spec.seed}'s. Remove it, or run it again "
            "with --fresh, which replaces it."
        )
    differences = [
        ("update", record.update, spec.update),
        ("horizon", record.horizon, spec.horizon),
        ("scenario", record.scenario_hash, hashes.of(spec.scenario)),
        ("strategy", record.strategy_hash, hashes.of(spec.entrant)),
        ("training version", record.training_version, TRAINING_VERSION),
        ("data", record.provenance.data_hash, data_hash),
        ("device", record.provenance.device_type, device_type),
    ]
    for what, found, expected in differences:
        if found != expected:
            raise RecordError(
                f"{folder}: holds a different trial: its {what} is {found}, expected {expected}. "
                "Name another folder with --results, or run it again with --fresh, which replaces it."
            )
    states: dict[str, State] = {
        "finished": "finished",
        "failed": "failed before",
        "running": "cut off",
        "interrupted": "cut off",
        "diverged": "diverged",
    }
    state = states[record.status]
    if record.ended and not evaluations_complete(folder, record):
        state = "damaged"
    return PlannedTrial(spec, folder, state, record)


def mend_chains(trials: Sequence[PlannedTrial], chain: ChainStore) -> list[PlannedTrial]:
    """Return the trials, with those due again whose model the next update needs, and the cache has no longer, or not whole."""
    needed, mended = set(), dict[int, PlannedTrial]()
    for place, trial in sorted(enumerate(trials), key=lambda each: -each[1].spec.update):
        spec = trial.spec
        if not spec.entrant.strategy.needs_base:
            continue
        if trial.state == "finished" and _key(spec, spec.update) in needed and chain.lacks(spec, trial.record):
            trial = mended[place] = replace(trial, state="damaged")
        if trial.due:
            needed.add(_key(spec, spec.update - 1))
    return [mended.get(place, trial) for place, trial in enumerate(trials)]


def check_chains(trials: Sequence[PlannedTrial]) -> None:
    """Check that each finished update started from its strategy's own previous update.

    trials: all updates of every chain. Raises RecordError for one that did not start from the model recorded before it.
    """
    planned = {_key(trial.spec, trial.spec.update): trial for trial in trials}
    for trial in trials:
        spec = trial.spec
        before = planned.get(_key(spec, spec.update - 1))
        if before is None or before.state != "finished" or not spec.entrant.strategy.needs_base:
            continue
        if not trial.due and trial.record and before.record and before.record.summary:
            left, started = before.record.summary.weights_sha256, trial.record.previous_sha256
            if left != started:
                raise RecordError(
                    f"{trial.folder}: started from weights {str(started)[:10]}, but update {spec.update - 1} next to it left "
                    f"{left[:10]}. Put the records of one run together, or run the chain again with --fresh."
                )


def _key(spec: TrialSpec, update: int) -> tuple[str, float, int, int]:
    return spec.entrant.name, spec.horizon, spec.seed, update
