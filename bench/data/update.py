"""One update of a scenario, ready on a device: old + new images to train on, validation and test to measure on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.data.augment import Augmentation, PaddedCrop, ResizedCrop
from bench.data.batches import HeldOutImages, Normalization, Pool, TrainingImages, pixel_statistics
from bench.data.images import ImageSet, Pixels, in_chunks
from bench.data.splits import Split
from bench.data.streaming import Residence, StreamedPixels, fits, lay_on
from bench.scenario import Scenario, TrainingPart


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


def build_update(
    scenario: Scenario,
    images: ImageSet,
    split: Split,
    number: int,
    device: torch.device,
    *,
    residence: Residence = "auto",
) -> Update:
    """Bring the images of stages 0..number to `device`, normalized by the old (stage 0) training images' statistics.

    residence: whether they are laid there whole, or streamed; see bench.data.streaming.fits.
    """
    labels_train, labels_test = split.relabel(images.y_train), split.relabel(images.y_test)
    old = in_chunks(images.x_train, split.train[0])
    normalize = Normalization(*pixel_statistics(map(torch.from_numpy, old)), device)
    indices = np.concatenate(split.train[: number + 1])
    labels = torch.from_numpy(labels_train[indices])
    first_new = scenario.classes_seen(number - 1) if number else 0
    image_bytes = padded_bytes(images.image_shape, scenario.training.crop_padding)
    everything = sum(len(part) for parts in (split.train, split.validation, split.test) for part in parts[: number + 1])
    whole_set = fits(images.x_train, image_bytes * everything, residence, device)

    def laid(pixels: Pixels, chosen: np.ndarray) -> torch.Tensor | StreamedPixels:
        return lay_on(device, pixels, chosen) if whole_set else StreamedPixels(pixels, chosen, device)

    train = TrainingImages(laid(images.x_train, indices), labels, normalize, augmentation(scenario.training), device)

    def held_out(pixels: Pixels, all_labels: np.ndarray, parts: tuple[np.ndarray, ...]) -> HeldOutImages:
        chosen = np.concatenate(parts[: number + 1])
        held = torch.from_numpy(all_labels[chosen])
        return HeldOutImages(laid(pixels, chosen), held, held >= first_new, normalize, device)

    return Update(
        number=number,
        classes=scenario.classes_seen(number),
        train=train,
        pool=Pool(labels, labels >= first_new, None),
        validation=held_out(images.x_train, labels_train, split.validation),
        test=held_out(images.x_test, labels_test, split.test),
    )


def augmentation(training: TrainingPart) -> Augmentation:
    """Return the augmentation that a scenario's training part asks for."""
    if training.crop_scale is not None:
        return ResizedCrop(training.crop_scale, training.flip)
    return PaddedCrop(training.crop_padding, training.flip)


def padded_bytes(image_shape: tuple[int, int, int], padding: int) -> int:
    """Return the bytes of one image with its padding. image_shape: (channels, height, width)."""
    channels, height, width = image_shape
    return channels * (height + 2 * padding) * (width + 2 * padding)
