"""A figure's files: its table, the pictures drawn from that table as it was written, and its caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.errors import BenchError
from bench.files import write_text
from bench.reporting.figures.style import COLUMN, FORMATS, PAGE, Width, save, styled

# Text columns: a commit may consist of digits alone and still not be a number.
_WORDS = ("scenario", "scenario_title", "strategy", "title", "device", "commit", "part", "aspect", "published_source")


@dataclass(frozen=True)
class Prints:
    """Which pictures are made of each figure. formats: at page width; column_formats: at column width; both from FORMATS."""

    formats: tuple[str, ...] = FORMATS
    column_formats: tuple[str, ...] = ("pdf",)

    def paths(self, stem: Path) -> dict[Width, list[Path]]:
        """Return the files of one figure: <stem>.pdf and the like at page width, <stem>-column.pdf at column width."""
        return {
            PAGE: [stem.with_name(f"{stem.name}.{kind}") for kind in self.formats],
            COLUMN: [stem.with_name(f"{stem.name}-column.{kind}") for kind in self.column_formats],
        }


EVERY_PRINT = Prints()
# The files that may accompany a figure's caption, by what follows its name.
OUTPUTS = (".csv", *(f"{width}.{kind}" for width in ("", "-column") for kind in FORMATS))
NO_PICTURES = Prints((), ())


def prints_of(formats: str, width: str) -> Prints:
    """Return the prints for formats like "pdf,svg" and a width: "page", "column" or "both".

    With both, column width is made only as PDF, if PDF is requested: that is what a paper takes.
    Raises BenchError for an unknown format.
    """
    asked = tuple(dict.fromkeys(kind.strip() for kind in formats.split(",") if kind.strip()))
    unknown = [kind for kind in asked if kind not in FORMATS]
    if unknown or not asked:
        found = f"unknown format {', '.join(unknown)}" if unknown else "no format"
        raise BenchError(f"--formats {formats!r}: {found}, expected one or more of {', '.join(FORMATS)}. Change it.")
    if width == "both":
        return Prints(asked, ("pdf",) if "pdf" in asked else asked)
    return Prints(asked, ()) if width == "page" else Prints((), asked)


@dataclass(frozen=True)
class Sheet:
    """A figure before it is drawn.

    name: of its files. rows: its table. draw: from the table and the leaderboard, both as written.
    """

    name: str
    rows: pd.DataFrame
    draw: Callable[[pd.DataFrame, pd.DataFrame, Width], Figure]

    def write(self, folder: Path, suffix: str, ranking: pd.DataFrame, caption: str, prints: Prints) -> list[Path]:
        """Write the table, the caption and the pictures into `folder`, and return their paths.

        suffix: of a chain's update, after every name. ranking: the leaderboard, as read back from its file.
        """
        stem = folder / f"{self.name}{suffix}"
        table, words = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.caption.txt")
        write_table(self.rows, table)
        write_text(words, caption)
        rows = read_table(table)
        return [table, words, *draw_prints(lambda width: self.draw(rows, ranking, width), stem, prints)]


def write_table(rows: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV. Raises WriteError."""
    write_text(path, rows.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path) -> pd.DataFrame:
    """Return a table as it was written. Only empty cells are missing values: a strategy may be called "None" or "1e5"."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_WORDS, str))


def draw_prints(draw: Callable[[Width], Figure], stem: Path, prints: Prints) -> list[Path]:
    """Draw a figure once for each width, and save it in every requested format; return the files."""
    files = []
    for width, paths in prints.paths(stem).items():
        if paths:
            with styled(width):
                save(draw(width), paths)
        files += paths
    return files
