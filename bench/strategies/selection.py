"""Data selection: which images of old + new an epoch of an update sees."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from bench.data.feed.batches import Pool
from bench.errors import StrategyError

# stream(*names) returns a generator at the start of the strategy's random stream of that name, from this trial's seed.
Stream = Callable[..., Generator]


@runtime_checkable
class Selection(Protocol):
    """The third aspect. A frozen dataclass; its fields go into the strategy's hash."""

    needs_speed: ClassVar[bool]

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor | tuple[Tensor, Tensor]:
        """Return int64 indices into the pool: the images that epoch number `epoch` sees, in any order.

        A selection with needs_loss: ClassVar[bool] = True is told pool.last_loss and pool.progress. It may return a pair: the
        indices, and a weight of each image of the pool, float32 (images,), by which its loss is multiplied in this epoch.
        One with needs_old_loss: ClassVar[bool] = True is told pool.old_loss; the old model's pass over the old images is charged.
        One with a field holdout_epochs is told pool.irreducible_loss, and may call pool.present_loss, as ReducibleLoss does.

        pool.learning_speed is set if needs_speed is true. stream: the only source of randomness; include the epoch in the
        names for a new draw each epoch, leave it out for the same one. On the clock.
        Must depend on its arguments alone, so that an interrupted trial resumes as if it had not been.
        """
        ...


@dataclass(frozen=True)
class Uniform:
    """Every image of old + new once an epoch."""

    needs_speed: ClassVar[bool] = False

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor:
        return torch.arange(len(pool))


@dataclass(frozen=True)
class OldShare:
    """All of the new images, and a different random share of the old ones each epoch."""

    share: float
    needs_speed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_shares("OldShare", share=self.share)

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor:
        old, new = (~pool.new).nonzero()[:, 0], pool.new.nonzero()[:, 0]
        kept = torch.randperm(len(old), generator=stream("old share", epoch))[: round(self.share * len(old))]
        return torch.cat([old[kept], new])


@dataclass(frozen=True)
class OldShareOverTime:
    """All new images, and a random share of the old ones: `first` in the first `epochs` epochs, `last` in later ones.

    An epoch is one pass over the images chosen for it: with `first`, (first * old + new) / (old + new) as many steps as
    with all images. A selection is not told how long its trial is, so the change comes after a number of epochs, not at
    a share of the horizon: set `epochs` anew for another horizon. With `last` 1, later epochs see what Uniform shows.
    """

    first: float
    epochs: int
    last: float = 1.0
    needs_speed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_shares("OldShareOverTime", first=self.first, last=self.last)
        if not self.epochs >= 1:
            raise StrategyError(
                f"OldShareOverTime: epochs {self.epochs}, expected 1 or more. Use OldShare({self.last}) for one share."
            )

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor:
        share = self.first if epoch < self.epochs else self.last
        return OldShare(share).choose(pool, epoch, stream)


@dataclass(frozen=True)
class LearningSpeed:
    """Leave out the old images that the base training learned fastest and slowest; keep all new ones.

    drop_fastest, drop_slowest: shares of the old images. Ties are broken by the trial's own stream, the same way in
    every epoch. Source: Hacohen & Tuytelaars 2024 (learning speed as the measure of difficulty).
    """

    drop_fastest: float
    drop_slowest: float
    needs_speed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_shares("LearningSpeed", drop_fastest=self.drop_fastest, drop_slowest=self.drop_slowest)
        if self.drop_fastest + self.drop_slowest >= 1:
            raise StrategyError(
                "LearningSpeed: drop_fastest + drop_slowest leave no old image, expected below 1. Lower one."
            )

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor:
        assert pool.learning_speed is not None
        old, new = (~pool.new).nonzero()[:, 0], pool.new.nonzero()[:, 0]
        # Speeds take few values. Without the shuffle, ties would keep the data set's own order, often by class.
        old = old[torch.randperm(len(old), generator=stream("ties"))]
        speed = pool.learning_speed[old].nan_to_num(0.0)  # never seen by the base training: not learned
        slowest_first = old[torch.argsort(speed, stable=True)]
        first = math.floor(self.drop_slowest * len(old))
        last = len(old) - math.floor(self.drop_fastest * len(old))
        return torch.cat([slowest_first[first:last], new])


