"""Listing a folder of images: its files and the class of each, in the common layouts."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.data.files.decode import ENDINGS
from bench.data.files.names import distinct_names, plain_name, shown
from bench.errors import DataError

# "cut": has no test part, so data.test_share says how much is split off.
Use = Literal["train", "validation", "test", "cut"]
# What operating systems, file servers and archivers leave behind, in lower case; hidden names are skipped too.
_SYSTEM = (
    "@eadir", "__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "$recycle.bin", "#recycle", "lost+found",
    "system volume information",
)  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """The image files of one tree, class by class, each sorted by name.

    files: POSIX paths relative to folder. labels: int64 (files,), index into class_names.
    left_out: files in class folders without an image extension. digest: 16 hex digits over the folder's canonical path
    and every file's name, class, device, inode, size, and times of modification and change: a tree with the same digest
    is not decoded again. passed_over: what was not looked at: hidden and system files and folders, parts without labels.
    """

    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    left_out: tuple[str, ...]
    digest: str
    passed_over: tuple[str, ...] = ()


def list_class_folders(folder: Path, classes: Sequence[str] | None = None, inner: str = "") -> Listing:
    """List a tree of one folder per class (torchvision's ImageFolder). classes: those used, in this order; None: all, sorted.

    inner: a folder inside each class folder that holds its images, as in Tiny-ImageNet. Names are compared and returned in
    Unicode's composed form (NFC) without spaces around them.
    Raises DataError if the tree, a class or all images of a class are missing, if images are outside the class folders, if
    two names differ only in form or case, or if something cannot be read.
    """
    inside = look(folder)
    if inside.loose:
        raise DataError(
            f"{folder / shown(inside.loose[0])}: an image outside the class folders, expected one folder per class. "
            "Move it into one."
        )
    present = dict(zip(distinct_names(inside.folders, str(folder)), inside.folders, strict=True))
    names = tuple(sorted(present) if classes is None else map(plain_name, classes))
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
    passed_over = list(inside.system)
    for label, name in enumerate(names):
        before = len(entries)
        for path, state in _files(folder / present[name] / inner, folder, passed_over):
            relative = path.relative_to(folder).as_posix()
            if path.suffix.lower() in ENDINGS:
                entries.append((relative, label, state))
            else:
                left_out.append(relative)
        if len(entries) == before:
            raise DataError(
                f"{folder / present[name]}: a class folder without images, expected some ({', '.join(ENDINGS)}). "
                "Add some, or remove it."
            )
    return _listing(folder, entries, names, left_out, passed_over)


def of_classes(listing: Listing, names: Sequence[str]) -> Listing:
    """Return the part of a listing with some of its classes, in this order."""
    if tuple(names) == listing.class_names:
        return listing
    place = {listing.class_names.index(name): number for number, name in enumerate(names)}
    chosen = [
        (place[label], file)
        for label, file in zip(listing.labels.tolist(), listing.files, strict=True)
        if label in place
    ]
    chosen.sort(key=lambda each: each[0])
    digest = hashlib.sha256("\n".join((listing.digest, *names)).encode()).hexdigest()[:16]
    labels = np.array([label for label, _ in chosen], dtype=np.int64)
    return Listing(listing.folder, tuple(file for _, file in chosen), labels, tuple(names), (), digest)


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
    passed_over: list[str] = []
    states = {path.name: state for path, state in _files(folder / "images", folder, passed_over)}
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
    return _listing(folder, entries, names, [], passed_over)


@dataclass(frozen=True)
class Inside:
    """What is directly in a folder, sorted by name. loose: image files. system: hidden and system files and folders."""

    folders: tuple[str, ...]
    loose: tuple[str, ...]
    system: tuple[str, ...]


def look(folder: Path) -> Inside:
    """Return what is directly in a folder. Raises DataError if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found)
    except OSError as cause:
        raise DataError(f"{folder}: not a readable folder of images ({cause.strerror}). Fix the path.") from cause
    system = tuple(name for name, _ in entries if _is_system(name))
    kept = [(name, is_folder) for name, is_folder in entries if not _is_system(name)]
    loose = tuple(name for name, is_folder in kept if not is_folder and name.lower().endswith(ENDINGS))
    return Inside(tuple(name for name, is_folder in kept if is_folder), loose, system)


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _files(
    folder: Path, tree: Path, passed_over: list[str], above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every file below `folder`, sorted by path within it; add hidden and system names to `passed_over`.

    above: device and inode of the folders that it is in. Raises DataError for what cannot be read, for an image that is not
    a regular file, and for a link to a folder above it.
    """
    try:
        own = folder.stat()
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found)
    except OSError as cause:
        raise DataError(f"{_shown(folder)}: cannot be read ({cause.strerror}). Fix or remove it.") from cause
    here = (own.st_dev, own.st_ino)
    if here in above:
        raise DataError(f"{_shown(folder)}: a link to a folder that it is in, expected images. Remove it.")
    passed_over += [(folder / name).relative_to(tree).as_posix() for name, _ in entries if _is_system(name)]
    entries = [(name, is_folder) for name, is_folder in entries if not _is_system(name)]
    for name in (name for name, is_folder in entries if not is_folder):
        path = folder / name
        try:
            state = path.stat()
        except OSError as cause:
            raise DataError(f"{_shown(path)}: cannot be read ({cause.strerror}). Fix or remove it.") from cause
        if not stat.S_ISREG(state.st_mode) and path.suffix.lower() in ENDINGS:
            raise DataError(f"{_shown(path)}: not a regular file, expected an image. Remove it.")
        yield path, state
    for name in (name for name, is_folder in entries if is_folder):
        yield from _files(folder / name, tree, passed_over, (*above, here))


def _listing(
    folder: Path,
    entries: Sequence[tuple[str, int, os.stat_result]],
    names: tuple[str, ...],
    left_out: list[str],
    passed_over: list[str],
) -> Listing:
    running = hashlib.sha256(f"{os.path.realpath(folder)}\n".encode(errors="surrogateescape"))
    for name, label, state in entries:
        identity = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        running.update(f"{name}\t{names[label]}\t{identity}\n".encode(errors="surrogateescape"))
    files = tuple(name for name, _, _ in entries)
    labels = np.array([label for _, label, _ in entries], dtype=np.int64)
    return Listing(folder, files, labels, names, tuple(left_out), running.hexdigest()[:16], tuple(passed_over))


def _shown(path: Path) -> str:
    return shown(str(path))


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
