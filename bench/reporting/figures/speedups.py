"""Speedup against the required accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.catalog import REFERENCE
from bench.reporting.figures.inks import INKS, Ink, inks_of, names_of
from bench.reporting.figures.style import Look, Width, add_legend, canvas, point_arrow, set_title
from bench.reporting.figures.words import heading

_HEIGHT_INCHES = {"column": 2.1, "page": 3.0}
# Ticks of a logarithmic axis, the finest first: the first set with few enough in view is used.
_TICKS = (
    tuple(step / 10 for step in range(1, 31)),
    (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50),
    (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100),
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    (0.001, 0.01, 0.1, 1, 10, 100, 1000, 10_000),
)
_MOST_TICKS = 7


def draw_speedups(rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    """Draw speedup over scratch against the share of the target, with intervals; a bound is open, with an arrow.

    rows: as returned by speedups_by_target. ranking: as returned by leaderboard.
    """
    figure, (axes,) = canvas(width, _HEIGHT_INCHES[width.name])
    inks, names = inks_of(ranking), names_of(ranking)
    shares = sorted(rows["share"].unique())
    others = [key for key in inks if key != (REFERENCE, 1.0)]
    handles: list[Artist] = []
    labels = []
    for place, key in enumerate(others):
        mine = rows[(rows["strategy"] == key[0]) & (rows["horizon"] == key[1])].sort_values("share")
        if mine.empty:
            continue
        # Side by side around each share, so that intervals do not hide one another.
        beside = (place - (len(others) - 1) / 2) * 0.7 / max(len(others), 3)
        at = np.array([shares.index(share) + beside for share in mine["share"]])
        handles.append(_draw_one(axes, at, mine, inks[key]))
        labels.append(f"{names[key]}, n = {mine['n'].iloc[0]}")
    handles.append(axes.axhline(1.0, color=INKS[0].colour, linewidth=1.1, gid=REFERENCE))
    labels.append("Scratch (open marker with arrow: a bound)")
    axes.set_xticks(range(len(shares)), [f"{share:.2f}" for share in shares])
    axes.set_xlim(-0.5, len(shares) - 0.5)
    _set_ratio_axis(axes, np.concatenate([rows[name].to_numpy(float) for name in ("value", "low", "high")]))
    axes.set(xlabel="required accuracy, as a share of the target", ylabel="speedup, FLOPs")
    axes.grid(visible=False, axis="x")
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, labels, width)
    return figure


def _draw_one(axes: Axes, at: np.ndarray, mine: pd.DataFrame, ink: Ink) -> Artist:
    """Draw one strategy's speedups at `at`, a position for each row, and return its artist for the legend."""
    measured = mine["value"].where(mine["relation"] == "=").to_numpy(float)  # no line runs through a bound
    marker, name = ink.marker or "o", f"{mine['strategy'].iloc[0]}@{mine['horizon'].iloc[0]:g}"
    line: Look = {"linestyle": ink.dashes, "linewidth": 0.8, "color": ink.colour, "marker": marker}
    (found,) = axes.plot(at, measured, gid=f"speedup {name}", **line)
    for x, (_, row) in zip(at, mine.iterrows(), strict=True):
        if row["relation"] in ("<", ">"):
            open_mark: Look = {"marker": marker, "color": ink.colour, "markerfacecolor": "white", "zorder": 4}
            axes.plot(x, row["value"], gid=f"bound {name} {row['share']:.2f}", **open_mark)
            point_arrow(axes, (x, row["value"]), (0, -1 if row["relation"] == "<" else 1), ink.colour)
        elif pd.notna(row["low"]):
            axes.plot([x, x], [row["low"], row["high"]], color=ink.colour, linewidth=1.2, marker="_", markersize=4)
    return found


def _set_ratio_axis(axes: Axes, values: np.ndarray) -> None:
    """Make the vertical axis logarithmic, around `values` and 1, with ticks at round numbers and room for arrows."""
    known = np.append(values[np.isfinite(values) & (values > 0)], 1.0)
    low, high = known.min() / 1.25, known.max() * 1.25
    seen = [[tick for tick in ticks if low <= tick <= high] for ticks in _TICKS]
    kept = next((ticks for ticks in seen if len(ticks) <= _MOST_TICKS), seen[-1])
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(kept))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
