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

    classes: how many are seen by now; they are the first of the head. pool has no learning speeds yet.
    """

    number: int
    classes: int
    train: TrainingImages
    pool: Pool
    validation: HeldOutImages
    test: HeldOutImages


def build_update(scenario: Scenario, images: ImageSet, split: Split, number: int, device: torch.device) -> Update:
    """Lay the images of stages 0..number on `device`, normalized by the old (stage 0) training images' statistics."""
    labels_train, labels_test = split.relabel(images.y_train), split.relabel(images.y_test)
    normalize = Normalization(*pixel_statistics(torch.from_numpy(images.x_train[split.train[0]])), device)
    indices = np.concatenate(split.train[: number + 1])
    labels = torch.from_numpy(labels_train[indices])
    first_new = scenario.classes_seen(number - 1) if number else 0
    training = scenario.training
    train = TrainingImages(
        torch.from_numpy(images.x_train[indices]), labels, normalize, training.crop_padding, training.flip, device
    )

    def held_out(pixels: np.ndarray, all_labels: np.ndarray, parts: tuple[np.ndarray, ...]) -> HeldOutImages:
        chosen = np.concatenate(parts[: number + 1])
        held = torch.from_numpy(all_labels[chosen])
        return HeldOutImages(torch.from_numpy(pixels[chosen]), held, held >= first_new, normalize, device)

    return Update(
        number=number,
        classes=scenario.classes_seen(number),
        train=train,
        pool=Pool(labels, labels >= first_new, None),
        validation=held_out(images.x_train, labels_train, split.validation),
        test=held_out(images.x_test, labels_test, split.test),
    )
