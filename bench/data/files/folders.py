"""Listing a folder of images: its files and the class of each, in the common layouts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.data.files.decode import ENDINGS
from bench.errors import DataError

# "cut": has no test part, so data.test_share says how much is split off.
Use = Literal["train", "test", "cut"]
_LITTER = ("Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Listing:
    """The image files of one tree, class by class, each sorted by name.

    files: POSIX paths relative to folder. labels: int64 (files,), index into class_names.
    left_out: files in class folders without an image extension. digest: 16 hex digits over every file's name, class,
    size and modification time: a tree with the same digest is not decoded again.
    """

    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    left_out: tuple[str, ...]
    digest: str


def list_class_folders(folder: Path, classes: Sequence[str] | None = None, inner: str = "") -> Listing:
    """List a tree of one folder per class (torchvision's ImageFolder). classes: those used, in this order; None: all, sorted.

    inner: a folder inside each class folder that holds its images, as in Tiny-ImageNet.
    Raises DataError if the tree, a class or all images of a class are missing, or if images are outside the class folders.
    """
    present, loose = _subfolders(folder)
    if loose:
        raise DataError(
            f"{folder / loose[0]}: an image outside the class folders, expected one folder per class. Move it into one."
        )
    names = tuple(present if classes is None else classes)
    if not names:
        raise DataError(f"{folder}: no class folders, expected one per class with its images. Name another folder.")
    absent = [name for name in names if name not in present]
    if absent:
        raise DataError(
            f"{folder}: no folder for class {absent[0]!r}{_more(absent)}, expected one per class. "
            "Add it, or fix data.classes."
        )
    entries: list[tuple[str, int, os.stat_result]] = []
    left_out: list[str] = []
    for label, name in enumerate(names):
        before = len(entries)
        for path, state in _files(folder / name / inner):
            relative = path.relative_to(folder).as_posix()
            if path.suffix.lower() in ENDINGS:
                entries.append((relative, label, state))
            else:
                left_out.append(relative)
        if len(entries) == before:
            raise DataError(
                f"{folder / name}: a class folder without images, expected some ({', '.join(ENDINGS)}). "
                "Add some, or remove it."
            )
    return _listing(folder, entries, names, left_out)


def list_annotated(folder: Path, classes: Sequence[str] | None = None) -> Listing:
    """List Tiny-ImageNet's validation part: <folder>/images, and the class of each image in val_annotations.txt.

    classes: those used, in this order; None: all, sorted. Raises DataError if a file or an annotation is missing.
    """
    notes = folder / "val_annotations.txt"
    try:
        rows = [line.split("\t") for line in notes.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"{notes}: cannot be read ({type(cause).__name__}). Unpack the set again.") from cause
    if not rows or any(len(row) < 2 for row in rows):
        raise DataError(f"{notes}: expected tab-separated lines of file, class and box. Unpack the set again.")
    class_of = {row[0]: row[1] for row in rows}
    names = tuple(sorted(set(class_of.values())) if classes is None else classes)
    place = {name: label for label, name in enumerate(names)}
    absent = [name for name in names if name not in set(class_of.values())]
    if absent:
        raise DataError(f"{notes}: no images of class {absent[0]!r}{_more(absent)}. Fix data.classes.")
    states = {path.name: state for path, state in _files(folder / "images")}
    unknown = sorted(name for name in states if name not in class_of and name.lower().endswith(ENDINGS))
    missing = sorted(name for name in class_of if name not in states)
    if missing or unknown:
        found, what = (missing, "annotated, but missing") if missing else (unknown, "present, but not annotated")
        raise DataError(f"{folder}: images/{found[0]}{_more(found)}: {what}. Unpack the set again.")
    entries = [
        (f"images/{name}", place[class_of[name]], state)
        for name, state in states.items()
        if class_of.get(name) in place
    ]
    entries.sort(key=lambda entry: (entry[1], entry[0]))
    return _listing(folder, entries, names, [])


def list_tree(folder: Path, classes: Sequence[str] | None = None) -> list[tuple[Use, Listing]]:
    """List a user's own folder: class folders, or train/ and test/ (or val/) that hold class folders.

    Tiny-ImageNet's validation folder is recognized too. Raises DataError as list_class_folders does, and if the train and
    test parts have different classes.
    """
    if (folder / "val_annotations.txt").is_file():
        return [("cut", list_annotated(folder, classes))]
    inside = set(_subfolders(folder)[0])
    tests = inside & {"test", "val"}
    if "train" not in inside or not tests or inside - {"train", "test", "val"}:
        return [("cut", list_class_folders(folder, classes))]
    if len(tests) == 2:
        raise DataError(f"{folder}: found both test/ and val/ next to train/, expected one. Remove or merge the other.")
    train = list_class_folders(folder / "train", classes)
    test = list_class_folders(folder / tests.pop(), classes)
    apart = sorted(set(train.class_names) ^ set(test.class_names))
    if apart:
        raise DataError(
            f"{folder}: class {apart[0]!r}{_more(apart)} in only one of train/ and {test.folder.name}/, expected in both. "
            "Add or remove it."
        )
    return [("train", train), ("test", test)]


def _subfolders(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the image files directly in `folder`, without hidden ones."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as cause:
        raise DataError(f"{folder}: not a readable folder of images ({cause.strerror}). Fix the path.") from cause
    folders = [name for name, is_folder in entries if is_folder]
    return folders, [name for name, is_folder in entries if not is_folder and name.lower().endswith(ENDINGS)]


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every file below `folder`, sorted by path, except hidden files and operating-system clutter."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name not in _LITTER:
                path = Path(parent, name)
                try:
                    yield path, path.stat()
                except OSError as cause:
                    raise DataError(f"{path}: cannot be read ({cause.strerror}). Fix or remove it.") from cause


def _listing(
    folder: Path, entries: Sequence[tuple[str, int, os.stat_result]], names: tuple[str, ...], left_out: list[str]
) -> Listing:
    running = hashlib.sha256()
    for name, label, state in entries:
        running.update(
            f"{name}\t{names[label]}\t{state.st_size}\t{state.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    files = tuple(name for name, _, _ in entries)
    labels = np.array([label for _, label, _ in entries], dtype=np.int64)
    return Listing(folder, files, labels, names, tuple(left_out), running.hexdigest()[:16])


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
