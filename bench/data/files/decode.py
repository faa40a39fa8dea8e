"""Decoding image files to square uint8 pixels, in the worker processes of `bench data prepare`. Does not import torch."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import stat
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from PIL import Image

from bench.interrupts import ignore_signals

# Raised when the same file would give different pixels.
METHOD_VERSION = 2
_COLOURS = "RGB, upright by EXIF, on white, 16-bit grey scaled; "
METHOD = (
    f"{_COLOURS}centre square resampled to size x size, bilinear with antialiasing; JPEG decoded at 2 x size or more"
)
RESIZED = f"{_COLOURS}shorter side resampled to {{resize}}, bilinear with antialiasing; size x size cut from the centre"
CHANNELS = 3
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MEGAPIXELS = 64  # of one image, unless more are allowed; as RGB in memory, 192 MB
_UPRIGHT = {  # EXIF orientation -> what turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Chunk:
    """Consecutive images of a tree, and where their pixels go.

    target: the array file. offset: where the first image starts in it, in bytes. size, resize, megapixels: as for
    decode_content.
    """

    number: int
    folder: Path
    files: Sequence[str]
    size: int
    target: Path
    offset: int
    resize: int | None = None
    megapixels: int = MEGAPIXELS


@dataclass(frozen=True)
class Decoded:
    """A chunk that has been flushed to disk. broken: file -> why it could not be decoded; its pixels are zeros.

    files: a digest of each file's bytes. keys: a digest of each image's pixels. Both in 32 hex digits, "" if unreadable.
    """

    number: int
    images: int
    sha256: str
    broken: dict[str, str]
    files: list[str]
    keys: list[str]


def decode_chunk(chunk: Chunk) -> Decoded:
    """Decode a chunk, write its pixels into the array file, and flush them to disk."""
    pixels = np.zeros((len(chunk.files), chunk.size, chunk.size, CHANNELS), np.uint8)
    broken, files = {}, []
    for place, name in enumerate(chunk.files):
        try:
            content = read_file(chunk.folder / name)
            files.append(file_digest(content))
        except OSError:
            broken[name] = "cannot be read"
            files.append("")
            continue
        try:
            pixels[place] = decode_content(content, chunk.size, chunk.resize, chunk.megapixels)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as cause:
            broken[name] = _reason(content, cause)
    keys = ["" if name in broken else pixel_key(image) for name, image in zip(chunk.files, pixels, strict=True)]
    content = pixels.tobytes()
    with chunk.target.open("r+b") as file:
        file.seek(chunk.offset)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Decoded(chunk.number, len(chunk.files), hashlib.sha256(content).hexdigest(), broken, files, keys)


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file. Raises OSError for anything else, without waiting for a pipe's writer."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path}: not a regular file")
        return file.read()


def file_digest(content: bytes) -> str:
    """Return 32 hex digits over a file's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def pixel_key(image: np.ndarray) -> str:
    """Return 32 hex digits over an image's pixels and shape; grey images have the key of the same image in RGB."""
    if image.shape[-1] == 1:
        image = np.repeat(image, CHANNELS, axis=-1)
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).hexdigest()


def decode_image(path: Path, size: int, resize: int | None = None, megapixels: int = MEGAPIXELS) -> np.ndarray:
    """Return one file's centre square as uint8 (size, size, 3); see decode_content."""
    return decode_content(read_file(path), size, resize, megapixels)


def decode_content(content: bytes, size: int, resize: int | None = None, megapixels: int = MEGAPIXELS) -> np.ndarray:
    """Return the centre square of an image file's bytes as uint8 (size, size, 3).

    Equivalent to resizing the shorter side to `size` and cropping the centre. An image that already has that size keeps
    its pixels. It is turned upright as its EXIF orientation says; what is transparent shows white; 16-bit grey v becomes
    v / 257, rounded; CMYK becomes RGB without a colour profile.
    resize: the shorter side is resized to it before `size` pixels are cropped, as torchvision's Resize and CenterCrop do it, to
    the bit; at least `size`.
    Raises OSError or ValueError for anything but a complete image of at most `megapixels`.
    """
    with warnings.catch_warnings(), _images_of_any_size():
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > megapixels * 10**6:
                raise ValueError(
                    f"{width:,} x {height:,} pixels, expected at most {megapixels} megapixels; data.max_megapixels or "
                    "--max-megapixels allows more"
                )
            if resize is None:
                # Twice the size leaves the resampling filter enough pixels to average. Only JPEG has a draft mode.
                image.draft("RGB", (2 * size, 2 * size))
            elif resize**2 * max(width, height) > megapixels * 10**6 * min(width, height):
                raise ValueError(
                    f"{width:,} x {height:,} pixels, expected at most {megapixels} megapixels once resized to {resize}"
                )
            picture = _to_rgb(image)
            turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        picture = picture.transpose(turn)
    if resize is not None:
        return np.asarray(_resized_and_cropped(picture, resize, size))
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if (width, height) != (size, size):
        box = (left, top, left + side, top + side)
        picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture)


@contextmanager
def _images_of_any_size() -> Iterator[None]:
    """Turn Pillow's own limit off, which is one for the whole process, and put it back."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _resized_and_cropped(picture: Image.Image, resize: int, size: int) -> Image.Image:
    """Return what torchvision's Resize(resize) and CenterCrop(size) make of an image, with their rounding."""
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    other = int(resize * long / short)
    resized = picture.resize((resize, other) if width <= height else (other, resize), Image.Resampling.BILINEAR)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    return resized.crop((left, top, left + size, top + size))


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in RGB, on white where it is transparent."""
    if image.mode == "I" or image.mode.startswith("I;"):
        deep = np.asarray(image).astype(np.int64)
        grey = ((deep + 128) // 257).clip(0, 255).astype(np.uint8)
        grey[deep == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "F":
        raise ValueError("pixels of mode F, expected 8 bits per channel or 16-bit grey")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1, upright, if there is none or it cannot be read."""
    try:
        return image.getexif().get(0x0112, 1)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        return 1


def _reason(content: bytes, cause: Exception) -> str:
    if not content:
        return "0 bytes"
    return "not an image" if isinstance(cause, Image.UnidentifiedImageError) else str(cause)


def start_worker() -> None:
    """Make a worker process exit with its parent, even if the parent is killed."""
    ignore_signals()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
