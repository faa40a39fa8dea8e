"""A tracked trial in Lightning's Trainer: a callback for `lightning` or `pytorch_lightning`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import DataLoader

from bench.adapters.batches import Batches, require_one_process
from bench.extras import extra_package

if TYPE_CHECKING:
    from bench.execution.tracking import TrackedTrial

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
# The one that the user has imported, if both are installed.
_lightning = extra_package(
    sorted(_PACKAGES, key=lambda name: name not in sys.modules), "lightning", "bench.adapters.lightning"
)


class TrialCallback(_lightning.Callback):
    """Evaluates the LightningModule when the trial says so, counts its images, and finishes the trial.

    The module's forward() is to return logits: (batch, classes). Train it on `loader`, for trial.total_steps.
    """

    def __init__(self, trial: TrackedTrial) -> None:
        self._trial = trial
        self._batches = Batches(trial)
        self._losses: list[Tensor] = []

    def loader(self, batch_size: int, **options: Any) -> DataLoader[Any]:
        """Return a loader of the trial's images, anew in each epoch: batches of (images, labels), the last partial one dropped.

        options: further ones of torch's DataLoader, such as a sampler in place of shuffling.
        """
        given: dict[str, Any] = {"drop_last": True, **({} if "sampler" in options else {"shuffle": True}), **options}
        return DataLoader(self._batches.images, batch_size, collate_fn=self._batches.collate, **given)  # pyright: ignore[reportArgumentType]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        require_one_process(trainer.world_size)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._batches.trained()
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._losses.append(loss.detach())
        if self._trial.due():
            losses, self._losses = self._losses, []
            mean = sum(each.item() for each in losses) / len(losses) if losses else None
            self._trial.evaluate(pl_module, loss=mean)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._trial.finish(pl_module)
