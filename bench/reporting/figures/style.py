"""How every figure looks: widths, fonts, a legend that takes the room it needs, and files of equal bytes for equal tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns

mpl.use("Agg")  # files only; no screen is needed
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator


@dataclass(frozen=True)
class Width:
    """A width to print at. inches: of the whole figure. title, label: characters that a line of either takes."""

    name: str
    inches: float
    font_points: float
    title: int
    label: int
    legend_columns: int


COLUMN = Width("column", 3.3, 7, title=52, label=50, legend_columns=1)
PAGE = Width("page", 6.75, 8, title=96, label=48, legend_columns=2)
FORMATS = ("pdf", "svg", "png")

GREY = "0.35"  # of what is no strategy: targets, other sides of brackets
SHORT_LABEL = 24  # characters a line, of a strategy's name beside its bar
# Room for the title and the labels of the horizontal axis.
_LINE_INCHES_A_POINT = 1.35 / 72


def _settings(points: float) -> dict[Any, Any]:
    return {
        "pdf.fonttype": 42,  # embedded TrueType, which journals ask for
        "svg.hashsalt": "bench",
        "font.size": points,
        "axes.labelsize": points,
        "axes.titlesize": points,
        "legend.fontsize": points - 0.5,
        "xtick.labelsize": points - 0.5,
        "ytick.labelsize": points - 0.5,
        "savefig.dpi": 300,
        "axes.formatter.use_mathtext": True,
        "lines.linewidth": 1.3,
        "lines.markersize": 4,
    }


@contextmanager
def styled(width: Width) -> Iterator[None]:
    """Draw, and save, with this project's looks and a font for this width."""
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), mpl.rc_context(_settings(width.font_points)):
        yield


def canvas(width: Width, height: float, *, rows: int = 1, columns: int = 1, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of `height` inches and its axes, row by row. shared: sharex, sharey and the like."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width.inches, height), layout="constrained", squeeze=False, **shared
    )
    return figure, list(axes.flat)


def set_title(figure: Figure, text: str, width: Width) -> None:
    """Set the figure's title, in as many lines as it needs, and make the figure so much taller."""
    lines = textwrap.wrap(text, width.title) or [""]
    figure.suptitle("\n".join(lines), fontsize=width.font_points)
    _grow(figure, len(lines) * width.font_points * _LINE_INCHES_A_POINT)


def add_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str], width: Width) -> None:
    """Put a legend below the axes, and make the figure so much taller: inside, twelve strategies would hide a curve."""
    wrapped = [textwrap.fill(label, width.label, subsequent_indent="  ") for label in labels]
    columns = min(width.legend_columns, len(wrapped))
    figure.legend(handles, wrapped, loc="outside lower center", ncols=columns, frameon=False, handlelength=3.4)
    lines = [text.count("\n") + 1.15 for text in wrapped]
    # The legend fills its columns one after the other, as evenly as it goes.
    each = -(-len(lines) // columns)
    tallest = max(sum(lines[place : place + each]) for place in range(0, len(lines), each))
    _grow(figure, (tallest + 0.8) * (width.font_points - 0.5) * _LINE_INCHES_A_POINT)


def count_axis(axes: Axes, which: str = "x", *, bins: int = 6) -> None:
    """Label an axis of counts, joules or seconds with few, short numbers: 20 T for 2e13."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
    axis.set_major_locator(MaxNLocator(bins))


def beside_bars(text: str, characters: int = SHORT_LABEL) -> str:
    """Return a strategy's name, folded to stand beside its bar."""
    return textwrap.fill(text, characters)


def save(figure: Figure, paths: Sequence[Path]) -> None:
    """Save the figure at each of `paths` and close it. No date in any file: the same tables give the same bytes.

    To be called within `styled`, which the fonts of a file depend on.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: the same in every format, and faster
    for path in paths:
        metadata = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {"Software": None}}[path.suffix]
        figure.savefig(path, metadata=metadata)
    plt.close(figure)


def _grow(figure: Figure, inches: float) -> None:
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)
