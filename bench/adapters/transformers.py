"""A tracked trial in the Trainer of Hugging Face's transformers: a callback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bench.adapters.batches import Batches, require_one_process
from bench.extras import extra_package

if TYPE_CHECKING:
    from bench.execution.tracking import TrackedTrial

_transformers = extra_package(("transformers",), "transformers", "bench.adapters.transformers")
extra_package(("accelerate",), "transformers", "bench.adapters.transformers")  # which its Trainer needs


class TrialCallback(_transformers.TrainerCallback):
    """Evaluates the Trainer's model when the trial says so, counts its images, and finishes the trial.

    The model takes pixel_values and labels, as image classifiers of transformers do, and returns logits under that name, or in
    the second place. images, collate: the Trainer's train_dataset and data_collator. Give it trial.total_steps for max_steps.
    """

    def __init__(self, trial: TrackedTrial) -> None:
        self._trial = trial
        self._batches = Batches(trial)
        self.images = self._batches.images

    def collate(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch: pixel_values, float32 (batch, channels, height, width), and labels, int64 (batch,)."""
        images, labels = self._batches.collate(indices)
        return {"pixel_values": images, "labels": labels}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        require_one_process(max(args.world_size, args.n_gpu))

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._batches.trained()

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **kwargs: Any) -> None:
        self._batches.trained()
        if self._trial.due():
            self._trial.evaluate(_Logits(model))

    def on_train_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **kwargs: Any) -> None:
        self._trial.finish(model)


class _Logits(nn.Module):
    """A model of transformers as evaluation takes it: images in, logits out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, images: Tensor) -> Tensor:
        found = self._model(pixel_values=images)
        return found["logits"] if isinstance(found, dict) else found[0]
