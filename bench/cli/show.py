"""Printing tables: as wide as the terminal, or whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.cli.plain import plain_cells
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.reporting.layout import Cells

Command = TypeVar("Command", bound=Callable[..., Any])

_WIDE = click.option("--wide", is_flag=True, help="All columns, however wide; default: as many as fit the terminal.")
_COLUMNS = click.option(
    "--columns",
    default=None,
    metavar="NAME,NAME,...",
    help="These columns, whatever the width; a wrong name lists all.",
)


def width_options(command: Command) -> Command:
    """Add --wide and --columns, for show_tables."""
    return _WIDE(_COLUMNS(command))


def show_tables(tables: Sequence[Cells], *, wide: bool = False, columns: str | None = None) -> None:
    """Print tables, a blank line between them, and a note that several have below the first.

    By default as many columns as fit the terminal; where the output is no terminal, the variable COLUMNS says how wide it is, or
    else 80. Raises BenchError for a column that no table has.
    """
    asked, said = columns_asked(tables, columns), set[str]()
    for place, cells in enumerate(tables):
        if place:
            click.echo()
        show(replace(cells, notes=tuple(note for note in cells.notes if note not in said)), wide=wide, columns=asked)
        said.update(cells.notes)


def show(cells: Cells, *, wide: bool = False, columns: Sequence[str] | None = None) -> None:
    """Print one table, as show_tables does."""
    from bench.reporting.layout import fit, text_lines, wrapped

    cells = plain_cells(cells)
    width = None if wide else shutil.get_terminal_size().columns
    chosen = cells.pick(columns) if columns is not None else cells if width is None else fit(cells, width)
    first, *more = cells.heading.split("\n")
    for line in wrapped(first, width):
        click.secho(line, bold=True)
    for line in (part for text in more for part in wrapped(text, width)):
        click.echo(line)
    if chosen.columns:
        for line in text_lines(chosen, None if columns is not None else width):
            click.echo(line)
    for note in (part for text in cells.notes for part in wrapped(text, width)):
        click.secho(note, dim=True)


def columns_asked(tables: Sequence[Cells], columns: str | None) -> list[str] | None:
    """Return the keys that --columns names, None without it. Raises BenchError for one that no table has."""
    if columns is None:
        return None
    known = list(dict.fromkeys(column.key for cells in tables for column in cells.columns))
    asked = [name.strip() for name in columns.split(",")]
    for name in asked:
        if name not in known:
            raise BenchError(f"--columns {columns!r}: {name!r} is not a column, expected some of {', '.join(known)}.")
    return asked
