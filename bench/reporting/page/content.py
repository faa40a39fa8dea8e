"""The content of the page as text, for the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How a column is sorted and aligned: as text; by a cell's leading number, to the right; by that number, but as text.
Kind = Literal["text", "number", "words"]
_TEXTUAL = {"strategy", "horizons", "trial", "in the row", "currency", "accuracy", "target"}
_WORDS = {"95 % interval", "interval"}


@dataclass(frozen=True)
class Grid:
    """A table. rows: one cell per heading; the first cell names the row."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(kind_of(heading) for heading in self.headings)


@dataclass(frozen=True)
class Figure:
    """A picture. source: its content as a data URI, or None if the page would become too large; link: its file."""

    name: str
    caption: str
    source: str | None
    link: str


@dataclass(frozen=True)
class Details:
    """The details of a leaderboard row. commands: that reproduce it, in order. facts: (label, value)."""

    title: str
    commands: tuple[str, ...]
    tables: tuple[Grid, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Entry:
    """A leaderboard row. anchor: its address in the page. cells: one per heading of the board. device: for the page's filter."""

    anchor: str
    name: str
    title: str
    device: str
    cells: tuple[str, ...]
    details: Details


@dataclass(frozen=True)
class Board:
    """One update's leaderboard. update: "Update 2 of 3", or "" if there is only one. verdict: what was saved, in sentences.

    best: the strategy that saved most, and its speedup; None where there is nothing but scratch.
    """

    update: str
    best: tuple[str, str] | None
    verdict: tuple[str, ...]
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
    """One scenario. anchor: its address in the page. life: the whole-life table of a chain."""

    anchor: str
    name: str
    title: str
    boards: tuple[Board, ...]
    life: Grid | None
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Page:
    """The whole page.

    only: the scenario that it is limited to, if any. devices: to choose from, sorted. incomplete: that records are left out,
    or "".
    """

    sections: tuple[Section, ...]
    pooled: Grid | None
    figures: tuple[Figure, ...]
    devices: tuple[str, ...]
    trials: int
    only: str | None
    incomplete: str = ""


def kind_of(heading: str) -> Kind:
    """Return how a column is sorted and aligned."""
    return "text" if heading in _TEXTUAL else "words" if heading in _WORDS else "number"