@dataclass(frozen=True)
class OldModelFilter:
    """Leave out the old images on which the old model's loss is lowest and highest; keep all new ones.

    drop_lowest, drop_highest: shares of the old images. The losses are computed once, without augmentation, and charged: a
    forward pass of each old image. Works with a given old model, which has no learning speeds.
    """

    drop_lowest: float = 0.2
    drop_highest: float = 0.0
    needs_speed: ClassVar[bool] = False
    needs_old_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_shares("OldModelFilter", drop_lowest=self.drop_lowest, drop_highest=self.drop_highest)
        if self.drop_lowest + self.drop_highest >= 1:
            raise StrategyError(
                "OldModelFilter: drop_lowest + drop_highest leave no old image, expected below 1. Lower one."
            )

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor:
        assert pool.old_loss is not None
        old, new = (~pool.new).nonzero()[:, 0], pool.new.nonzero()[:, 0]
        lowest_first = old[torch.argsort(pool.old_loss[old], stable=True)]
        first = math.floor(self.drop_lowest * len(old))
        last = len(old) - math.floor(self.drop_highest * len(old))
        return torch.cat([lowest_first[first:last], new])


@dataclass(frozen=True)
class InfoBatch:
    """Leave out a random share `prune` of the images whose last loss is below the mean, another one each epoch.

    The loss of those of them that stay is multiplied by 1 / (1 - prune): the expected gradient is that of all images. Epochs
    that begin after the share `until` of the trial see all images, and so does the first. An image not yet seen is never left
    out. A trial has as many steps as its horizon says, so this only shortens epochs: choose a shorter horizon with it.
    Losses are a by-product of training, so they cost no pass. Source: Qin et al. 2024, arXiv 2303.04947, and its code.
    """

    prune: float = 0.5
    until: float = 0.875
    needs_speed: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_shares("InfoBatch", prune=self.prune, until=self.until)
        if self.prune == 1:
            raise StrategyError("InfoBatch: prune 1.0, expected below 1: the rest could not be weighed up. Lower it.")

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor | tuple[Tensor, Tensor]:
        assert pool.last_loss is not None
        if pool.progress >= self.until or bool(pool.last_loss.isnan().all()):
            return torch.arange(len(pool))
        low = pool.last_loss < pool.last_loss.nanmean()  # false for NaN
        well_learned = low.nonzero()[:, 0]
        order = torch.randperm(len(well_learned), generator=stream("info batch", epoch))
        kept = well_learned[order[: int((1 - self.prune) * len(well_learned))]]
        weights = torch.ones(len(pool))
        weights[kept] = 1 / (1 - self.prune)
        return torch.cat([(~low).nonzero()[:, 0], kept]), weights


@dataclass(frozen=True)
class ReducibleLoss:
    """RHO-LOSS: of so many `candidates` at a time, train on the share `keep` whose loss is furthest above its irreducible loss.

    The irreducible loss of an image is that of a network which has not seen it: two fresh ones are trained on a random half of
    old + new each, for `holdout_epochs` passes over it, and each says the losses of the other half. All is charged: these
    trainings, a forward pass of every image after them, and one of each candidate by the present network. Within a pass over all
    images, candidates come without replacement. With candidates = batch size / keep, scores are made anew at each step, as in the
    source, which keeps a tenth; then scoring costs over three times what training does. Source: Mindermann et al. 2022,
    arXiv 2206.07137, algorithm 1, and its variant without a holdout set.
    """

    keep: float = 0.5
    candidates: int = 2560
    holdout_epochs: int = 2
    needs_speed: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_shares("ReducibleLoss", keep=self.keep)
        for name in ("candidates", "holdout_epochs"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise StrategyError(f"ReducibleLoss: {name} {value}, expected a whole number of 1 or more. Change it.")
        if round(self.keep * self.candidates) < 1:
            raise StrategyError(
                f"ReducibleLoss: keep {self.keep} of {self.candidates} candidates, expected one image at least. Raise one."
            )

    @property
    def scored(self) -> float:
        """The candidates that are scored for each image that is trained on."""
        return 1 / self.keep

    def choose(self, pool: Pool, epoch: int, stream: Stream) -> Tensor:
        assert pool.irreducible_loss is not None
        assert pool.present_loss is not None
        count = min(self.candidates, len(pool))
        over, place = divmod(epoch, len(pool) // count)
        order = torch.randperm(len(pool), generator=stream("candidates", over))
        candidates = order[place * count : (place + 1) * count]
        reducible = pool.present_loss(candidates) - pool.irreducible_loss[candidates]
        return candidates[reducible.topk(max(1, round(self.keep * count))).indices]


def _check_shares(piece: str, **shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise StrategyError(f"{piece}: {name} {share}, expected in 0..1. Change it.")
