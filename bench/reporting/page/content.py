"""What the page shows, as text: what the template walks over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How a column is sorted and set: as text; by the number that a cell begins with, to the right; by it, but set as words.
Kind = Literal["text", "number", "words"]
_TEXTUAL = {"strategy", "horizons", "trial", "in the row", "currency", "accuracy", "target"}
_WORDS = {"95 % interval", "interval"}


@dataclass(frozen=True)
class Grid:
    """A table. rows: each as many cells as headings; the first textual column names the row."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind_of(heading) for heading in self.headings)


@dataclass(frozen=True)
class Figure:
    """A picture. source: its content as a data URI, or None where the page would grow too large; link: its file."""

    name: str
    caption: str
    source: str | None
    link: str


@dataclass(frozen=True)
class Details:
    """What stands behind a leaderboard's row. commands: in the order in which they repeat it. facts: (what, found)."""

    title: str
    commands: tuple[str, ...]
    tables: tuple[Grid, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Entry:
    """A leaderboard's row. cells: by the board's headings. device: what the page is filtered by."""

    name: str
    title: str
    device: str
    cells: tuple[str, ...]
    details: Details


@dataclass(frozen=True)
class Board:
    """One update's leaderboard. update: "Update 2 of 3", or "" where there is but one."""

    update: str
    caption: str
    headings: tuple[str, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    frontier: Grid | None
    figures: tuple[Figure, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind_of(heading) for heading in self.headings)


@dataclass(frozen=True)
class Section:
    """One scenario. life: of a chain."""

    name: str
    title: str
    boards: tuple[Board, ...]
    life: Grid | None
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Page:
    """The whole. only: the scenario that the page was asked to hold alone. devices: to choose from, sorted."""

    sections: tuple[Section, ...]
    pooled: Grid | None
    figures: tuple[Figure, ...]
    devices: tuple[str, ...]
    trials: int
    only: str | None


def kind_of(heading: str) -> Kind:
    """Return how a column is sorted and set."""
    return "text" if heading in _TEXTUAL else "words" if heading in _WORDS else "number"
