"""Laying tables out: as text that fits a terminal, as Markdown, as HTML."""

from __future__ import annotations

import html
import textwrap
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

_GAP = 2  # blanks between columns
_PROSE = 24  # characters of prose in a line, at least
_NARROWEST = 10  # characters that a name may be cut down to


@dataclass(frozen=True)
class Column:
    """A column of a table.

    key: what `--columns` calls it. priority: 0 is always shown, the others in ascending order as width allows. left: flush left.
    prose: text that may wrap onto further lines, for the last column.
    """

    key: str
    heading: str
    priority: int = 0
    left: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Cells:
    """A table in words. rows: as many cells each as columns. heading: its first line is the title."""

    heading: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def pick(self, keys: Sequence[str]) -> Cells:
        """Return the columns of these keys that the table has, in the order of the keys."""
        place = {column.key: number for number, column in enumerate(self.columns)}
        places = [place[key] for key in keys if key in place]
        return replace(
            self,
            columns=tuple(self.columns[number] for number in places),
            rows=tuple(tuple(row[number] for number in places) for row in self.rows),
        )

    def only(self, keys: Collection[str]) -> Cells:
        """Return the table with some of its columns, in its own order."""
        return self.pick([column.key for column in self.columns if column.key in keys])


def fit(cells: Cells, width: int) -> Cells:
    """Return the table with as many columns as fit into `width` characters: those of priority 0, then by priority."""
    widths = dict(zip((column.key for column in cells.columns), _widths(cells), strict=True))
    kept, used = set[str](), -_GAP
    for column in sorted(cells.columns, key=lambda column: column.priority):
        needed = (_PROSE if column.prose else widths[column.key]) + _GAP
        if column.priority and used + needed > width:
            break  # not a later one in its place: which columns there are should be easy to foretell
        kept.add(column.key)
        used += needed
    return cells.only(kept)


def text_lines(cells: Cells, width: int | None = None) -> list[str]:
    """Return the headings and rows as lines, columns below each other.

    width: in characters, None for as much as it takes. Where the columns that are kept do not fit, the first flush-left one is
    cut, with an ellipsis; numbers never are.
    """
    widths = _widths(cells)
    excess = sum(widths) + _GAP * (len(widths) - 1) - (width or 0)
    if width is not None and excess > 0:
        last = len(widths) - 1
        names = [place for place, column in enumerate(cells.columns) if column.left and not column.prose]
        if cells.columns[last].prose:
            widths[last] = max(_PROSE, widths[last] - excess)
        elif names:
            widths[names[0]] = max(min(_NARROWEST, widths[names[0]]), widths[names[0]] - excess)
    lines = []
    for row in (tuple(column.heading for column in cells.columns), *cells.rows):
        parts = [
            wrapped(cell, size) if column.prose and width is not None else [_cut(cell, size)]
            for cell, size, column in zip(row, widths, cells.columns, strict=True)
        ]
        for texts in zip_longest(*parts, fillvalue=""):
            padded = [
                _pad(text, size, left=column.left)
                for text, size, column in zip(texts, widths, cells.columns, strict=True)
            ]
            lines.append((" " * _GAP).join(padded).rstrip())
    return lines


def wrapped(text: str, width: int | None) -> list[str]:
    """Return text as lines of at most `width` characters, broken between words."""
    lines = text.split("\n")
    if width is None:
        return lines
    return [part for line in lines for part in textwrap.wrap(line, max(width, 20), break_on_hyphens=False) or [""]]


def markdown(cells: Cells) -> str:
    """Return the whole table as Markdown."""
    first, *more = cells.heading.split("\n")
    below = ["  \n".join(more)] if more else []
    notes = (f"{note}  " for note in cells.notes)
    return "\n".join([f"**{first}**", "", *below, "", markdown_table(cells), "", *notes]) + "\n"


def markdown_table(cells: Cells) -> str:
    """Return the table alone, without heading and notes, as Markdown."""
    return "\n".join(
        [
            "| " + " | ".join(column.heading for column in cells.columns) + " |",
            "|" + "|".join(" --- " if column.left else " ---: " for column in cells.columns) + "|",
            *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells.rows),
        ]
    )


def html_table(cells: Cells) -> str:
    """Return the whole table as HTML, as notebooks show it."""
    aligned = ["left" if column.left else "right" for column in cells.columns]

    def row(tag: str, texts: Sequence[str]) -> str:
        inner = (
            f'<{tag} style="text-align: {side}">{html.escape(text)}</{tag}>'
            for side, text in zip(aligned, texts, strict=True)
        )
        return f"<tr>{''.join(inner)}</tr>"

    title, *more = cells.heading.split("\n")
    parts = [f"<p><b>{html.escape(title)}</b>", *(f"<br>{html.escape(line)}" for line in more), "</p>", "<table>"]
    parts += [f"<thead>{row('th', [column.heading for column in cells.columns])}</thead>", "<tbody>"]
    parts += [row("td", texts) for texts in cells.rows]
    notes = "<br>".join(html.escape(note) for note in cells.notes)
    return "\n".join([*parts, "</tbody>", "</table>", *([f"<p><small>{notes}</small></p>"] if notes else [])])


def _widths(cells: Cells) -> list[int]:
    lines = (tuple(column.heading for column in cells.columns), *cells.rows)
    return [max(_width(line[place]) for line in lines) for place in range(len(cells.columns))]


def _width(text: str) -> int:
    """Return how many cells of a terminal a text takes: ideographs take two, combining marks none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(mark) in "WF" for mark in text)
    return len(text) + wide - sum(unicodedata.combining(mark) > 0 for mark in text)


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    # In the middle: names of variants differ at their ends.
    first = (width - 1) // 2
    head, tail = text[:first], text[first:]
    while tail and _width(head) + 1 + _width(tail) > width:
        tail = tail[1:]
    return f"{head}…{tail}"


def _pad(text: str, width: int, *, left: bool) -> str:
    blanks = " " * (width - _width(text))
    return text + blanks if left else blanks + text
