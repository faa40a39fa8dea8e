"""Checking an available data set: counts, classes, checksums, and images that are in both training and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.files.prepare import Prepared, chunk_rows, read_manifest
from bench.data.images import ImageSet, Pixels, in_chunks

_SHOWN = 10


@dataclass(frozen=True)
class Duplicates:
    """Test images that are byte-identical to a training image.

    count: how many. unlike: how many of these have a different label in training. pairs: (test, training) indices, at most ten.
    """

    count: int
    unlike: int
    pairs: tuple[tuple[int, int], ...]


def find_duplicates(images: ImageSet) -> Duplicates:
    """Find test images whose pixels equal those of a training image, by a hash of each image."""
    place: dict[bytes, int] = {}
    for number, key in enumerate(_keys(images.x_train)):
        place.setdefault(key, number)
    pairs = [(number, place[key]) for number, key in enumerate(_keys(images.x_test)) if key in place]
    unlike = sum(int(images.y_test[test] != images.y_train[train]) for test, train in pairs)
    return Duplicates(len(pairs), unlike, tuple(pairs[:_SHOWN]))


def count_images(images: ImageSet) -> list[tuple[str, int, int, int, int]]:
    """Return (domain, training images, fewest of a class, test images, fewest of a class), of the classes that a domain has.

    The domain is "" for a set without domains.
    """
    rows = []
    for number, name in enumerate(images.domains or ("",)):
        labels = [
            y if domain is None else y[domain == number]
            for y, domain in ((images.y_train, images.domain_train), (images.y_test, images.domain_test))
        ]
        counts = [np.bincount(part, minlength=len(images.class_names)) for part in labels]
        there = counts[0] + counts[1] > 0  # a folder of one's own may have some of the classes only
        fewest = [int(each[there].min()) if there.any() else 0 for each in counts]
        rows.append((name, len(labels[0]), fewest[0], len(labels[1]), fewest[1]))
    return rows


def broken_chunks(prepared: Prepared) -> list[str]:
    """Read a prepared tree again; return, as text, the chunks that have changed since they were written."""
    sums = read_manifest(prepared.folder).sha256
    wrong = []
    for (first, end), expected in zip(chunk_rows(len(prepared.listing.files), prepared.size), sums, strict=True):
        found = hashlib.sha256(prepared.mapped.pixels[first:end].tobytes()).hexdigest()
        if found != expected:
            wrong.append(f"images {first}..{end - 1}")
    return wrong


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder and below it; 0 if it does not exist."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _keys(pixels: Pixels) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for chunk in in_chunks(pixels) for image in chunk]
