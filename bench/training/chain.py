"""What each update of a chain leaves behind for the next: the strategy's own models, in the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from bench.records.schema import BaseCost, GivenModel, TrialRecord
from bench.training.checkpoint import load_checkpoint, remove_checkpoint, save_checkpoint, weights_sha256
from bench.training.spec import Base, TrialSpec
from bench.training.trial import Finished


@dataclass(frozen=True)
class ChainStore:
    """Stores models in <cache>/updates/<base key>/<strategy>-<hash>/seed-<n>/update-<k>.pt.

    base_key: of the base models, see BaseStore; these models depend on the same things.
    """

    cache: Path
    base_key: str

    def path(self, spec: TrialSpec) -> Path:
        """Return the path of the model that `spec` leaves behind."""
        strategy = f"{spec.entrant.name}-{spec.entrant.hash()}"
        return self.cache / "updates" / self.base_key / strategy / f"seed-{spec.seed}" / f"update-{spec.update}.pt"

    def keep(self, spec: TrialSpec, indices: np.ndarray, finished: Finished) -> None:
        """Save a model. indices: those of the update that `spec` was trained on, see Update."""
        base, summary = finished.record.base, finished.record.summary
        given = finished.record.given
        assert base is not None or given is not None
        assert summary is not None
        content = {
            "weights": finished.weights,
            "learning_speed": finished.learning_speed,
            "indices": torch.from_numpy(indices),
            "base_cost": base.model_dump() if base else None,
            "given": given.model_dump() if given else None,
            "weights_sha256": summary.weights_sha256,
            "before_decay": finished.before_decay,
        }
        save_checkpoint(self.path(spec), content)

    def load(self, spec: TrialSpec) -> tuple[Base, np.ndarray] | None:
        """Return the model that `spec` left behind and the images that its learning speeds belong to, or None.

        None also if the file is damaged, or if its weights are not those that it names.
        """
        saved = load_checkpoint(self.path(spec))
        if saved is None or weights_sha256(saved["weights"]) != saved["weights_sha256"]:
            return None
        cost = BaseCost.model_validate(saved["base_cost"]) if saved["base_cost"] else None
        given = GivenModel.model_validate(saved["given"]) if saved["given"] else None
        base = Base(
            saved["weights"], saved["learning_speed"], cost, saved["weights_sha256"], given, saved.get("before_decay")
        )
        return base, saved["indices"].numpy()

    def lacks(self, spec: TrialSpec, record: TrialRecord | None) -> bool:
        """Return whether the model that a finished update left, by its record, is not here, or not whole.

        It is made again, and replaced, once the update has run again.
        """
        found = self.load(spec)
        summary = record.summary if record else None
        return found is None or summary is None or found[0].previous_sha256 != summary.weights_sha256

    def discard(self, spec: TrialSpec) -> None:
        """Delete a model."""
        remove_checkpoint(self.path(spec))


def align(base: Base, known: np.ndarray, wanted: np.ndarray) -> Base:
    """Reorder the learning speeds of the images `known` to match `wanted`; NaN for an image that is not among them.

    known, wanted: int64 (images,), distinct positions among the data set's training images.
    """
    if base.learning_speed is None:
        return base
    order = np.argsort(known)
    places = np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)
    found = torch.from_numpy(order[places])
    there = torch.from_numpy(known[order[places]] == wanted)
    speed = torch.where(there, base.learning_speed[found], torch.nan)
    return replace(base, learning_speed=speed)
