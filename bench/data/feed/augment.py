"""Augmentation on the device: drawing an epoch's crops and flips, and cutting them out of raw pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

# Aspect ratio (width / height) of a random resized crop; the usual range.
_RATIOS = (3 / 4, 4 / 3)


class Augmentation(Protocol):
    """How a batch is cut from raw pixels. Draws are made on the CPU, for a whole epoch at once."""

    def draw(self, count: int, stream: Generator) -> tuple[Tensor, ...]:
        """Draw for `count` images: tensors of shape (count, ...), on the CPU."""
        ...

    def plain(self, count: int) -> tuple[Tensor, ...]:
        """Return what would be drawn for `count` images that are not changed: on the CPU."""
        ...

    def cut(self, pixels: Tensor, *drawn: Tensor) -> Tensor:
        """Turn uint8 (batch, height, width, channels) into (batch, channels, height, width), in new memory.

        drawn: this batch's rows of what `draw` returned, on the device. Returns raw pixel values, uint8 or float32.
        """
        ...


@dataclass(frozen=True)
class PaddedCrop:
    """Full-size crops of zero-padded images, and horizontal flips.

    padding: pixels on each side. flip: mirror half of the images. Drawn values: crop rows, crop columns, flips.
    """

    padding: int
    flip: bool

    def draw(self, count: int, stream: Generator) -> tuple[Tensor, ...]:
        shifts = 2 * self.padding + 1
        rows = torch.randint(shifts, (count,), generator=stream)
        columns = torch.randint(shifts, (count,), generator=stream)
        return rows, columns, torch.rand(count, generator=stream) < 0.5

    def plain(self, count: int) -> tuple[Tensor, ...]:
        middle = torch.full((count,), self.padding)
        return middle, middle, torch.zeros(count, dtype=torch.bool)

    def padded(self, pixels: Tensor) -> Tensor:
        """Pad images: (images, height, width, channels) to (images, height + 2 * padding, width + 2 * padding, channels)."""
        return F.pad(pixels, (0, 0, self.padding, self.padding, self.padding, self.padding))

    def windows(self, padded: Tensor) -> Tensor:
        """View every possible crop of padded images: (images, shifts, shifts, channels, height, width)."""
        height, width = (side - 2 * self.padding for side in padded.shape[1:3])
        return padded.unfold(1, height, 1).unfold(2, width, 1)

    def cut(self, pixels: Tensor, *drawn: Tensor) -> Tensor:
        every = torch.arange(len(pixels), device=pixels.device)
        return self.choose(self.windows(self.padded(pixels)), every, *drawn)

    def choose(self, windows: Tensor, images: Tensor, rows: Tensor, columns: Tensor, flips: Tensor) -> Tensor:
        """Take one crop of each of `images` from their windows."""
        crops = windows[images, rows, columns]
        return mirrored(crops, flips) if self.flip else crops


def mirrored(pixels: Tensor, flips: Tensor) -> Tensor:
    """Mirror some images of a batch: uint8 (batch, channels, height, width). flips: bool (batch,), which."""
    others, flips = pixels.flip(3), flips.view(-1, 1, 1, 1)
    if pixels.is_cuda:
        return torch.where(flips, others, pixels)
    # On a CPU, where() goes pixel by pixel; these three are vectorized. Crops of 128 images of 3x32x32 then take 0.7 instead of
    # 1.2 ms.
    return others.bitwise_xor_(pixels).bitwise_and_(flips.to(torch.uint8).neg_()).bitwise_xor_(pixels)


@dataclass(frozen=True)
class ResizedCrop:
    """Crops of random area and aspect ratio, resampled to full size, and horizontal flips.

    scale: the smallest share of the area. Area is uniform in scale..1, aspect ratio log-uniform in 3/4..4/3, as usual
    (Szegedy et al. 2015); a side longer than the image's is clipped to it, where others draw again. Bilinear, at the
    pixels' own resolution: a crop is only ever enlarged, so nothing is aliased.
    Drawn values: float32 (count, 4) in 0..1: area, ratio, left, top; and flips.
    """

    scale: float
    flip: bool

    def draw(self, count: int, stream: Generator) -> tuple[Tensor, ...]:
        return torch.rand(count, 4, generator=stream), torch.rand(count, generator=stream) < 0.5

    def plain(self, count: int) -> tuple[Tensor, ...]:
        # The whole area, in the image's own proportions.
        low, high = (math.log(ratio) for ratio in _RATIOS)
        box = torch.tensor([1.0, -low / (high - low), 0.0, 0.0]).expand(count, 4)
        return box, torch.zeros(count, dtype=torch.bool)

    def boxes(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (width, height, left, top) of the crops as shares of the image's sides, each (count,)."""
        area = self.scale + (1 - self.scale) * drawn[:, 0]
        low, high = (math.log(ratio) for ratio in _RATIOS)
        ratio = torch.exp(low + (high - low) * drawn[:, 1])
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        return width, height, drawn[:, 2] * (1 - width), drawn[:, 3] * (1 - height)

    def cut(self, pixels: Tensor, *drawn: Tensor) -> Tensor:
        box, flips = drawn
        width, height, left, top = self.boxes(box)
        turn = torch.where(flips, -1.0, 1.0) if self.flip else torch.ones_like(width)
        zero = torch.zeros_like(width)
        # From -1..1 across the output to -1..1 across the image.
        across = torch.stack([width * turn, zero, 2 * left + width - 1], dim=1)
        down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
        images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        grid = F.affine_grid(torch.stack([across, down], dim=1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
