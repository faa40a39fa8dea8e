"""What training found out about each image's loss, and how much each image counts: for selections that ask for losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bench.data.feed.batches import Pool
from bench.errors import StrategyError


class ImageLosses:
    """Each image's loss when training last saw it, and the weight of its loss in the present epoch.

    All of shape (images,), on the device. last: float32, NaN for an image never seen. weight: float32.
    chosen: the indices that the present epoch was drawn from, on the CPU; None before the first.
    """

    def __init__(self, images: int, device: torch.device) -> None:
        self.last = torch.full((images,), torch.nan, device=device)
        self.weight = torch.ones(images, device=device)
        self.chosen: Tensor | None = None

    def shown_in(self, pool: Pool, progress: float) -> Pool:
        """Return the pool as a selection may see it. progress: the share of the trial's steps that are done."""
        return replace(pool, last_loss=self.last.cpu(), progress=progress)

    def choose(self, chosen: Tensor, weight: object, name: str) -> None:
        """Keep what a selection chose. weight: of each image's loss; None for 1. Raises StrategyError if they are none."""
        self.chosen = chosen
        if weight is None:
            self.weight.fill_(1)
            return
        fine = isinstance(weight, Tensor) and weight.shape == self.weight.shape and bool((weight >= 0).all())
        if not (fine and isinstance(weight, Tensor) and bool(weight.isfinite().all())):
            raise StrategyError(
                f"{name}: choose returned weights that are none, expected {len(self.weight)} finite numbers, 0 or more. Fix it."
            )
        self.weight.copy_(weight)

    def weighed(self, losses: Tensor, indices: Tensor) -> Tensor:
        """Note a batch's losses, (batch,), and return them times their weights. Never waits for the device."""
        self.last.index_copy_(0, indices, losses.detach())
        return losses * self.weight[indices]

    def forget(self) -> None:
        """Forget all losses."""
        self.last.fill_(torch.nan)

    def state(self) -> dict[str, Tensor]:
        """Return everything that `restore` needs."""
        return {"last": self.last, "weight": self.weight, **({} if self.chosen is None else {"chosen": self.chosen})}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go back to what `state` returned."""
        self.last.copy_(saved["last"])
        self.weight.copy_(saved["weight"])
        self.chosen = saved["chosen"].cpu() if "chosen" in saved else None
