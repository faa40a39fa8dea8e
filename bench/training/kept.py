"""The weights that trials leave behind, for whoever wants the model and not only its record."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.records.store import trial_folder
from bench.training.checkpoint import load_checkpoint, save_checkpoint, weights_sha256
from bench.training.spec import TrialSpec
from bench.training.trial import Finished


def keep_model(models: Path, spec: TrialSpec, finished: Finished) -> None:
    """Save a trial's weights in <models>/<scenario>/<strategy>/<horizon>/seed-<n>.pt, in a chain one file per update."""
    save_checkpoint(_path(models, spec), {"weights": finished.weights})


def kept_model(models: Path, spec: TrialSpec, sha256: str) -> dict[str, Tensor] | None:
    """Return the weights that a trial left behind, on the CPU; None if they are not there, or not those of its record.

    sha256: of the weights, from the record.
    """
    saved = load_checkpoint(_path(models, spec))
    return saved["weights"] if saved and weights_sha256(saved["weights"]) == sha256 else None


def _path(models: Path, spec: TrialSpec) -> Path:
    update = spec.update if spec.scenario.updates > 1 else None
    return trial_folder(models, spec.scenario.name, spec.entrant.name, spec.horizon, spec.seed, update).with_suffix(
        ".pt"
    )
