"""Data sets as arrays: reading .npz archives, idx files and torchvision's own files, and checking their content."""

from __future__ import annotations

import gzip
import lzma
import math
import os
import struct
import tokenize
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import Image

from bench.data.images import Arrays
from bench.errors import DataError, shown

KEYS = ("x_train", "y_train", "x_test", "y_test")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LARGEST_IDX = 1 << 30  # bytes, unpacked: EMNIST's largest part has 547 MB


def read_npz(path: Path, needed: Sequence[str] = KEYS, optional: Sequence[str] = ("classes",)) -> Arrays:
    """Read arrays of an archive by name. Runs no code from it, and allocates no more than the archive holds.

    Raises DataError if one is missing or unreadable, or if all of them are larger than the machine's memory.
    """
    with _archive(path) as archive:
        names = _names(archive)
        missing = [key for key in needed if key not in names]
        if missing:
            raise DataError(f"{path}: no array {missing[0]!r}, expected {', '.join(needed)}. Pack the set again.")
        wanted = [key for key in (*needed, *optional) if key in names]
        total, most = sum(archive.getinfo(f"{key}.npy").file_size for key in wanted), _memory()
        if total > most:
            raise DataError(f"{path}: {total:,} bytes of arrays, and {most:,} bytes of memory. Pack fewer images.")
        return {key: _read_array(archive, f"{key}.npy") for key in wanted}


def npz_names(path: Path) -> list[str]:
    """Return the names of an archive's arrays. Raises DataError if it cannot be read."""
    with _archive(path) as archive:
        return _names(archive)


