"""Images on the device or on their way there, and the batches that training sees: cropped and flipped on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from bench.data.feed.augment import Augmentation, PaddedCrop, mirrored
from bench.data.feed.streaming import StreamedPixels
from bench.streams import torch_stream

# Pixels of batches that are cut at once, on a CPU.
_BYTES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Pool:
    """What a strategy may know about an update's training images: no pixels, no validation, no test.

    All on the CPU, all of shape (images,), old images first.
    labels: int64. new: bool, whether the image arrived with this update.
    learning_speed: float32, the share of the base training's epochs in which the image was predicted correctly, NaN for
    new images; None if no base model was requested.
    last_loss: float32, the image's loss when this trial last trained on it, NaN before; None unless the selection asks for it.
    progress: the share of the trial's steps that are done; 0 unless the selection asks for losses.
    old_loss: float32, the old model's loss on each old image, NaN for new ones; None unless the selection asks for it.
    irreducible_loss: float32, the loss on each image of a network trained without it. present_loss: returns the present network's
    loss on images, not augmented, float32 (count,), by their indices, int64 (count,); a forward pass of each is charged.
    Both None unless the selection asks for them.
    """

    labels: Tensor
    new: Tensor
    learning_speed: Tensor | None
    last_loss: Tensor | None = None
    progress: float = 0.0
    old_loss: Tensor | None = None
    irreducible_loss: Tensor | None = None
    present_loss: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)


class Normalization:
    """Turns raw pixels into what a model sees: (pixel - mean) / std per channel.

    mean, std: float32 (channels,), of pixels in 0..255, on the CPU.
    unit_mean, unit_std: the same for pixels in 0..1, as torchvision's transforms take them.
    """

    def __init__(self, mean: Tensor, std: Tensor, device: torch.device) -> None:
        self.mean, self.std = mean, std
        self.unit_mean: tuple[float, ...] = tuple((mean.double() / 255).tolist())
        self.unit_std: tuple[float, ...] = tuple((std.double() / 255).tolist())
        self._mean, self._scale = mean.to(device), 1 / std.to(device)
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, pixels: Tensor) -> Tensor:
        """(batch, channels, height, width), uint8 or new float32, to float32 of the same shape, channels_last."""
        found = pixels.to(torch.float32, memory_format=torch.channels_last)
        images, channels, height, width = found.shape
        mean, scale = self._row(width if channels > 1 else 1)
        found.permute(0, 2, 3, 1).view(images, height, width * channels).sub_(mean).mul_(scale)
        return found

    def _row(self, pixels: int) -> tuple[Tensor, Tensor]:
        """Return mean and scale for so many pixels in a row: vectorized, where those of one pixel would go number by number."""
        if pixels not in self._rows:
            with torch.inference_mode(False):  # an evaluation may be the first to ask, training asks later
                self._rows[pixels] = self._mean.repeat(pixels), self._scale.repeat(pixels)
        return self._rows[pixels]


class TrainingImages:
    """The training images of one trial, and their augmentation on the device.

    pixels: uint8 (images, height, width, channels), on the device or streamed from a memory map, batch by batch. Both give
    bit-identical batches. labels: int64 (images,).
    image_shape: (channels, height, width), as the model sees them.
    """

    def __init__(
        self,
        pixels: Tensor | StreamedPixels,
        labels: Tensor,
        normalize: Normalization,
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        height, width, channels = pixels.shape[1:]
        self._pixels = pixels
        # Images on the device are padded once: every crop is then a view of them.
        self._windows: Tensor | None = None
        if isinstance(pixels, Tensor) and isinstance(augmentation, PaddedCrop):
            self._pixels = augmentation.padded(pixels)
            self._windows = augmentation.windows(self._pixels)
        self.labels = labels.to(device)
        self.normalize = normalize
        self.augmentation = augmentation
        self.image_shape = (channels, height, width)
        self.device = device

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def streamed(self) -> bool:
        """Whether pixels come batch by batch, rather than lying on the device."""
        return isinstance(self._pixels, StreamedPixels)

    def batch(self, indices: Tensor, *drawn: Tensor) -> Tensor:
        """Cut, flip and normalize a batch: float32 (batch, channels, height, width), channels_last.

        indices: int64 (batch,). drawn: this batch's rows of what `draw` returned. All on the device.
        """
        return self.normalize(self.cut(indices, *drawn))

    def cut(self, indices: Tensor, *drawn: Tensor) -> Tensor:
        """Cut and flip images, which `normalize` makes a batch of, all or some of them: uint8 or float32, shape as of `batch`."""
        if self._windows is not None:
            assert isinstance(self.augmentation, PaddedCrop)
            return self.augmentation.choose(self._windows, indices, *drawn)
        raw = self._pixels.take(indices) if isinstance(self._pixels, StreamedPixels) else self._pixels[indices]
        return self.augmentation.cut(raw, *drawn)

    def at_once(self, size: int) -> int:
        """Return how many batches of `size` images are best cut at once: several if they are small, and views, and on a CPU.

        There, a small batch's operators cost more than their work does: the network has pushed their code out of the caches.
        Normalized at once, though, four times as large, they would lie in slower caches when their turn comes.
        """
        if self.device.type != "cpu" or self._windows is None:
            return 1
        return max(1, _BYTES_AT_ONCE // (size * prod(self.image_shape)))

    def whole(self, indices: Tensor, flips: Tensor, padded: bool) -> Tensor:
        """Return whole images, normalized: float32 (batch, channels, height, width), with 2 * padding more if padded.

        flips: bool (batch,), which to mirror. The augmentation must be a PaddedCrop.
        """
        assert isinstance(self.augmentation, PaddedCrop)
        if isinstance(self._pixels, StreamedPixels):
            raw = self._pixels.take(indices)
            raw = self.augmentation.padded(raw) if padded else raw
        else:
            raw = self._pixels[indices]
            _, height, width = self.image_shape
            before = 0 if padded else self.augmentation.padding
            raw = raw if padded else raw[:, before : before + height, before : before + width]
        return self.normalize(mirrored(raw.permute(0, 3, 1, 2), flips))

    def plain(self, indices: Tensor) -> Tensor:
        """Return images without augmentation, normalized, as `batch` does."""
        return self.batch(indices, *(drawn.to(self.device) for drawn in self.augmentation.plain(len(indices))))

    def draw(self, count: int, seed: int, epoch: int) -> tuple[Tensor, ...]:
        """Draw an epoch's augmentation, tensors of shape (count, ...), from the stream of (seed, epoch)."""
        drawn = self.augmentation.draw(count, torch_stream(seed, "augmentation", epoch))
        return tuple(values.to(self.device) for values in drawn)

    def expect(self, batches: Sequence[Tensor], *drawn: Tensor) -> None:
        """Announce the batches to come, in order, so that streamed ones can be prefetched.

        batches: the indices of each. drawn: the rows of all of them, of what `draw` returned.
        """
        if isinstance(self._pixels, StreamedPixels):
            self._pixels.expect(batches)


