"""Decoding image files to square uint8 pixels, in the worker processes of `bench data prepare`. Does not import torch."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from PIL import Image

# Raised when the same file would give different pixels.
METHOD_VERSION = 1
METHOD = "RGB; centre square resampled to size x size, bilinear with antialiasing; JPEG decoded at 2 x size or more"
CHANNELS = 3
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_DEEP = ("I", "F")  # modes of more than 8 bits, and those that begin with "I;"


@dataclass(frozen=True)
class Chunk:
    """Consecutive images of a tree, and where their pixels go.

    target: the array file. offset: where the first image starts in it, in bytes.
    """

    number: int
    folder: Path
    files: Sequence[str]
    size: int
    target: Path
    offset: int


@dataclass(frozen=True)
class Decoded:
    """A chunk that has been flushed to disk. broken: file -> why it could not be decoded; its pixels are zeros."""

    number: int
    images: int
    sha256: str
    broken: dict[str, str]


def decode_chunk(chunk: Chunk) -> Decoded:
    """Decode a chunk, write its pixels into the array file, and flush them to disk."""
    pixels = np.zeros((len(chunk.files), chunk.size, chunk.size, CHANNELS), np.uint8)
    broken = {}
    for place, name in enumerate(chunk.files):
        try:
            pixels[place] = decode_image(chunk.folder / name, chunk.size)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as cause:
            broken[name] = _reason(chunk.folder / name, cause)
    content = pixels.tobytes()
    with chunk.target.open("r+b") as file:
        file.seek(chunk.offset)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Decoded(chunk.number, len(chunk.files), hashlib.sha256(content).hexdigest(), broken)


def decode_image(path: Path, size: int) -> np.ndarray:
    """Return one file's centre square as uint8 (size, size, 3).

    Equivalent to resizing the shorter side to `size` and cropping the centre. An image that already has that size keeps
    its pixels. Transparency is dropped; EXIF orientation is not applied, as in torchvision's ImageFolder.
    Raises OSError or ValueError for anything but a complete image of 8 bits per channel.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about large images and odd metadata
        with Image.open(path, formats=_FORMATS) as image:
            if image.mode in _DEEP or image.mode.startswith("I;"):
                raise ValueError(f"pixels of mode {image.mode}, expected 8 bits per channel")
            # Twice the size leaves the resampling filter enough pixels to average. Only JPEG has a draft mode.
            image.draft("RGB", (2 * size, 2 * size))
            picture = image.convert("RGB")
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if (width, height) != (size, size):
        box = (left, top, left + side, top + side)
        picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture)


def _reason(path: Path, cause: Exception) -> str:
    try:
        if path.stat().st_size == 0:
            return "0 bytes"
    except OSError:
        return "cannot be read"
    if isinstance(cause, Image.UnidentifiedImageError):
        return "not an image"
    return str(cause).replace(str(path), path.name)


def start_worker() -> None:
    """Make a worker process exit with its parent, even if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and stops its workers
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
