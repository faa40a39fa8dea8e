"""The look of every figure: widths, fonts, a legend as large as it needs, and identical files for identical tables."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from PIL import Image

from bench.files import replacing

mpl.use("Agg")  # files only; no screen is needed
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

Look = dict[str, Any]  # keywords of what is drawn


@dataclass(frozen=True)
class Width:
    """A width to print at. inches: of the whole figure. title, label: characters per line of either."""

    name: str
    inches: float
    font_points: float
    title: int
    label: int
    legend_columns: int


COLUMN = Width("column", 3.3, 7, title=52, label=50, legend_columns=1)
PAGE = Width("page", 6.75, 8, title=96, label=48, legend_columns=2)
FORMATS = ("pdf", "svg", "png")

GREY = "0.35"  # of anything but a strategy: the target, a recipe that others are compared with
ROUND_STEPS = [1, 2, 5, 10]  # between ticks
_BAR_CHARACTERS, _BAR_LINES = 24, 4  # of a strategy's title next to its bar
_LINE_INCHES = 0.14  # of such a title
_SPACE_INCHES = 0.06  # around a figure's title or legend
_ARROW_POINTS = 11
_DPI, _COLOURS = 300, 256  # of a PNG
_COORDINATES = re.compile(r' (?:d|x|y|points)="[^"]*"')  # of an SVG
_LONG = re.compile(r"(\.\d\d)\d+")
_INDENTED = re.compile(r"\n +")


def _settings(points: float) -> dict[Any, Any]:
    return {
        "pdf.fonttype": 42,  # embedded TrueType, which journals ask for
        "svg.hashsalt": "bench",
        "svg.fonttype": "none",  # as text: outlines of letters would be two thirds of a file
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
        "font.size": points,
        "axes.labelsize": points,
        "axes.titlesize": points,
        "legend.fontsize": points - 0.5,
        "xtick.labelsize": points - 0.5,
        "ytick.labelsize": points - 0.5,
        "figure.dpi": _DPI,  # at a screen's 100, text would be laid out with different widths than in print
        "savefig.dpi": _DPI,
        "figure.constrained_layout.w_pad": 0.07,
        "axes.formatter.useoffset": False,  # 0.7003, not 3e-4 with + 7e-1 in a corner
        "lines.linewidth": 1.3,
        "lines.markersize": 4,
    }


@contextmanager
def styled(width: Width) -> Iterator[None]:
    """Draw and save with this project's look and a font for this width, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        with sns.axes_style("whitegrid", {"grid.color": "0.9"}), mpl.rc_context(_settings(width.font_points)):
            yield


def canvas(width: Width, height: float, *, rows: int = 1, columns: int = 1, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of `height` inches and its axes, row by row. shared: sharex, sharey and the like."""
    size = width.inches, height
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)
    return figure, list(axes.flat)


def bar_canvas(width: Width, names: Sequence[str], *, panels: int = 1, least: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with a line for each name, from the top: panels side by side at page width, stacked at column width.

    names: as returned by beside_bar. The line of names[k] is at y = k, and at least `least` inches high.
    """
    lines = max(name.count("\n") + 1 for name in names)
    side = max(0.3, least, _LINE_INCHES * lines + 0.04) * len(names) + 0.5
    wide = width is PAGE
    rows, columns = (1, panels) if wide else (panels, 1)
    figure, found = canvas(width, rows * side, rows=rows, columns=columns, sharey=wide)
    for axes in found:
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
    return figure, found


def beside_bar(title: str, detail: str) -> str:
    """Return a strategy's title, wrapped to fit next to its bar, and below it a detail such as its horizon."""
    lines = textwrap.wrap(title, _BAR_CHARACTERS, max_lines=_BAR_LINES, placeholder=" …")
    return _plain("\n".join([*lines, detail]))


def set_title(figure: Figure, text: str, width: Width) -> None:
    """Set the figure's title, in as many lines as it needs, and make the figure taller by that much."""
    _grow(figure, figure.suptitle(_plain(textwrap.fill(text, width.title)), fontsize=width.font_points))


def add_legend(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], width: Width, *, columns: int | None = None
) -> None:
    """Put a legend below the axes, and make the figure taller to fit: inside, twelve strategies would hide a curve."""
    whole = [
        label.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}") for label in labels
    ]  # "n = 3" stays on one line
    folded = [_plain(textwrap.fill(label, width.label, subsequent_indent="  ")) for label in whole]
    ncols = min(columns or width.legend_columns, len(folded))
    place: Look = {"loc": "outside lower center", "ncols": ncols, "frameon": False, "handlelength": 3.4}
    _grow(figure, figure.legend(handles, folded, **place))


def count_axis(axes: Axes, which: str = "x", *, bins: int = 6) -> None:
    """Label an axis of counts, joules or seconds with few short numbers: 20 T for 2e13, 0.5 for a half."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    large = EngFormatter(sep="\N{NO-BREAK SPACE}")
    axis.set_major_formatter(lambda value, _: large(value) if abs(value) >= 1000 else f"{value:g}")
    axis.set_major_locator(MaxNLocator(bins, steps=ROUND_STEPS))


def point_arrow(axes: Axes, point: tuple[float, float], towards: tuple[int, int], colour: str) -> None:
    """Draw a short arrow from a bound towards where the value must lie. towards: (right, up), each -1, 0 or 1."""
    right, up = towards
    axes.annotate(
        "",
        xy=point,
        xytext=(_ARROW_POINTS * right, _ARROW_POINTS * up),
        textcoords="offset points",
        arrowprops={"arrowstyle": "<|-", "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 2},
    )


def save(figure: Figure, paths: Sequence[Path]) -> None:
    """Save the figure to each of `paths` and close it. No file has a date: the same tables give the same bytes.

    Call it within `styled`, which determines the fonts of a file.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: the same in every format, and faster
    for path in paths:
        with replacing(path) as part:
            if path.suffix == ".png":
                _save_png(figure, part)
            elif path.suffix == ".svg":
                _save_svg(figure, part)
            else:
                figure.savefig(part, metadata={"CreationDate": None})
    plt.close(figure)


def _save_png(figure: Figure, path: Path) -> None:
    """Save pixels with a palette: enough colours for lines and letters, in a third of the bytes."""
    pixels = io.BytesIO()
    figure.savefig(pixels, format="rgba")
    image = Image.frombytes("RGBA", figure.canvas.get_width_height(physical=True), pixels.getvalue())
    reduced = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True, dpi=(_DPI, _DPI))


def _save_svg(figure: Figure, path: Path) -> None:
    """Save lines to a hundredth of a point, and letters as text, in a font of the same widths where there is no DejaVu."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = _COORDINATES.sub(lambda found: _LONG.sub(r"\1", found[0]), drawn.getvalue())
    text = _INDENTED.sub("\n", text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana"))
    path.write_text(text, encoding="utf-8")


def _plain(text: str) -> str:
    """Return a text in which no dollar sign starts a formula: titles are written by users."""
    return text.replace("$", r"\$")


def _grow(figure: Figure, artist: Artist) -> None:
    """Make the figure taller by an artist's height and a little space."""
    width, height = figure.get_size_inches()
    taken = artist.get_tightbbox()
    assert taken is not None
    figure.set_size_inches(width, height + taken.height / figure.dpi + _SPACE_INCHES)
