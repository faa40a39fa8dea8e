"""The order of images: each epoch is derived from the seed, so training can resume at any step."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.data.feed.batches import Pool, TrainingImages
from bench.data.feed.features import KeptFeatures
from bench.errors import StrategyError
from bench.strategies.selection import Selection
from bench.strategies.strategy import running
from bench.streams import torch_stream
from bench.training.losses import ImageLosses
from bench.training.phases import Inputs


class BatchOrder:
    """Yields the batches of a trial. Its whole state is `epoch` and `position`, the number of batches already taken.

    selection_seconds: time spent in the selection, by this process's clock, which does not wait for the device.
    """

    def __init__(
        self,
        images: Inputs,
        pool: Pool,
        selection: Selection,
        batch_size: int,
        seed: int,
        losses: ImageLosses | None = None,
        progress: Callable[[], float] = lambda: 0.0,
        share: slice = slice(None),
    ) -> None:
        """losses: what a selection that asks for losses is told; None for others. progress: share of the trial that is done.

        share: what to yield of each batch; the rest is another rank's.
        """
        self._images = images
        self._pool = pool
        self._selection = selection
        self._size = batch_size
        self._seed = seed
        self._losses = losses
        self._progress = progress
        self._share = share
        self._each = len(range(*share.indices(batch_size)))  # images that are yielded of a batch
        self.epoch = 0
        self.position = 0
        self.selection_seconds = 0.0
        self._plan: tuple[Tensor, ...] | None = None
        self._batches = 0
        self._announced = False
        self._taken: list[Tensor] = []
        self._ready: list[tuple[Tensor, ...]] = []  # batches that are cut: the next one last

    def next(self, left: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return (pixels, labels, indices into the pool) of the next batch, on the device.

        left: how many batches, this one included, will be taken from these inputs; None: not known.
        """
        if self._plan is None:
            self._draw()
        if self.position == self._batches:  # correct after a seek, too: a checkpoint may be at the very end of an epoch
            self.epoch += 1
            self.position = 0
            self._draw()
        assert self._plan is not None
        if not self._announced:
            self._announce(left)
        if not self._ready:
            self._make_ready(1 if left is None else left)
        *self._taken, cut, labels = self._ready.pop()
        self.position += 1
        return self._images.normalize(cut), labels, self._taken[0]

    def _make_ready(self, left: int) -> None:
        """Cut the next batches, several at once where that is cheaper; at most `left`, and all of the present epoch."""
        assert self._plan is not None
        count = min(self._images.at_once(self._each), left, self._batches - self.position)
        coming = slice(self.position * self._size, (self.position + count) * self._size)
        planned = [values[coming] for values in self._plan]
        if self._each < self._size:
            if isinstance(self._images, KeptFeatures):
                self._images.require(*planned)
            planned = [torch.cat([batch[self._share] for batch in values.split(self._size)]) for values in planned]
        indices, *drawn = planned
        made = [indices, *drawn, self._images.cut(indices, *drawn), self._images.labels[indices]]
        self._ready = list(zip(*(values.split(self._each) for values in made), strict=True))[::-1]

    def again(self, images: TrainingImages) -> Tensor:
        """Return the batch taken last, cut in the same way from other inputs of the same images."""
        return images.batch(*self._taken)

    def switch(self, images: Inputs) -> None:
        """Take the batches from here on from other inputs, of the same images and in the same order."""
        if images is self._images:
            return
        self._images.expect(())
        self._images = images
        self._ready = []
        self._announced = False

    def tell(self, pool: Pool) -> None:
        """Let the selection see another pool from the next epoch on."""
        self._pool = pool

    @property
    def batches(self) -> int:
        """The number of batches in the epoch drawn last; 0 before the first."""
        return self._batches

    def seek(self, epoch: int, position: int) -> None:
        """Go to the position where an earlier sitting stopped, or to an epoch that is to be drawn."""
        self.epoch, self.position, self._plan, self._ready = epoch, position, None, []

    def resume(self, epoch: int, position: int) -> None:
        """Go to the position where an earlier sitting stopped, in an epoch that was chosen by losses that are gone."""
        self.seek(epoch, position)
        if self._losses is not None and self._losses.chosen is not None:
            self._lay_out(self._losses.chosen)

    def _draw(self) -> None:
        begun = time.perf_counter()
        losses, name = self._losses, type(self._selection).__name__
        pool = self._pool if losses is None else losses.shown_in(self._pool, self._progress())
        with running(self._selection):
            chosen, weight = (
                self._selection.choose(pool, self.epoch, lambda *names: torch_stream(self._seed, "strategy", *names)),
                None,
            )
            if losses is not None and isinstance(chosen, tuple) and len(chosen) == 2:
                chosen, weight = chosen
            chosen = _whole_indices(chosen, len(self._pool), name)
            if losses is not None:
                losses.choose(chosen, weight, name)
        self.selection_seconds += time.perf_counter() - begun
        self._lay_out(chosen)

    def _lay_out(self, chosen: Tensor) -> None:
        """Put an epoch's images in order, and draw their augmentation."""
        self._batches = len(chosen) // self._size
        if self._batches == 0:
            raise StrategyError(
                f"{type(self._selection).__name__}: chose {len(chosen)} images in epoch {self.epoch}, expected at least one "
                f"batch of {self._size}. Choose more."
            )
        shuffled = chosen[torch.randperm(len(chosen), generator=torch_stream(self._seed, "batch order", self.epoch))]
        drawn = self._images.draw(len(chosen), self._seed, self.epoch)
        self._plan = (shuffled.to(self._images.device), *drawn)
        self._announced = False

    def _announce(self, left: int | None) -> None:
        """Tell the inputs which batches of this epoch are still to come, at most `left`."""
        assert self._plan is not None
        end = self._batches if left is None else min(self._batches, self.position + left)
        coming = slice(self.position * self._size, end * self._size)
        indices, *drawn = (values[coming] for values in self._plan)
        batches = indices.split(self._size)
        if not isinstance(self._images, KeptFeatures):  # those are kept on every rank for all
            batches = [batch[self._share] for batch in batches]
        self._images.expect(batches, *drawn)
        self._announced = True


def _whole_indices(chosen: object, images: int, name: str) -> Tensor:
    """Return what a selection chose. Raises StrategyError unless it is a vector of whole numbers below `images`."""
    if not isinstance(chosen, Tensor) or chosen.ndim != 1 or chosen.dtype != torch.int64:
        found = f"{tuple(chosen.shape)} {chosen.dtype}" if isinstance(chosen, Tensor) else type(chosen).__name__
        raise StrategyError(
            f"{name}: choose returned {found}, expected a vector of int64 indices. Fix the strategy's file."
        )
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < images:
        raise StrategyError(
            f"{name}: chose indices from {int(chosen.min())} to {int(chosen.max())}, expected 0 to {images - 1}. "
            "Fix the strategy's file."
        )
    return chosen
