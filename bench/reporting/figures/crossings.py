"""Where each seed crossed, and what share had crossed by a cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.reporting.figures.inks import Ink, inks_of, names_of, titles_of
from bench.reporting.figures.style import (
    GREY,
    PAGE,
    Look,
    Width,
    add_legend,
    bar_canvas,
    beside_bar,
    canvas,
    count_axis,
    point_arrow,
    set_title,
)
from bench.reporting.figures.words import AXIS, heading

_REACHED_INCHES = {"column": 1.9, "page": 2.6}
_SEED_INCHES, _MOST_INCHES = 0.06, 0.75  # per seed, and at most per strategy
_SPREAD = 0.3  # of a strategy's line, to either side, over which its seeds are spread


def draw_crossings(rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    """Draw each seed's own cost at the target, one line per strategy; a seed that missed is at its total cost, with an arrow.

    rows: as returned by seed_crossings. The thin line to the left of a marker goes back to the previous evaluation.
    """
    inks, titles = inks_of(ranking), titles_of(ranking)
    found = dict(iter(rows.groupby(["strategy", "horizon"])))
    keys = [key for key in inks if key in found]
    seeds = max(len(found[key]) for key in keys)
    names = [beside_bar(titles[key], f"horizon {key[1]:g}, n = {len(found[key])}") for key in keys]
    figure, (axes,) = bar_canvas(width, names, least=min(_SEED_INCHES * seeds, _MOST_INCHES))
    for place, key in enumerate(keys):
        _draw_seeds(axes, place, found[key].sort_values("seed"), inks[key])
    axes.set_xlim(0, rows["cost"].max() * (1.08 if width is PAGE else 1.16))  # room for arrows
    axes.set_xlabel(f"each seed's cost at the target ({AXIS['flops']})")
    count_axis(axes, bins=5)
    mark: Look = {"linestyle": "none", "marker": "o", "color": GREY}
    handles: list[Artist] = [Line2D([], [], **mark), Line2D([], [], markerfacecolor="white", **mark)]
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, ["held the target from there on", "missed it: total cost (arrow)"], width)
    return figure


def _draw_seeds(axes: Axes, place: int, mine: pd.DataFrame, ink: Ink) -> None:
    """Draw one strategy's seeds around y = place, in order from the top."""
    heights = place + (np.linspace(-_SPREAD, _SPREAD, len(mine)) if len(mine) > 1 else np.zeros(1))
    mark: Look = {"marker": ink.marker or "o", "markersize": 4.5, "color": ink.colour, "linestyle": "none"}
    for height, (_, row) in zip(heights, mine.iterrows(), strict=True):
        name = f"seed {row['strategy']}@{row['horizon']:g} {row['seed']}"
        face = ink.colour if row["crossed"] else "white"
        axes.plot(row["cost"], height, markerfacecolor=face, gid=name, **mark)
        if not row["crossed"]:
            point_arrow(axes, (row["cost"], height), (1, 0), ink.colour)
        elif pd.notna(row["bracket"]):
            axes.plot([row["bracket"], row["cost"]], [height, height], color=ink.colour, linewidth=0.7)


def draw_reached(rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    """Draw the Kaplan-Meier estimate of the share of seeds that had reached the target by a cost.

    rows: as returned by reached_by_cost.
    """
    figure, (axes,) = canvas(width, _REACHED_INCHES[width.name])
    inks, names = inks_of(ranking), names_of(ranking)
    handles: list[Artist] = []
    labels = []
    for key, ink in inks.items():
        mine = rows[(rows["strategy"] == key[0]) & (rows["horizon"] == key[1])].sort_values(["cost", "reached"])
        if mine.empty:
            continue
        line: Look = {
            "color": ink.colour,
            "linestyle": ink.dashes,
            "marker": ink.marker or None,
            "drawstyle": "steps-post",
        }
        handles += axes.plot(mine["cost"], mine["reached"], gid=f"reached {key[0]}@{key[1]:g}", **line)
        labels.append(f"{names[key]}, n = {mine['n'].iloc[0]}")
    axes.set(xlabel=f"cost ({AXIS['flops']})", ylabel="share of seeds at the target", ylim=(-0.04, 1.04))
    axes.set_xlim(left=0)
    count_axis(axes)
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, labels, width)
    return figure
