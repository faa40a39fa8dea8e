"""One update of a scenario, ready on a device: old + new images to train on, validation and test to measure on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.data.batches import HeldOutImages, Normalization, Pool, TrainingImages, pixel_statistics
from bench.data.sources import ImageSet
from bench.data.splits import Split
from bench.scenario import Scenario


@dataclass(frozen=True)
class Update:
    """The data of stage `number` and all before it. Stage 0 alone is what a base model is trained on.

    classes: how many are seen by now; they are the first of the head. head: its final width.
    indices: int64 (images,), the place of each image of the pool among the set's training images.
    reference_images: how many scratch is trained on: all of stages 0..number. old_share: of those of the stages before,
    how much is in the pool. pool has no learning speeds yet.
    new_is_apart: whether held-out images tell old from new; not where more of the same arrives.
    """

    number: int
    classes: int
    head: int
    train: TrainingImages
    pool: Pool
    indices: np.ndarray
    reference_images: int
    old_share: float
    validation: HeldOutImages
    test: HeldOutImages
    new_is_apart: bool


def build_update(
    scenario: Scenario, images: ImageSet, split: Split, number: int, device: torch.device, *, whole: bool = False
) -> Update:
    """Lay the images of stages 0..number on `device`, normalized by the old (stage 0) training images' statistics.

    whole: take all old images, as scratch does, also where only a share of them is still at hand.
    """
    labels_train, labels_test = split.relabel(images.y_train), split.relabel(images.y_test)
    normalize = Normalization(*pixel_statistics(torch.from_numpy(images.x_train[split.train[0]])), device)
    parts, every = split.training(number, whole=whole), split.training(number, whole=True)
    indices = np.concatenate(parts)
    labels = torch.from_numpy(labels_train[indices])
    training = scenario.training
    train = TrainingImages(
        torch.from_numpy(images.x_train[indices]), labels, normalize, training.crop_padding, training.flip, device
    )

    def held_out(pixels: np.ndarray, all_labels: np.ndarray, stages: tuple[np.ndarray, ...]) -> HeldOutImages:
        chosen = np.concatenate(stages[: number + 1])
        held = torch.from_numpy(all_labels[chosen])
        return HeldOutImages(torch.from_numpy(pixels[chosen]), held, _last(stages[: number + 1]), normalize, device)

    return Update(
        number=number,
        classes=split.classes_seen[number],
        head=len(split.class_order),
        train=train,
        pool=Pool(labels, _last(parts), None),
        indices=indices,
        reference_images=sum(map(len, every)),
        old_share=sum(map(len, parts[:-1])) / sum(map(len, every[:-1])) if number else 1.0,
        validation=held_out(images.x_train, labels_train, split.validation),
        test=held_out(images.x_test, labels_test, split.test),
        new_is_apart=scenario.kind != "data-incremental" or number == 0,
    )


def _last(parts: tuple[np.ndarray, ...]) -> torch.Tensor:
    """Return, for each image of all parts in turn, whether it is of the last: bool (images,)."""
    return torch.from_numpy(np.repeat(np.arange(len(parts)) == len(parts) - 1, [len(part) for part in parts]))
