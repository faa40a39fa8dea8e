"""Images on the device, and the batches that training sees: shuffled, cropped and flipped there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.streams import torch_stream


@dataclass(frozen=True)
class Pool:
    """What a strategy may know of the training images of an update: no pixels, no validation, no test.

    All on the CPU, all of shape (images,), old images first.
    labels: int64. new: bool, whether the image arrived with this update.
    learning_speed: float32, the share of the base training's epochs in which the image was predicted right, NaN for
    new images; None where no base model was asked for.
    """

    labels: Tensor
    new: Tensor
    learning_speed: Tensor | None

    def __len__(self) -> int:
        return len(self.labels)


class Normalization:
    """Turns raw pixels into what a model sees: (pixel - mean) / std by channel.

    mean, std: float32 (channels,), of pixels in 0..255.
    """

    def __init__(self, mean: Tensor, std: Tensor, device: torch.device) -> None:
        self._mean = mean.to(device).view(1, -1, 1, 1)
        self._scale = 1 / std.to(device).view(1, -1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (batch, channels, height, width) to float32 of the same shape, channels_last, in new memory."""
        return pixels.to(torch.float32, memory_format=torch.channels_last).sub_(self._mean).mul_(self._scale)


class TrainingImages:
    """The training images of one trial, resident on the device as padded uint8, and their augmentation.

    images: uint8 (images, height, width, channels) on any device. labels: int64 (images,).
    image_shape: (channels, height, width), as the model sees them.
    padding: zeros on each side, which random crops move over. flip: mirror half of the images.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, normalize: Normalization, padding: int, flip: bool, device: torch.device
    ) -> None:
        height, width = images.shape[1:3]
        padded = F.pad(images.to(device), (0, 0, padding, padding, padding, padding))
        # A view of every possible crop: (images, shifts, shifts, channels, height, width). Nothing is copied.
        self._crops = padded.unfold(1, height, 1).unfold(2, width, 1)
        self.labels = labels.to(device)
        self._normalize = normalize
        self._shifts = 2 * padding + 1
        self._flip = flip
        self.image_shape = (images.shape[3], height, width)
        self.device = device

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, rows: Tensor, columns: Tensor, flips: Tensor) -> Tensor:
        """Cut, flip and normalize a batch: float32 (batch, channels, height, width), channels_last.

        indices, rows, columns: int64 (batch,) on the device. flips: bool (batch,).
        """
        crops = self._crops[indices, rows, columns]
        if self._flip:
            crops = torch.where(flips.view(-1, 1, 1, 1), crops.flip(3), crops)
        return self._normalize(crops)

    def draw(self, count: int, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw an epoch's crop rows, crop columns and flips, each (count,), from the stream of (seed, epoch)."""
        stream = torch_stream(seed, "augmentation", epoch)
        rows = torch.randint(self._shifts, (count,), generator=stream)
        columns = torch.randint(self._shifts, (count,), generator=stream)
        flips = torch.rand(count, generator=stream) < 0.5
        return rows.to(self.device), columns.to(self.device), flips.to(self.device)


class HeldOutImages:
    """Validation or test images on the device: never augmented, never shown to a strategy.

    labels: int64 (images,). new: bool (images,), whether the class arrived with this update.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, new: Tensor, normalize: Normalization, device: torch.device
    ) -> None:
        self._images = images.to(device)
        self.labels = labels.to(device)
        self.new = new.to(device)
        self._normalize = normalize

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (pixels, labels, new) in order; pixels as TrainingImages.batch gives them."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self._normalize(self._images[part].permute(0, 3, 1, 2)), self.labels[part], self.new[part]


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and standard deviation in 0..255, both float32 (channels,).

    images: uint8 (images, height, width, channels). Exact: from a histogram, so the same on every machine.
    """
    means, deviations = [], []
    levels = torch.arange(256, dtype=torch.float64)
    for channel in range(images.shape[-1]):
        share = torch.bincount(images[..., channel].reshape(-1).long(), minlength=256).double()
        share /= share.sum()
        mean = (share * levels).sum()
        means.append(mean)
        deviations.append(((share * (levels - mean) ** 2).sum()).sqrt())
    return torch.stack(means).float(), torch.stack(deviations).float().clamp(min=1.0)
