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
_ZOOMED_INCHES = {"column": 3.6, "page": 4.6}  # of both panels
_NEAR = 0.1  # of the range of accuracies, below the target
_MARKS = 6  # of a strategy's own markers along its curve
_DASHED: Look = {"color": GREY, "linestyle": (0, (5, 3)), "linewidth": 0.9}


def draw_accuracy(curves: pd.DataFrame, ranking: pd.DataFrame, currency: str, width: Width) -> Figure:
    """Draw each strategy's mean validation accuracy against its cost in a currency.

    curves: as returned by mean_curves. ranking: as returned by leaderboard. The band is one standard deviation over seeds;
    the dashed line is the target; a dot marks a crossing, an x the end of a strategy that did not hold the target. Where most of
    the curves runs close to the target, a second panel shows that part alone.
    """
    target = ranking.loc[ranking["strategy"] == REFERENCE, "target"].iloc[0]
    near = _near(curves["accuracy"], target)
    panels: Look = {"rows": 2, "sharex": True, "height_ratios": (2, 3)} if near else {}
    figure, found = canvas(width, (_ZOOMED_INCHES if near else _HEIGHT_INCHES)[width.name], **panels)
    handles, labels = _draw_panel(found[0], curves, ranking, currency, "")
    for axes in found[1:]:
        _draw_panel(axes, curves, ranking, currency, " near the target")
        axes.set_ylim(near)
        axes.set_ylabel("near the target")
    handles.append(Line2D([], [], **_DASHED))
    labels.append(f"target {target:.3f} (dot: held; x: missed)")
    found[-1].set_xlabel(f"training cost of the update ({AXIS[currency]})")
    found[0].set_ylabel("validation accuracy")
    count_axis(found[-1])
    found[0].margins(y=0.08)
    found[0].set_xlim(left=0)
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, labels, width)
    return figure


def _near(accuracies: pd.Series, target: float) -> tuple[float, float] | None:
    """Return the part of the accuracy axis around the target if at least half of all points are in it, else None."""
    reach = _NEAR * (accuracies.max() - accuracies.min())
    if not reach or (accuracies >= target - reach).mean() < 0.5:
        return None
    return target - reach, min(max(accuracies.max(), target) + reach / 3, 1 + reach / 20)


def _draw_panel(
    axes: Axes, curves: pd.DataFrame, ranking: pd.DataFrame, currency: str, where: str
) -> tuple[list[Artist], list[str]]:
    """Draw every curve and the target, and return what a legend takes. where: after the name of all that is drawn."""
    inks, names = inks_of(ranking), names_of(ranking)
    handles: list[Artist] = []
    labels = []
    for place, (key, ink) in enumerate(inks.items()):
        curve = curves[(curves["strategy"] == key[0]) & (curves["horizon"] == key[1])]
        if curve.empty:
            continue
        handles.append(_draw_curve(axes, curve, ink, place, where))
        labels.append(f"{names[key]}, n = {curve['n'].iloc[0]}")
        row = ranking[(ranking["strategy"] == key[0]) & (ranking["horizon"] == key[1])].iloc[0]
        _mark_end(axes, curve, row, currency, ink, where)
    target = ranking.loc[ranking["strategy"] == REFERENCE, "target"].iloc[0]
    axes.axhline(target, gid=f"target{where}", **_DASHED)
    return handles, labels


def _draw_curve(axes: Axes, curve: pd.DataFrame, ink: Ink, place: int, where: str) -> Artist:
    """Draw one strategy's curve and its band, and return the line. place: among the curves, to offset markers."""
    every = max(1, len(curve) // _MARKS)
    name = f"curve {curve['strategy'].iloc[0]}@{curve['horizon'].iloc[0]:g}{where}"
    look: Look = {"color": ink.colour, "linestyle": ink.dashes, "marker": ink.marker or None}
    (line,) = axes.plot(curve["cost"], curve["accuracy"], markevery=(place % every, every), gid=name, **look)
    if curve["std"].notna().any():
        axes.fill_between(curve["cost"], curve["low"], curve["high"], color=ink.colour, alpha=0.15, linewidth=0)
    return line


def _mark_end(axes: Axes, curve: pd.DataFrame, row: pd.Series, currency: str, ink: Ink, where: str) -> None:
    """Mark the point from which the target was held or, if it was missed, the strategy's end."""
    if not row["n"] or pd.isna(row[f"cost_{currency}"]):  # no seed in common with scratch: neither crossed nor missed
        return
    crossed = row[f"relation_{currency}"] in ("=", ">")
    place = (curve["cost"] - row[f"cost_{currency}"]).abs().idxmin()
    dot: Look = {"marker": "o", "markersize": 6.5, "markeredgecolor": "black", "markeredgewidth": 0.9}
    x: Look = {"marker": "x", "markersize": 7, "markeredgewidth": 2}
    name = f"{'crossed' if crossed else 'missed'} {row['strategy']}@{row['horizon']:g}{where}"
    look: Look = {"color": ink.colour, "linestyle": "none", "zorder": 5, **(dot if crossed else x)}
    axes.plot(curve["cost"][place], curve["accuracy"][place], gid=name, **look)
