"""The old model's predictions for old images, computed once: for a teacher, and for selections that ask for its losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.feed.batches import Pool, TrainingImages
from bench.training.device import autocast

_BATCH = 500  # images


class OldPredictions:
    """The old model's logits for every image of the pool, float32 (images, old classes); zeros for new images.

    temperature: of the teacher. strength: of its loss in the present step, on the device, so that a recorded step reads it.
    """

    def __init__(self, pool: Pool, old_classes: int, temperature: float, device: torch.device) -> None:
        self._pool = pool
        self._temperature = temperature
        self._old = (~pool.new).float().to(device)
        self._logits = torch.zeros(len(pool), old_classes, device=device)
        self.strength = torch.zeros((), device=device)

    @torch.no_grad()
    def predict(
        self,
        model: nn.Module,
        images: TrainingImages,
        weights: Mapping[str, Tensor],
        precision: str,
        charge: Callable[[int], None],
    ) -> None:
        """Let the old model predict every old image, without augmentation. Leaves the network as it was. charge: of images."""
        before, mode = {key: value.clone() for key, value in model.state_dict().items()}, model.training
        model.load_state_dict(weights)
        model.eval()
        for part in (~self._pool.new).nonzero()[:, 0].split(_BATCH):
            indices = part.to(images.device)
            with autocast(images.device, precision):
                found = model(images.plain(indices))
            self._logits[indices] = found[:, : self._logits.shape[1]].float()
            charge(len(part))
        model.train(mode)
        model.load_state_dict(before)

    def losses(self) -> Tensor:
        """Return the old model's loss on each image, float32 (images,), on the CPU; NaN for new images."""
        found = torch.full((len(self._pool),), torch.nan)
        old = ~self._pool.new
        found[old] = F.cross_entropy(self._logits.cpu()[old], self._pool.labels[old], reduction="none")
        return found

    def loss(self, logits: Tensor, indices: Tensor) -> Tensor:
        """Return the teacher's loss on a batch, times its strength. logits: (batch, classes). Never waits for the device."""
        theirs = self._logits[indices] / self._temperature
        mine = logits[:, : theirs.shape[1]] / self._temperature
        each = F.kl_div(mine.log_softmax(1), theirs.log_softmax(1), reduction="none", log_target=True).sum(1)
        return self.strength * self._temperature**2 * (each * self._old[indices]).mean()

    def state(self) -> dict[str, Tensor]:
        """Return everything that `restore` needs."""
        return {"logits": self._logits}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go back to what `state` returned."""
        self._logits.copy_(saved["logits"])
