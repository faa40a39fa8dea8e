"""The images that a user's own old model was trained on, by a list of files: held-out images are not cut from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from bench.data.files.names import shown
from bench.data.files.prepare import Prepared
from bench.data.sources.assemble import Part
from bench.errors import DataError
from bench.scenario import Scenario

_File = tuple[str, str]  # its folder's canonical path, and its name


def mark_seen(scenario: Scenario, parts: Sequence[Part], trees: Mapping[int, Prepared]) -> list[Part]:
    """Return the parts with those images marked that `model.trained_on` lists, and all images of the same pixels.

    trees: the prepared trees of parts, by number.
    Raises DataError for a list that cannot be read, for a line that names no image of the old folder, and where a held-out image
    of the user's own is in the list.
    """
    assert scenario.model.trained_on is not None
    path, listed = (scenario.root or Path()) / scenario.model.trained_on, {}
    old = (scenario.root or Path()) / (scenario.stages[0].folder or "")
    for number, file in _lines(path, old):
        listed.setdefault(file, number)
    seen: list[np.ndarray] = []
    there: set[_File] = set()
    for number, tree in trees.items():
        part = parts[number]
        if part.domain != scenario.stages[0].folder or part.keys is None:
            continue
        files = [_file(f"{tree.listing.folder}/{name}") for name in tree.listing.files]
        there.update(files)
        seen.append(part.keys[[files[row] in listed for row in tree.rows]])
    strange = [number for file, number in listed.items() if file not in there and not _is_inside(file, old)]
    if strange:
        more = f" (and {len(strange) - 1} more lines)" if len(strange) > 1 else ""
        raise DataError(
            f"{path}, line {strange[0]}{more}: names no file of {old}, expected one path a line, in that folder or absolute. "
            "Fix or remove it."
        )
    keys = np.concatenate(seen) if seen else np.array([], dtype="S32")
    marked = [replace(part, seen=np.isin(np.asarray(part.keys), keys)) for part in parts]
    for part in marked:
        if part.use in ("validation", "test") and part.seen is not None and part.seen.any():
            name = shown(part.names[int(np.flatnonzero(part.seen)[0])])
            raise DataError(
                f"{path}: {int(part.seen.sum())} {part.use} images are among those that the old model was trained on, such as "
                f"{name}. Remove them from one of the two."
            )
    return marked


def _lines(path: Path, old: Path) -> Iterator[tuple[int, _File]]:
    """Yield each line's number and the file that it names. Raises DataError for a list that is none, or empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(
            f"{path}: cannot be read ({type(cause).__name__}), expected a UTF-8 text file with one path a line. Fix "
            "model.trained_on."
        ) from cause
    named = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not named:
        raise DataError(f"{path}: empty, expected one path a line. Fill it, or remove model.trained_on.")
    for number, line in named:
        yield number, _file(str(old / line))


def _file(path: str) -> _File:
    folder, name = os.path.split(os.path.normpath(path))
    return _canonical(folder), name


@cache
def _canonical(folder: str) -> str:
    return os.path.realpath(folder)


def _is_inside(file: _File, old: Path) -> bool:
    """Whether a file that is no image of the scenario's lies in the old folder: of another class, or of another ending."""
    path = Path(*file)
    return path.is_relative_to(os.path.realpath(old)) and path.is_file()
