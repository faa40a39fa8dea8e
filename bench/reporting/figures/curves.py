"""Accuracy against cost, in each currency."""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.catalog import REFERENCE
from bench.reporting.figures.inks import Ink, inks_of, names_of
from bench.reporting.figures.style import GREY, Look, Width, add_legend, canvas, count_axis, set_title
from bench.reporting.figures.words import AXIS, heading

_HEIGHT_INCHES = {"column": 2.1, "page": 3.2}
_MARKS = 6  # of a strategy's own markers along its curve
_DASHED: Look = {"color": GREY, "linestyle": (0, (5, 3)), "linewidth": 0.9}


def draw_accuracy(curves: pd.DataFrame, ranking: pd.DataFrame, currency: str, width: Width) -> Figure:
    """Draw each strategy's mean validation accuracy against its cost in a currency.

    curves: as returned by mean_curves. ranking: as returned by leaderboard. The band is one standard deviation over seeds;
    the dashed line is the target; a dot marks a crossing, an x the end of a strategy that did not hold the target.
    """
    figure, (axes,) = canvas(width, _HEIGHT_INCHES[width.name])
    inks, names = inks_of(ranking), names_of(ranking)
    handles: list[Artist] = []
    labels = []
    for place, (key, ink) in enumerate(inks.items()):
        curve = curves[(curves["strategy"] == key[0]) & (curves["horizon"] == key[1])]
        if curve.empty:
            continue
        handles.append(_draw_curve(axes, curve, ink, place))
        labels.append(f"{names[key]}, n = {curve['n'].iloc[0]}")
        row = ranking[(ranking["strategy"] == key[0]) & (ranking["horizon"] == key[1])].iloc[0]
        _mark_end(axes, curve, row, currency, ink)
    target = ranking.loc[ranking["strategy"] == REFERENCE, "target"].iloc[0]
    axes.axhline(target, gid="target", **_DASHED)
    handles.append(Line2D([], [], **_DASHED))
    labels.append(f"target {target:.3f} (dot: held; x: missed)")
    axes.set(xlabel=f"training cost of the update ({AXIS[currency]})", ylabel="validation accuracy")
    count_axis(axes)
    axes.margins(y=0.08)
    axes.set_xlim(left=0)
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, labels, width)
    return figure


def _draw_curve(axes: Axes, curve: pd.DataFrame, ink: Ink, place: int) -> Artist:
    """Draw one strategy's curve and its band, and return the line. place: among the curves, to offset markers."""
    every = max(1, len(curve) // _MARKS)
    name = f"curve {curve['strategy'].iloc[0]}@{curve['horizon'].iloc[0]:g}"
    look: Look = {"color": ink.colour, "linestyle": ink.dashes, "marker": ink.marker or None}
    (line,) = axes.plot(curve["cost"], curve["accuracy"], markevery=(place % every, every), gid=name, **look)
    if curve["std"].notna().any():
        axes.fill_between(curve["cost"], curve["low"], curve["high"], color=ink.colour, alpha=0.15, linewidth=0)
    return line


def _mark_end(axes: Axes, curve: pd.DataFrame, row: pd.Series, currency: str, ink: Ink) -> None:
    """Mark the point from which the target was held or, if it was missed, the strategy's end."""
    if not row["n"] or pd.isna(row[f"cost_{currency}"]):  # no seed in common with scratch: neither crossed nor missed
        return
    crossed = row[f"relation_{currency}"] in ("=", ">")
    where = (curve["cost"] - row[f"cost_{currency}"]).abs().idxmin()
    dot: Look = {"marker": "o", "markersize": 6.5, "markeredgecolor": "black", "markeredgewidth": 0.9}
    x: Look = {"marker": "x", "markersize": 7, "markeredgewidth": 2}
    name = f"{'crossed' if crossed else 'missed'} {row['strategy']}@{row['horizon']:g}"
    look: Look = {"color": ink.colour, "linestyle": "none", "zorder": 5, **(dot if crossed else x)}
    axes.plot(curve["cost"][where], curve["accuracy"][where], gid=name, **look)
