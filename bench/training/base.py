"""Base models: the result of training on stage 0, trained once and shared by every strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.data.feed.update import Update
from bench.errors import RecordError, StrategyError, TrialError
from bench.locks import locked
from bench.records.listing import EVALS, TRIAL
from bench.records.schema import BaseCost, Provenance, TrialRecord
from bench.records.store import discard, read_trial
from bench.scenario import Scenario
from bench.strategies.schedule import OneCycle, WarmupStableDecay
from bench.strategies.start import BeforeDecay, Fresh
from bench.strategies.strategy import Entrant, Strategy
from bench.training import TRAINING_VERSION
from bench.training.checkpoint import (
    load_checkpoint,
    load_or_set_aside,
    put_aside,
    remove_checkpoint,
    save_checkpoint,
    weights_sha256,
)
from bench.training.given import GivenCheckpoint
from bench.training.ranks import ALONE, World
from bench.training.spec import Base, TrialSpec
from bench.training.trial import Finished, Observer, Trial

_WEIGHTS = "base.pt"
# A base model is trained like scratch: nobody knew of the update when it was trained.
BASE = Entrant("base", Strategy(title="Base model", start=Fresh(), schedule=OneCycle(warmup=0.2)))


def base_entrant(scenario: Scenario) -> Entrant:
    """Return how a scenario's base model is trained: as scratch is, but for training.base_epochs and training.base_decay."""
    training, strategy = scenario.training, BASE.strategy
    if training.base_epochs is not None:
        strategy = replace(strategy, horizon=training.base_epochs / training.epochs)
    if training.base_decay is not None:
        strategy = replace(strategy, schedule=WarmupStableDecay(warmup=0.2, decay=training.base_decay))
    return BASE if strategy is BASE.strategy else replace(BASE, strategy=strategy)


def require_before_decay(scenario: Scenario, entrants: Iterable[Entrant]) -> None:
    """Raise StrategyError for a strategy that starts before the base model's decay where that has no stable phase."""
    for entrant in entrants:
        if isinstance(entrant.strategy.start, BeforeDecay) and scenario.training.base_decay is None:
            hint = "Choose Keep()" if scenario.model.checkpoint else "Add base_decay = 0.2 there, or choose Keep()"
            raise StrategyError(
                f"{entrant.name}: BeforeDecay needs an old model from before its decay, but {scenario.name} has no "
                f"training.base_decay. {hint}."
            )


@dataclass(frozen=True)
class BaseStore:
    """Stores base models in <cache>/bases/<key>/seed-<n>: one per scenario, data, seed, version and device type.

    given: the user's own old model, which then serves as the base model of every seed; none is trained.
    """

    cache: Path
    scenario: Scenario
    device: torch.device
    data_hash: str
    given: GivenCheckpoint | None = None

    @property
    def key(self) -> str:
        parts = (
            self.scenario.name,
            self.scenario.base_hash(),
            self.data_hash,
            f"v{TRAINING_VERSION}",
            self.device.type,
        )
        return "-".join(parts)

    def folder(self, seed: int) -> Path:
        return self.cache / "bases" / self.key / f"seed-{seed}"

    def files(self, seed: int) -> list[Path]:
        """Return the files of a base model and its record; none if it is given."""
        return [] if self.given else [self.folder(seed) / name for name in (_WEIGHTS, EVALS, TRIAL)]

    def load(self, seed: int) -> Base | None:
        """Return a finished base model; None if there is none, or if its files are damaged or do not belong together."""
        if self.given is not None:
            return self.given.base(seed)
        record = self._record(seed)
        if record is None or record.summary is None:
            return None
        saved = load_checkpoint(self.folder(seed) / _WEIGHTS)
        return _base_of(saved, record, self.key) if saved else None

    def _checkpoint(self, seed: int) -> Path:
        return self.folder(seed).with_suffix(".checkpoint")

    def tidy(self, seed: int) -> None:
        """Delete the checkpoints that a run left which ended right after the record of its finished base model."""
        remove_checkpoint(self._checkpoint(seed))

    def obtain(
        self,
        seed: int,
        old: Callable[[], Update],
        provenance: Provenance,
        observer: Observer | None = None,
        automatic: bool = False,
        wait: bool = True,
        world: World = ALONE,
    ) -> Base:
        """Return the base model of `seed`, training it first if it does not exist, or waiting for whoever does.

        One that is damaged is put aside, and trained again. old: makes stage 0's data. automatic, world: see Trial. Raises
        TrialError if it diverged, and TakenError instead of waiting, unless `wait`.
        """
        folder = self.folder(seed)
        checkpoint = self._checkpoint(seed)
        with locked(folder.with_suffix(".lock"), wait=wait):
            there = self.load(seed)
            if there is not None:
                return there
            before = self._record(seed)
            if before is not None and before.status == "diverged":
                raise _diverged(seed, before)
            self._clear(seed, before)
            spec = TrialSpec(self.scenario, base_entrant(self.scenario), 0, seed)

            def keep(finished: Finished) -> None:
                kept = {"weights": finished.weights, "learning_speed": finished.learning_speed}
                save_checkpoint(folder / _WEIGHTS, {**kept, "before_decay": finished.before_decay})

            trial = Trial(
                spec, old(), None, provenance, folder, checkpoint, self.device, observer, keep, automatic, world
            )
            finished = trial.run()
            remove_checkpoint(checkpoint)
            if finished.record.status == "diverged":
                raise _diverged(seed, finished.record)
            left = {"weights": finished.weights, "learning_speed": finished.learning_speed}
            return Base(**left, cost=_cost(self.key, finished.record), before_decay=finished.before_decay)

    def discard(self, seed: int) -> None:
        """Delete a base model, so that it is trained again."""
        discard(self.folder(seed))
        remove_checkpoint(self.folder(seed).with_suffix(".checkpoint"))

    def _record(self, seed: int) -> TrialRecord | None:
        """Return the record of a base model, or None if there is none that can be read."""
        try:
            return read_trial(self.folder(seed))
        except RecordError:
            return None

    def _clear(self, seed: int, record: TrialRecord | None) -> None:
        """Put aside what is there of a base model and cannot be used."""
        path, finished = self.folder(seed) / "trial.json", record is not None and record.summary is not None
        if record is None and path.exists():
            put_aside(path, "cannot be read")
        saved = load_or_set_aside(self.folder(seed) / _WEIGHTS)
        if finished and saved is not None:
            put_aside(self.folder(seed) / _WEIGHTS, "its weights are not those of its record")


def _base_of(saved: dict[str, Any], record: TrialRecord, key: str) -> Base | None:
    """Return a base model, or None if its weights are not those of its record."""
    assert record.summary is not None
    try:
        if weights_sha256(saved["weights"]) != record.summary.weights_sha256:
            return None
        cost = _cost(key, record)
        return Base(saved["weights"], saved["learning_speed"], cost, before_decay=saved.get("before_decay"))
    except (KeyError, AttributeError, TypeError):
        return None


def _diverged(seed: int, record: TrialRecord) -> TrialError:
    return TrialError(f"the base model of seed {seed} {record.reason}. Lower training.learning_rate in the scenario.")


def _cost(key: str, record: TrialRecord) -> BaseCost:
    assert record.summary is not None
    return BaseCost(key=key, **{name: getattr(record.summary, name) for name in BaseCost.model_fields if name != "key"})
