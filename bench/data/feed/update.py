"""One update of a scenario, ready on a device: old + new images to train on, validation and test images to measure on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.data.feed.augment import Augmentation, PaddedCrop, ResizedCrop
from bench.data.feed.batches import HeldOutImages, Normalization, Pool, TrainingImages, pixel_statistics
from bench.data.feed.streaming import Residence, StreamedPixels, fits, lay_on
from bench.data.images import ImageSet, Pixels, in_chunks
from bench.data.stages.splits import Split
from bench.errors import ScenarioError
from bench.scenario import Scenario, TrainingPart


@dataclass(frozen=True)
class Update:
    """The data of stage `number` and all earlier stages. A base model is trained on stage 0 alone.

    classes: how many have been seen so far; they come first in the head. old_classes: how many before this update. head: its
    final width.
    indices: int64 (images,), the index of each image of the pool among the set's training images.
    reference_images: how many scratch trains on: all of stages 0..number. old_share: how much of the earlier stages' images
    is in the pool. pool has no learning speeds yet.
    new_is_apart: whether held-out images separate old from new; false for data-incremental updates.
    """

    number: int
    classes: int
    old_classes: int
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
    scenario: Scenario,
    images: ImageSet,
    split: Split,
    number: int,
    device: torch.device,
    *,
    whole: bool = False,
    residence: Residence = "auto",
) -> Update:
    """Bring the images of stages 0..number to `device`, normalized as the scenario says: by default, by the old
    (stage 0) training images' statistics.

    whole: use all old images, as scratch does, even if only a share of them is still at hand.
    residence: whether images are kept on the device or streamed; see bench.data.feed.streaming.fits.
    """
    labels_train, labels_test = split.relabel(images.y_train), split.relabel(images.y_test)
    normalize = Normalization(*_normalization(scenario, images, split), device)
    parts, every = split.training(number, whole=whole), split.training(number, whole=True)
    indices = np.concatenate(parts)
    labels = torch.from_numpy(labels_train[indices])
    held_out_parts = [part for stages in (split.validation, split.test) for part in stages[: number + 1]]
    image_bytes = padded_bytes(images.image_shape, scenario.training.crop_padding)
    everything = image_bytes * (len(indices) + sum(map(len, held_out_parts)))
    resident = fits(images.x_train, everything, residence, device)

    def laid(pixels: Pixels, chosen: np.ndarray) -> torch.Tensor | StreamedPixels:
        return lay_on(device, pixels, chosen) if resident else StreamedPixels(pixels, chosen, device)

    train = TrainingImages(laid(images.x_train, indices), labels, normalize, augmentation(scenario.training), device)

    def held_out(pixels: Pixels, all_labels: np.ndarray, stages: tuple[np.ndarray, ...]) -> HeldOutImages:
        chosen = np.concatenate(stages[: number + 1])
        held = torch.from_numpy(all_labels[chosen])
        return HeldOutImages(laid(pixels, chosen), held, _last(stages[: number + 1]), normalize, device)

    return Update(
        number=number,
        classes=split.classes_seen[number],
        old_classes=split.classes_seen[number - 1] if number else 0,
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


def check_channels(scenario: Scenario, channels: int) -> None:
    """Raise ScenarioError if the scenario names a mean and standard deviation of another number of channels."""
    named = scenario.model.normalization
    if named is not None and len(named[0]) != channels:
        key = "preprocessing" if scenario.model.preprocessing else "mean"
        raise ScenarioError(
            f"{scenario.name}: model.{key}: found {len(named[0])} numbers, but the images have {channels} "
            f"channel{'s' if channels > 1 else ''}. Set mean and std to {channels} number{'s' if channels > 1 else ''} each."
        )


def _normalization(scenario: Scenario, images: ImageSet, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each channel's mean and standard deviation in 0..255, both float32 (channels,)."""
    named = scenario.model.normalization
    if named is None:
        return pixel_statistics(map(torch.from_numpy, in_chunks(images.x_train, split.old)))
    check_channels(scenario, images.image_shape[0])
    mean, std = (255 * torch.tensor(values, dtype=torch.float64) for values in named)
    return mean.float(), std.float()


def augmentation(training: TrainingPart) -> Augmentation:
    """Return the augmentation that a scenario's training part asks for."""
    if training.crop_scale is not None:
        return ResizedCrop(training.crop_scale, training.flip)
    return PaddedCrop(training.crop_padding, training.flip)


def padded_bytes(image_shape: tuple[int, int, int], padding: int) -> int:
    """Return the bytes of one image with its padding. image_shape: (channels, height, width)."""
    channels, height, width = image_shape
    return channels * (height + 2 * padding) * (width + 2 * padding)


def _last(parts: tuple[np.ndarray, ...]) -> torch.Tensor:
    """Return, for each image of the concatenated parts, whether it belongs to the last part: bool (images,)."""
    return torch.from_numpy(np.repeat(np.arange(len(parts)) == len(parts) - 1, [len(part) for part in parts]))
