"""A data set as bench holds it: pixels in memory or on disk, labels, class and domain names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import DataError

Arrays = dict[str, np.ndarray]
_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class MappedPixels:
    """A memory-mapped array: uint8 (images, height, width, channels). digest: hex digest of its content."""

    pixels: np.ndarray
    digest: str


class ImageRows:
    """Rows of memory-mapped arrays, in any order, as one array that is never read as a whole.

    parts: arrays of equal height, width and channels. part, row: int64 (images,), the array and row of each image.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, parts: Sequence[MappedPixels], part: np.ndarray, row: np.ndarray) -> None:
        self._parts = tuple(parts)
        self._part = part
        self._row = row
        self.shape: tuple[int, ...] = (len(row), *parts[0].pixels.shape[1:])

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """Read some images into new memory."""
        chosen = np.arange(len(self))[indices] if isinstance(indices, slice) else indices
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        self.take(chosen, out)
        return out

    def take(self, indices: np.ndarray, out: np.ndarray) -> None:
        """Read the images at `indices` into `out`, uint8 (len(indices), height, width, channels)."""
        part, row = self._part[indices], self._row[indices]
        for number, array in enumerate(self._parts):
            there = part == number
            if there.all():
                # A mode other than "raise" avoids a second buffer; rows come from files whose lengths were checked.
                np.take(array.pixels, row, axis=0, out=out, mode="clip")
                return
            if there.any():
                out[there] = array.pixels[row[there]]

    def identity(self) -> bytes:
        """Identify the images by their arrays' digests, so that a run need not read gigabytes before it starts."""
        digests = repr([array.digest for array in self._parts]).encode()
        return digests + self._part.astype(">i8").tobytes() + self._row.astype(">i8").tobytes()


Pixels = np.ndarray | ImageRows


def take(pixels: Pixels, indices: np.ndarray, out: np.ndarray) -> None:
    """Copy the images at `indices` into `out`."""
    if isinstance(pixels, ImageRows):
        pixels.take(indices, out)
    else:
        np.take(pixels, indices, axis=0, out=out, mode="clip")


def in_chunks(pixels: Pixels, indices: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield the images (those at `indices`, or all) in order, a few megabytes at a time."""
    if indices is None:
        indices = np.arange(len(pixels))
    size = max(1, _CHUNK_BYTES // max(1, int(np.prod(pixels.shape[1:]))))
    for start in range(0, len(indices), size):
        yield pixels[indices[start : start + size]]


@dataclass(frozen=True)
class ImageSet:
    """A whole data set.

    x_train, x_test: uint8 (images, height, width, channels), in memory or rows of memory-mapped files.
    y_train, y_test: int64 (images,), 0..classes-1. source: where it was found, as text without a path.
    domains: names; empty if the set has none. domain_train, domain_test: int64 (images,), index into `domains`.
    held: bool (training images,), those that came as a validation part of their own; None if there are none. seen: bool
    (training images,), those that a user's own old model was trained on; None if they are not listed. cut_test: bool (test
    images,), those that were cut off the training images; None if there are none.
    keys_train, keys_test: bytes (images,), digests of the images' pixels, by which duplicates are found; None for sets that
    bench knows, whose parts are as published. names_train, names_test: a file or place for each image, for messages.
    """

    x_train: Pixels
    y_train: np.ndarray
    x_test: Pixels
    y_test: np.ndarray
    class_names: tuple[str, ...]
    source: str
    domains: tuple[str, ...] = ()
    domain_train: np.ndarray | None = None
    domain_test: np.ndarray | None = None
    held: np.ndarray | None = None
    keys_train: np.ndarray | None = None
    keys_test: np.ndarray | None = None
    names_train: tuple[str, ...] = ()
    names_test: tuple[str, ...] = ()
    seen: np.ndarray | None = None
    cut_test: np.ndarray | None = None

    def hash(self) -> str:
        """Return 16 hex digits over every pixel, label and, if the set has domains, domain.

        Memory-mapped pixels are represented by the digests taken when their files were written;
        `bench data verify` reads them again.
        """
        running = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            running.update(repr(array.shape).encode())
            content = array.identity() if isinstance(array, ImageRows) else np.ascontiguousarray(array).tobytes()
            running.update(content)
        if self.domain_train is not None and self.domain_test is not None:
            running.update(repr(self.domains).encode())
            for domain in (self.domain_train, self.domain_test):
                running.update(domain.astype(">i8").tobytes())
        if self.held is not None:
            running.update(self.held.tobytes())
        return running.hexdigest()[:16]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        height, width, channels = self.x_train.shape[1:]
        return channels, height, width


def too_few_unseen(where: str, name: str, use: str, left: int, needed: int) -> DataError:
    """Return the error for a class of which the old model was trained on too many images. name: the class's."""
    return DataError(
        f"{where}: class {name!r}: {left} images are left that are not listed in model.trained_on, too few for the {needed} to "
        f"hold out for {use}. Lower data.{use}_share, or name {use} images of your own (data.{use}, or --{use})."
    )


def too_few_to_validate(where: str, name: str, count: int, share: float) -> DataError:
    """Return the error of a class with too few training images for a validation share."""
    return DataError(
        f"{where}: class {name!r} has {count} images to train on, too few for a validation share of {share}. Raise "
        "data.validation_share, or add images."
    )
