"""A report's figures, embedded in the page."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from bench.reporting.page.content import Figure
from bench.reporting.page.theme import themed

# In total: base64 adds a third, and a page should stay below about 20 MB.
_BYTES_IN_ALL = 8_000_000
_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}  # in order of preference
_UPDATE = re.compile(r"-update-(\d+)$")
_FIRST = "accuracy-flops"


class Pictures:
    """The figures among a report's files; request each only once. Embedded until the page is full."""

    def __init__(self, written: Sequence[Path], reports: Path) -> None:
        """written: paths returned by write_report. reports: the folder that the page is written to."""
        self._reports, self._left = reports, _BYTES_IN_ALL
        files = [path for path in written if path.suffix in _KINDS and not path.stem.endswith("-column")]
        self._by_stem: dict[Path, dict[str, Path]] = {}
        for path in files:
            self._by_stem.setdefault(path.with_suffix(""), {})[path.suffix] = path

    def of(self, folder: Path, update: int | None) -> tuple[Figure, ...]:
        """Return a folder's figures of one update or, with None, those of no single update; the main one first."""
        stems = [stem for stem in self._by_stem if stem.parent == folder and _update(stem) == update]
        order = sorted(stems, key=lambda stem: (not stem.name.startswith(_FIRST), stem.name))
        return tuple(self._figure(stem) for stem in order)

    def _figure(self, stem: Path) -> Figure:
        files = self._by_stem[stem]
        path = next(files[kind] for kind in _KINDS if kind in files)
        content = path.read_bytes()
        if path.suffix == ".svg":
            content = themed(content.decode()).encode()
        fits = len(content) <= self._left
        self._left -= len(content) * fits
        source = f"data:{_KINDS[path.suffix]};base64,{base64.b64encode(content).decode()}" if fits else None
        return Figure(_name(stem), _caption(stem), source, path.relative_to(self._reports).as_posix())


def _update(stem: Path) -> int | None:
    found = _UPDATE.search(stem.name)
    return int(found[1]) if found else None


def _name(stem: Path) -> str:
    """Return a figure's name in words, from its file name."""
    name = _UPDATE.sub("", stem.name).replace("accuracy-", "accuracy against ", 1).replace("-", " ")
    return (name[:1].upper() + name[1:]).replace("flops", "FLOPs")


def _caption(stem: Path) -> str:
    for suffix in (".caption.txt", ".caption.md"):
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
    return f"Drawn from {stem.name}.csv, in the same folder."
