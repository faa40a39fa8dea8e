"""What a run would train on, and how good the old model is, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.data.stages.splits import Split
from bench.execution.local import LocalRun
from bench.scenario import HELD_OUT, Use
from bench.training.given import OldModel


@dataclass(frozen=True)
class ClassCount:
    """Numbers of images of one class: old and new ones to train on, and those held out of both."""

    name: str
    old: int
    new: int
    validation: int
    test: int


@dataclass(frozen=True)
class Preflight:
    """What a run's first update would train on.

    classes: in the order of the head's rows. image_shape: (channels, height, width). mean, std: of each channel, of pixels in
    0..1. split: which images are used for what. resizing: what each file's shorter side was resized to, and the square cut from
    its centre; None: the whole centre square. old_model: what a given old model is like; None where bench trains it, or where
    no trial that is due needs it. cut_off: for which uses any images were cut off, of old or new ones.
    """

    classes: tuple[ClassCount, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    split: Split
    old_model: OldModel | None
    resizing: tuple[int, int] | None = None
    cut_off: tuple[Use, ...] = HELD_OUT

    @property
    def arrives(self) -> str:
        """What is new, derived from the images: new classes, more images of known ones, or both."""
        fresh = [each for each in self.classes if each.new and not each.old]
        more = [each for each in self.classes if each.new and each.old]
        said = []
        if fresh:
            said.append(
                f"{_counted(len(fresh), 'new class', 'new classes')} ({sum(each.new for each in fresh):,} images)"
            )
        if more:
            known = _counted(len(more), "known class", "known classes")
            said.append(f"{sum(each.new for each in more):,} more images of {known}")
        return " and ".join(said)


def look_at(run: LocalRun) -> Preflight:
    """Return what a run's first update would train on; reads the images, and measures a given old model. Trains nothing.

    Raises ScenarioError for an old model that is no better than guessing, see LocalRun.old_model.
    """
    images, split = run.images, run.split
    labels, test_labels = split.relabel(images.y_train), split.relabel(images.y_test)
    every = len(split.class_order)

    def counts(found: torch.Tensor) -> list[int]:
        return torch.bincount(found, minlength=every).tolist()

    old, new = (counts(torch.from_numpy(labels[part])) for part in split.training(1, whole=True))
    validation, test = (
        [sum(column) for column in zip(*(counts(torch.from_numpy(of[part])) for part in parts[:2]), strict=True)]
        for of, parts in ((labels, split.validation), (test_labels, split.test))
    )
    held = np.concatenate(split.validation)
    cut = (
        images.held is None or not images.held[held].all(),
        images.cut_test is not None or not run.scenario.own_folders,
    )
    names = [images.class_names[place] for place in split.class_order.tolist()]
    normalize = run.data_of(0, False).train.normalize
    return Preflight(
        classes=tuple(map(ClassCount, names, old, new, validation, test)),
        image_shape=images.image_shape,
        mean=normalize.unit_mean,
        std=normalize.unit_std,
        split=split,
        old_model=run.old_model(),
        resizing=run.scenario.model.resizing,
        cut_off=tuple(use for use, any_cut in zip(HELD_OUT, cut, strict=True) if any_cut),
    )


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
