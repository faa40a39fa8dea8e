"""Points: the frontier over horizons, and accuracy on old against new classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from bench.catalog import REFERENCE
from bench.reporting.figures.inks import Ink, Key, inks_of, names_of
from bench.reporting.figures.style import (
    GREY,
    PAGE,
    ROUND_STEPS,
    Look,
    Width,
    add_legend,
    canvas,
    count_axis,
    set_title,
)
from bench.reporting.figures.words import AXIS, heading

_FRONTIER_INCHES = {"column": 2.2, "page": 3.0}
_SQUARE_INCHES = {"column": 2.4, "page": 2.9}
_APART_POINTS, _SPREAD_POINTS = (
    6.5,
    40,
)  # between the intervals of several strategies, which all lie at the target; in all
_ARROW_POINTS = 9
_DASHED: Look = {"color": GREY, "linestyle": (0, (5, 3)), "linewidth": 0.9}


def draw_frontier(rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    """Draw final accuracy against the cost of whole trials, one marker per horizon, and the frontier through them.

    rows: as returned by frontier_points. At the dashed target line, an upright bar is the interpolated cost of the target. The
    band around it is this cost's 95 % interval, with an arrow at an end that lies outside the horizons that were run.
    """
    figure, (axes,) = canvas(width, _FRONTIER_INCHES[width.name])
    axes.set_xscale("log")
    # One ink for all horizons of a strategy: that of the first horizon drawn in other figures.
    inks: dict[str, Ink] = {}
    for key, ink in inks_of(ranking).items():
        inks.setdefault(key[0], ink)
    handles: list[Artist] = []
    labels = []
    strategies = rows.groupby("strategy", sort=False)
    known = [
        str(strategy) for strategy, mine in strategies if mine[["cost_at_target", "cost_low"]].notna().any(axis=None)
    ]
    apart = min(_APART_POINTS, _SPREAD_POINTS / max(1, len(known) - 1))
    for strategy, mine in strategies:
        ink = inks[str(strategy)]
        _draw_frontier(axes, mine, ink)
        if strategy in known:
            above = apart * ((len(known) - 1) / 2 - known.index(str(strategy)))
            _draw_cost(figure, axes, mine.iloc[0], ink, above)
        look: Look = {"color": ink.colour, "linestyle": ink.dashes if len(mine) > 1 else "none", "markersize": 5}
        handles.append(Line2D([], [], marker=ink.marker or "o", **look))
        labels.append(f"{mine['title'].iloc[0]}, n = {mine['n'].iloc[0]}")
    target = rows["target"].iloc[0]
    axes.axhline(target, gid="target", **_DASHED)
    handles.append(Line2D([], [], **_DASHED))
    banded = " and its 95 % interval" if rows["cost_low"].notna().any() else ""
    labels.append(f"target {target:.3f} (bar: cost there{banded})")
    axes.set(xlabel=f"cost of the whole trial ({AXIS['flops']}), log scale", ylabel="final validation accuracy")
    count_axis(axes, bins=5)
    axes.xaxis.set_minor_locator(NullLocator())
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, labels, width)
    return figure


def _draw_frontier(axes: Axes, mine: pd.DataFrame, ink: Ink) -> None:
    """Draw one strategy's horizons, and the frontier through them."""
    strategy = mine["strategy"].iloc[0]
    error: Look = {"yerr": mine["std"].fillna(0), "elinewidth": 0.8}
    axes.errorbar(mine["cost"], mine["accuracy"], color=ink.colour, linestyle="none", **error)
    point: Look = {"color": ink.colour, "linestyle": "none"}
    axes.plot(
        mine["cost"], mine["accuracy"], marker=ink.marker or "o", markersize=5, gid=f"horizons {strategy}", **point
    )
    if len(mine) > 1:
        axes.plot(mine["cost"], mine["frontier"], color=ink.colour, linestyle=ink.dashes, gid=f"frontier {strategy}")


