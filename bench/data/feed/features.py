"""Features that a frozen part of a network makes: computed once for every whole image, and cropped for each batch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from bench.data.feed.augment import PaddedCrop
from bench.data.feed.batches import TrainingImages
from bench.errors import TrialError
from bench.files import writing

_BYTES = 2  # float16
_PASS = 500  # images at once


@dataclass(frozen=True)
class FeatureShape:
    """Shapes (channels, height, width) of one image's features: as they are kept, and of a crop of the image's size.

    padded: whether those of the padded image are kept.
    """

    whole: tuple[int, ...]
    crop: tuple[int, ...]
    padded: bool


class KeptFeatures:
    """The features of an update's training images, in float16, for each image and, with flips, for its mirror image.

    They are those of the whole image, computed when they are first asked for; a batch cuts its crops from them. Features of the
    padded image: a crop's border has seen the image around it, where a crop of pixels has zeros around it. Features of the image
    itself: what a crop shows beyond the image is zeros, where a crop of pixels has features of zeros; the crop in the middle is
    exactly what the network sees in evaluation. Behind a stage of stride s, crops lie on every s-th pixel: an offset of r pixels
    becomes one of floor(r / s).

    source: of what `compute` takes: the images, or the kept features of an earlier stage. charge: called with the number of
    features computed for the first time. folder: for a memory-mapped file, if they do not fit in memory.
    """

    def __init__(
        self,
        source: TrainingImages | KeptFeatures,
        compute: Callable[[Tensor], Tensor],
        shape: FeatureShape,
        charge: Callable[[int], None],
        folder: Path | None = None,
    ) -> None:
        images = source if isinstance(source, TrainingImages) else source.images
        assert isinstance(images.augmentation, PaddedCrop)
        self.images = images
        self.image_shape = shape.crop
        self.labels = images.labels
        self.device = images.device
        self._source = source
        self._compute = compute
        self._charge = charge
        self._padding = images.augmentation.padding
        self._variants = 2 if images.augmentation.flip else 1
        channels, height, width = shape.whole
        rows = len(images) * self._variants
        self.bytes = rows * prod(shape.whole) * _BYTES
        self._sides = height, width
        self._padded = shape.padded
        # How far a crop can be shifted, and by how much less than nothing it begins if features end with the image.
        spare = [
            kept - cut if shape.padded else 2 * self._padding * cut // side
            for kept, cut, side in zip(shape.whole[1:], shape.crop[1:], images.image_shape[1:], strict=True)
        ]
        self._spare = spare[0], spare[1]
        self._outside = (0, 0) if shape.padded else (spare[0] // 2, spare[1] // 2)
        table = _memory((rows, height, width, channels), self.bytes, images.device, folder)
        self._table = table
        self._there = torch.zeros(rows, dtype=torch.bool, device=images.device)
        # The pass that first computed and charged each, from 1 on; 0 for none.
        self._passes = torch.zeros(rows, dtype=torch.int32, device=images.device)
        self._last_pass = 0
        self._complete = False  # whether all that is asked for from now on has been announced

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, rows: Tensor, columns: Tensor, flips: Tensor) -> Tensor:
        """Return crops of features: float32 (batch, channels, height, width), channels_last.

        indices: int64 (batch,). rows, columns, flips: drawn by the images' PaddedCrop. All on the device.
        """
        places = self._places(indices, flips)
        if not self._complete:
            self._fill(places)
        _, height, width = self.image_shape
        shifts = max(1, 2 * self._padding)
        top, left = rows * self._spare[0] // shifts, columns * self._spare[1] // shifts
        if self._variants == 2:  # the crop of the mirror image that mirrors the crop of the image
            left = torch.where(flips, self._spare[1] - left, left)
        down = (top - self._outside[0])[:, None] + torch.arange(height, device=self.device)
        across = (left - self._outside[1])[:, None] + torch.arange(width, device=self.device)
        (down, above), (across, beside) = _within(down, self._sides[0]), _within(across, self._sides[1])
        cells = (places[:, None, None] * self._sides[0] + down[:, :, None]) * self._sides[1] + across[:, None, :]
        flat = self._table.view(-1, self._table.shape[-1])
        taken = flat[cells.flatten().to(flat.device)].to(self.device).view(*cells.shape, -1).float()
        if not self._padded:
            taken *= (above[:, :, None] & beside[:, None, :])[..., None]
        return taken.permute(0, 3, 1, 2)

    def cut(self, indices: Tensor, rows: Tensor, columns: Tensor, flips: Tensor) -> Tensor:
        """Return what `batch` does, which `normalize` leaves as it is."""
        return self.batch(indices, rows, columns, flips)

    def normalize(self, features: Tensor) -> Tensor:
        """Return features as they are: made of normalized images."""
        return features

    def require(self, indices: Tensor, rows: Tensor, columns: Tensor, flips: Tensor) -> None:
        """Compute what a batch lacks, of which only a share is asked for here. The arguments are those of `batch`."""
        if not self._complete:
            self._fill(self._places(indices, flips))

    def at_once(self, size: int) -> int:
        """Return 1: features are computed, and charged, as batches need them."""
        return 1

    def plain(self, indices: Tensor) -> Tensor:
        """Return the features of images without augmentation, as `batch` does."""
        drawn = [values.to(self.device) for values in self.images.augmentation.plain(len(indices))]
        self._fill(self._places(indices, drawn[2]))
        return self.batch(indices, *drawn)

    def whole(self, indices: Tensor, flips: Tensor, padded: bool) -> Tensor:
        """Return the features of whole images, as they are kept: float32 (batch, channels, height, width)."""
        assert padded == self._padded
        places = self._places(indices, flips)
        self._fill(places)
        return self._table[places.to(self._table.device)].to(self.device).permute(0, 3, 1, 2).float()

    def draw(self, count: int, seed: int, epoch: int) -> tuple[Tensor, ...]:
        """Draw an epoch's augmentation: the same as the images'."""
        return self.images.draw(count, seed, epoch)

    def expect(self, batches: Sequence[Tensor], *drawn: Tensor) -> None:
        """On a GPU, compute at once what the batches to come lack; the arguments are TrainingImages.expect's.

        Batch by batch, each would wait for the device to say what is missing, and have kernels chosen for its number.
        """
        if self.device.type == "cuda" and batches:
            self._fill(self._places(torch.cat(list(batches)), drawn[2]))
            self._complete = True

    def passes(self) -> Tensor:
        """Return which pass first computed and charged each feature, from 1 on, 0 for none: int32 (images * variants,)."""
        return self._passes

    def restore(self, passes: Tensor) -> None:
        """Compute again, without charging them, what had been computed before an interruption, in the same passes.

        What a network makes of an image may depend, in the last bits, on how many images it is given at once. passes: of older
        checkpoints, bool, whether each had been charged.
        """
        self._passes.copy_(passes)
        self._last_pass = int(self._passes.max()) if len(self) else 0
        order = torch.argsort(self._passes, stable=True)
        counts = torch.bincount(self._passes, minlength=1).tolist()
        for places in order.split(counts)[1:]:
            self._fill(places)

    def _places(self, indices: Tensor, flips: Tensor) -> Tensor:
        return indices * 2 + flips if self._variants == 2 else indices

    def _fill(self, places: Tensor) -> None:
        missing = places[~self._there[places]].unique()
        if len(missing):
            for part in missing.split(_PASS):
                self._compute_rows(part)

    def _compute_rows(self, missing: Tensor) -> None:
        mirrored = missing % 2 == 1 if self._variants == 2 else torch.zeros_like(missing, dtype=torch.bool)
        found = self._compute(self._source.whole(missing // self._variants, mirrored, self._padded)).to(torch.float16)
        if not bool(found.isfinite().all()):
            raise TrialError(
                "kept features: a value exceeds float16, expected below 65,504. Set freezing.features=recomputed."
            )
        self._table[missing.to(self._table.device)] = found.permute(0, 2, 3, 1).to(self._table.device)
        self._there[missing] = True
        new = missing[self._passes[missing] == 0]
        self._charge(len(new))
        if len(new):
            self._last_pass += 1
            self._passes[new] = self._last_pass


def _within(places: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return places clamped to 0..side - 1, and which of them lay there."""
    return places.clamp(0, side - 1), (places >= 0) & (places < side)


def _memory(shape: tuple[int, ...], size: int, device: torch.device, folder: Path | None) -> Tensor:
    """Return uninitialized float16 memory: on the device, or in a memory-mapped file if it takes over half of
    a GPU's memory, or of what is available to the CPU."""
    there = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else _available_memory()
    if 2 * size <= there:
        return torch.empty(shape, dtype=torch.float16, device=device)
    where = folder or Path(tempfile.gettempdir())
    with (
        writing(where),
        tempfile.NamedTemporaryFile(dir=where, prefix="features-") as file,
    ):  # mapped, it outlives its name
        if hasattr(os, "posix_fallocate"):  # without space for all of it, a write would later end the process
            os.posix_fallocate(file.fileno(), 0, size)
        return torch.from_file(file.name, shared=True, size=prod(shape), dtype=torch.float16).view(shape)


def _available_memory() -> int:
    """Return the bytes of memory that can be taken without swapping."""
    try:
        facts = Path("/proc/meminfo").read_text()
    except OSError:  # not Linux
        facts = ""
    for line in facts.splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    raise TrialError(
        "kept features: /proc/meminfo does not say how much memory is available, expected a line MemAvailable. "
        "Set freezing.features=recomputed."
    )
