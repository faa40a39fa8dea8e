"""Base models: the result of training on stage 0, trained once and shared by every strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.data.feed.update import Update
from bench.errors import TrialError
from bench.locks import locked
from bench.records.schema import BaseCost, Provenance, TrialRecord
from bench.records.store import discard, read_trial
from bench.scenario import Scenario
from bench.strategies.schedule import OneCycle
from bench.strategies.start import Fresh
from bench.strategies.strategy import Entrant, Strategy
from bench.training import TRAINING_VERSION
from bench.training.checkpoint import load_checkpoint, save_checkpoint
from bench.training.given import GivenCheckpoint
from bench.training.learner import Base, TrialSpec
from bench.training.trial import Observer, Trial

# A base model is trained like scratch: nobody knew of the update when it was trained.
BASE = Entrant("base", Strategy(title="Base model", start=Fresh(), schedule=OneCycle(warmup=0.2)))


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

    def load(self, seed: int) -> Base | None:
        """Return a finished base model, or None."""
        if self.given is not None:
            return self.given.base(seed)
        record = read_trial(self.folder(seed))
        saved = load_checkpoint(self.folder(seed) / "base.pt")
        if record is None or record.summary is None or saved is None:
            return None
        return Base(saved["weights"], saved["learning_speed"], _cost(self.key, record))

    def obtain(
        self,
        seed: int,
        old: Callable[[], Update],
        provenance: Provenance,
        observer: Observer | None = None,
        automatic: bool = False,
    ) -> Base:
        """Return the base model of `seed`, training it first if it does not exist, or waiting for whoever does.

        old: makes stage 0's data. automatic: see Trial. Raises TrialError if it diverged.
        """
        folder = self.folder(seed)
        with locked(folder.with_suffix(".lock"), wait=True):
            there = self.load(seed)
            if there is not None:
                return there
            before = read_trial(folder)
            if before is not None and before.status == "diverged":
                raise _diverged(seed, before)
            spec = TrialSpec(self.scenario, BASE, 0, seed)
            checkpoint = folder.with_suffix(".checkpoint")
            trial = Trial(spec, old(), None, provenance, folder, checkpoint, self.device, observer, automatic=automatic)
            finished = trial.run()
            if finished.record.status == "diverged":
                checkpoint.unlink(missing_ok=True)
                raise _diverged(seed, finished.record)
            save_checkpoint(
                folder / "base.pt", {"weights": finished.weights, "learning_speed": finished.learning_speed}
            )
            checkpoint.unlink(missing_ok=True)
            return Base(finished.weights, finished.learning_speed, _cost(self.key, finished.record))

    def discard(self, seed: int) -> None:
        """Delete a base model, so that it is trained again."""
        discard(self.folder(seed))
        self.folder(seed).with_suffix(".checkpoint").unlink(missing_ok=True)


def _diverged(seed: int, record: TrialRecord) -> TrialError:
    return TrialError(f"the base model of seed {seed} {record.reason}. Lower training.learning_rate in the scenario.")


def _cost(key: str, record: TrialRecord) -> BaseCost:
    assert record.summary is not None
    return BaseCost(key=key, **{name: getattr(record.summary, name) for name in BaseCost.model_fields if name != "key"})