@contextmanager
def _archive(path: Path) -> Iterator[ZipFile]:
    """Open an archive of arrays. Raises DataError for whatever goes wrong while it is read."""
    try:
        with ZipFile(path) as archive:
            yield archive
    except DataError:
        raise
    # Whatever zipfile, zlib, lzma and NumPy raise on corrupted bytes, on encrypted ones, and on an unknown compression.
    except (
        *(OSError, ValueError, BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
        *(RuntimeError, KeyError, TypeError, AttributeError, SyntaxError, MemoryError, OverflowError),
    ) as cause:
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise DataError(f"{path}: not a readable .npz archive ({reason}). Pack or copy the set again.") from cause


def _names(archive: ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _read_array(archive: ZipFile, name: str) -> np.ndarray:
    """Read one array, once its header says no more than its entry in the archive holds. Raises ValueError."""
    held = archive.getinfo(name).file_size
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{name}: format {version} of NumPy")
        shape, _, kind = _HEADERS[version](file)
        if kind.hasobject or any(side < 0 for side in shape):
            raise ValueError(f"{name}: array of {kind}, shape {shown(shape)}")
        claimed = math.prod(shape) * kind.itemsize
        if claimed != held - file.tell():
            raise ValueError(f"{name}: its header says {shown(claimed)} bytes, and it has {held - file.tell():,}")
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _memory() -> int:
    """Return the bytes of the machine's memory; where it does not say, 64 GiB."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 64 << 30


def read_idx_folder(folder: Path) -> Arrays:
    """Read the four gzip-packed idx files of the MNIST family. Source: yann.lecun.com/exdb/mnist."""
    names = {
        "x_train": "train-images-idx3-ubyte.gz",
        "y_train": "train-labels-idx1-ubyte.gz",
        "x_test": "t10k-images-idx3-ubyte.gz",
        "y_test": "t10k-labels-idx1-ubyte.gz",
    }
    return {key: _read_idx(folder / name) for key, name in names.items()}


def _read_idx(path: Path) -> np.ndarray:
    try:
        with gzip.open(path) as file:
            raw = file.read(_LARGEST_IDX + 1)
        if len(raw) > _LARGEST_IDX:
            raise ValueError(f"larger than {_LARGEST_IDX:,} bytes")
        dimensions = raw[3]
        shape = np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4)
        return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(tuple(int(n) for n in shape))
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as cause:
        raise DataError(f"{path}: not a readable idx file ({cause}). Install the package again.") from cause


def from_torchvision(kind: str, root: Path, *, download: bool) -> Arrays | None:
    """Read torchvision's own files of a set, or return None if they do not exist.

    kind: the name of its class in torchvision.datasets. A failed download raises whatever torchvision raises.
    """
    from torchvision import datasets

    build = getattr(datasets, kind)
    try:
        parts = {part: build(str(root), train=part == "train", download=download) for part in ("train", "test")}
    except (RuntimeError, FileNotFoundError):  # how torchvision reports missing files
        if download:
            raise
        return None
    arrays: Arrays = {}
    for part, dataset in parts.items():
        arrays[f"x_{part}"] = np.asarray(dataset.data)
        arrays[f"y_{part}"] = np.asarray(dataset.targets)
    names = getattr(parts["train"], "classes", None)  # USPS has none
    return arrays if names is None else {**arrays, "classes": np.asarray(names)}


def check_arrays(
    x: np.ndarray, y: np.ndarray, part: str, where: str, *, classes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return images as (images, height, width, channels) and labels as int64 (images,).

    part: "train" or "test". classes: labels must be below it; None: any label of 0 or more.
    Raises DataError naming the array, what was found and what was expected.
    """
    if x.dtype != np.uint8:
        raise DataError(f"{where}: x_{part} is {x.dtype}, expected uint8 (0..255). Convert and pack again.")
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.shape[3] not in (1, 3):
        raise DataError(
            f"{where}: x_{part} has shape {x.shape}, expected (images, height, width[, 1 or 3]). Pack again."
        )
    if y.dtype.kind not in "iu":
        raise DataError(f"{where}: y_{part} is {y.dtype}, expected integers. Convert and pack again.")
    y = y.reshape(-1).astype(np.int64)
    if len(y) != len(x):
        raise DataError(f"{where}: {len(x)} images but {len(y)} labels in the {part} part. Pack again.")
    if len(y) == 0 or y.min() < 0 or (classes is not None and y.max() >= classes):
        found = f"{y.min()}..{y.max()}" if len(y) else "none"
        expected = f"0..{classes - 1}" if classes is not None else "0 or more"
        raise DataError(f"{where}: y_{part} holds labels {found}, expected {expected}. Pack again.")
    return x, y


def check_set(arrays: Arrays, classes: int, shape: tuple[int, int, int] | None, where: str) -> Arrays:
    """Check a whole set against what is known about it, and return it with `classes`, its class names.

    shape: (height, width, channels); None: any. Raises DataError naming the array, what was found and expected.
    """
    checked: Arrays = {}
    for part in ("train", "test"):
        # The shape first: it is the clearest sign that an archive holds another set.
        found = arrays[f"x_{part}"]
        height_width_channels = (*found.shape[1:], 1) if found.ndim == 3 else found.shape[1:]
        if shape is not None and found.dtype == np.uint8 and height_width_channels != shape:
            raise DataError(f"{where}: x_{part} holds images of {height_width_channels}, expected {shape}. Pack again.")
        x, y = check_arrays(found, arrays[f"y_{part}"], part, where, classes=classes)
        missing = sorted(set(range(classes)) - set(np.unique(y).tolist()))
        if missing:
            raise DataError(f"{where}: no {part} image of class {missing[0]}. Pack the whole set.")
        checked[f"x_{part}"], checked[f"y_{part}"] = x, y
    names = np.array([str(n) for n in arrays["classes"]] if "classes" in arrays else list(map(str, range(classes))))
    if len(names) != classes:
        raise DataError(f"{where}: {len(names)} class names, expected {classes}. Pack again.")
    return {**checked, "classes": names}


def resize_grey(images: np.ndarray, size: int) -> np.ndarray:
    """Resize grey images bilinearly: uint8 (images, height, width, 1) to (images, size, size, 1)."""
    resized = [
        np.asarray(Image.fromarray(image[..., 0]).resize((size, size), Image.Resampling.BILINEAR)) for image in images
    ]
    return np.stack(resized)[..., None]