class HeldOutImages:
    """Validation or test images: never augmented, never shown to a strategy.

    pixels: uint8 (images, height, width, channels), on the device or streamed. labels: int64 (images,).
    new: bool (images,), whether the image arrived with this update.
    """

    def __init__(
        self,
        pixels: Tensor | StreamedPixels,
        labels: Tensor,
        new: Tensor,
        normalize: Normalization,
        device: torch.device,
    ) -> None:
        self._pixels = pixels
        self.labels = labels.to(device)
        self.new = new.to(device)
        self.normalize = normalize
        height, width, channels = pixels.shape[1:]
        self.image_shape = (channels, height, width)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (pixels, labels, new) in order; pixels as TrainingImages.batch returns them."""
        pixels, start = self._pixels, 0
        for raw in pixels.in_order(size) if isinstance(pixels, StreamedPixels) else pixels.split(size):
            part = slice(start, start + len(raw))
            start += len(raw)
            yield self.normalize(raw.permute(0, 3, 1, 2)), self.labels[part], self.new[part]


def pixel_statistics(images: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and standard deviation in 0..255, both float32 (channels,).

    images: uint8 tensors of (images, height, width, channels), or one such tensor. Exact, from a histogram: the same on
    every machine and for any division into chunks.
    """
    counts: Tensor | None = None
    for chunk in [images] if isinstance(images, Tensor) else images:
        found = torch.stack(
            [torch.bincount(channel.reshape(-1), minlength=256) for channel in chunk.unbind(-1)]
        )  # (channels, 256)
        counts = found if counts is None else counts + found
    assert counts is not None
    means, deviations = [], []
    levels = torch.arange(256, dtype=torch.float64)
    for channel in counts:
        share = channel.double()
        share /= share.sum()
        mean = (share * levels).sum()
        means.append(mean)
        deviations.append(((share * (levels - mean) ** 2).sum()).sqrt())
    return torch.stack(means).float(), torch.stack(deviations).float().clamp(min=1.0)