def _draw_cost(figure: Figure, axes: Axes, row: pd.Series, ink: Ink, above: float) -> None:
    """Draw where a frontier reaches the target, and the interval of this cost. above: the target, in points."""
    strategy, target = row["strategy"], row["target"]
    moved = offset_copy(axes.transData, fig=figure, y=above, units="points")
    mark: Look = {"color": ink.colour, "linestyle": "none", "transform": moved, "zorder": 5}
    if pd.notna(row["cost_at_target"]):
        bar: Look = {"marker": "|", "markersize": 10, "markeredgewidth": 2}
        axes.plot(row["cost_at_target"], target, gid=f"interpolated {strategy}", **mark, **bar)
    if pd.isna(row["cost_low"]):
        return
    ends = [row["cost_low"], row["cost_high"]]
    band: Look = {"color": ink.colour, "alpha": 0.45, "linewidth": 4, "solid_capstyle": "butt", "zorder": 1.5}
    axes.plot(ends, [target, target], gid=f"interval {strategy}", transform=moved, **band)
    for side, end, towards in (("low", ends[0], -1), ("high", ends[1], 1)):
        if row[f"cost_{side}_open"]:
            beyond = offset_copy(moved, fig=figure, x=towards * _ARROW_POINTS, units="points")
            head: Look = {"arrowstyle": "->", "color": ink.colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
            places: Look = {"xycoords": beyond, "textcoords": moved, "arrowprops": head}
            axes.annotate("", xy=(end, target), xytext=(end, target), gid=f"open {side} {strategy}", **places)


def draw_old_and_new(rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    """Draw final accuracy on new against old classes, for validation and test images, with one standard deviation.

    rows: as returned by old_and_new. Thin lines join points of equal accuracy on all classes; the dashed one is scratch's.
    """
    kinds = [kind for kind in ("validation", "test") if kind in set(rows["images"])]
    side = _SQUARE_INCHES[width.name]
    # A single panel also has half of the page's width: at the full width it would not be square.
    panels: Look = {"columns": 2} if width is PAGE else {"rows": len(kinds)}
    figure, every = canvas(width, side if width is PAGE else side * len(kinds), **panels)
    inks, names = inks_of(ranking), names_of(ranking)
    found: dict[Key, Artist] = {}
    labels: dict[Key, str] = {}
    apart = []
    for axes, kind in zip(every, kinds, strict=False):
        part = rows[rows["images"] == kind]
        for key, ink in inks.items():
            row = part[(part["strategy"] == key[0]) & (part["horizon"] == key[1])]
            if len(row):
                found[key] = _draw_point(axes, row.iloc[0], ink)
                labels[key] = f"{names[key]}, n = {row['n'].iloc[0]}"
        apart.append(_draw_equals(axes, part))
        axes.set(xlabel=f"{kind} accuracy, old part", ylabel=f"{kind} accuracy, new part")
    for axes in every[len(kinds) :]:
        axes.set_axis_off()
    lines = [f"equal overall, {distance:g} apart (dashed: scratch)" for distance in apart if distance][:1]
    equal = [Line2D([], [], color="0.75", linewidth=0.8) for _ in lines]
    set_title(figure, heading(ranking), width)
    add_legend(figure, [*found.values(), *equal], [*labels.values(), *lines], width)
    return figure


def _draw_point(axes: Axes, row: pd.Series, ink: Ink) -> Artist:
    """Draw one strategy's accuracies, with their spread if there is one, and return the marker."""
    if pd.notna(row["old_std"]):
        error: Look = {"xerr": row["old_std"], "yerr": row["new_std"], "elinewidth": 0.8}
        axes.errorbar(row["old"], row["new"], color=ink.colour, linestyle="none", **error)
    look: Look = {"color": ink.colour, "linestyle": "none", "marker": ink.marker or "o", "markersize": 5, "zorder": 4}
    name = f"{row['images']} {row['strategy']}@{row['horizon']:g}"
    return axes.plot(row["old"], row["new"], gid=name, **look)[0]


def _draw_equals(axes: Axes, rows: pd.DataFrame) -> float | None:
    """Draw lines of equal accuracy on all classes, and return how far apart they are; None if the share of old is unknown."""
    weight = rows["old_weight"].iloc[0]
    axes.margins(0.15)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND_STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND_STEPS))
    if pd.isna(weight) or not 0 < weight < 1:
        return None
    x, y = np.array(axes.get_xlim()), np.array(axes.get_ylim())
    axes.set(xlim=tuple(x), ylim=tuple(y))
    axes.grid(visible=False)
    levels = MaxNLocator(8, steps=ROUND_STEPS).tick_values(*(weight * x + (1 - weight) * y))
    for level in levels:
        axes.plot(x, (level - weight * x) / (1 - weight), color="0.75", linewidth=0.6, zorder=0.5)
    for level in rows[(rows["strategy"] == REFERENCE) & (rows["horizon"] == 1.0)]["all"]:
        axes.plot(x, (level - weight * x) / (1 - weight), zorder=0.6, gid="scratch's accuracy", **_DASHED)
    return float(levels[1] - levels[0])
