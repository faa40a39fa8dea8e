"""A figure on its way to files: its table, the pictures drawn from that table as it was written, and its caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.errors import BenchError
from bench.reporting.figures.style import COLUMN, FORMATS, PAGE, Width, save, styled

# Columns of words: a commit may consist of digits alone, and be no number for that.
_WORDS = ("scenario", "scenario_title", "strategy", "title", "device", "commit", "part", "aspect", "published_source")


@dataclass(frozen=True)
class Prints:
    """Which pictures are made of each figure. formats: in page width; column_formats: in column width; both of FORMATS."""

    formats: tuple[str, ...] = FORMATS
    column_formats: tuple[str, ...] = ("pdf",)

    def paths(self, stem: Path) -> dict[Width, list[Path]]:
        """Return the files of one figure: <stem>.pdf and the like in page width, <stem>-column.pdf in column width."""
        return {
            PAGE: [stem.with_name(f"{stem.name}.{kind}") for kind in self.formats],
            COLUMN: [stem.with_name(f"{stem.name}-column.{kind}") for kind in self.column_formats],
        }


EVERY_PRINT = Prints()
# What may lie beside a figure's caption, after its name.
OUTPUTS = (".csv", *(f"{width}.{kind}" for width in ("", "-column") for kind in FORMATS))
NO_PICTURES = Prints((), ())


def prints_of(formats: str, width: str) -> Prints:
    """Return what formats like "pdf,svg" and "page", "column" or "both" ask for.

    Of both, the column's width is made as PDF alone, where PDF is asked for: that is what a paper takes.
    Raises BenchError for a format that is none.
    """
    asked = tuple(dict.fromkeys(kind.strip() for kind in formats.split(",") if kind.strip()))
    unknown = [kind for kind in asked if kind not in FORMATS]
    if unknown or not asked:
        named = ", ".join(unknown) or "none is named"
        raise BenchError(f"--formats {formats!r}: {named}, expected some of {', '.join(FORMATS)}. Change it.")
    if width == "both":
        return Prints(asked, ("pdf",) if "pdf" in asked else asked)
    return Prints(asked, ()) if width == "page" else Prints((), asked)


@dataclass(frozen=True)
class Sheet:
    """A figure before it is drawn.

    name: of its files. rows: its table. draw: from the table and the leaderboard, both as they were written.
    """

    name: str
    rows: pd.DataFrame
    draw: Callable[[pd.DataFrame, pd.DataFrame, Width], Figure]

    def write(self, folder: Path, suffix: str, ranking: pd.DataFrame, caption: str, prints: Prints) -> list[Path]:
        """Write the table, the caption and the pictures into `folder`, and return their paths.

        suffix: of a chain's update, after every name. ranking: the leaderboard, as it was read back from its file.
        """
        stem = folder / f"{self.name}{suffix}"
        table, words = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.caption.txt")
        self.rows.to_csv(table, index=False, lineterminator="\n")
        words.write_text(caption, encoding="utf-8")
        rows = read_table(table)
        return [table, words, *draw_prints(lambda width: self.draw(rows, ranking, width), stem, prints)]


def read_table(path: Path) -> pd.DataFrame:
    """Return a table as it was written. Only what is empty is missing: a strategy may be called "None" or "1e5"."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_WORDS, str))


def draw_prints(draw: Callable[[Width], Figure], stem: Path, prints: Prints) -> list[Path]:
    """Draw a figure once for each width, and save it in every format that is asked for; return the files."""
    files = []
    for width, paths in prints.paths(stem).items():
        if paths:
            with styled(width):
                save(draw(width), paths)
        files += paths
    return files
