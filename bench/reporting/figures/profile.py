"""The performance profile over several scenarios."""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from bench.reporting.figures.inks import inks_of, names_of
from bench.reporting.figures.style import Look, Width, add_legend, canvas, set_title

_HEIGHT_INCHES = {"column": 2.0, "page": 2.8}
_MARKS = 5  # of a strategy's own markers along its profile


def draw_profile(rows: pd.DataFrame, width: Width) -> Figure:
    """Draw the share of tables in which a strategy's cost is at most tau times the lowest, against tau.

    rows: as returned by bench.analysis.ranking.profiles.
    """
    figure, (axes,) = canvas(width, _HEIGHT_INCHES[width.name])
    ranked = rows.drop_duplicates(["strategy", "horizon"])
    names = names_of(ranked)
    handles: list[Artist] = []
    labels = []
    for place, (key, ink) in enumerate(inks_of(ranked).items()):
        mine = rows[(rows["strategy"] == key[0]) & (rows["horizon"] == key[1])].sort_values("tau")
        every = max(1, len(mine) // _MARKS)
        look: Look = {
            "color": ink.colour,
            "linestyle": ink.dashes,
            "marker": ink.marker or None,
            "drawstyle": "steps-post",
        }
        where: Look = {"markevery": (place % every, every), "gid": f"profile {key[0]}@{key[1]:g}"}
        handles += axes.plot(mine["tau"], mine["rho"], **look, **where)
        labels.append(f"{names[key]} (geometric mean {mine['geometric_mean'].iloc[0]:.2f})")
    axes.set(xlabel=r"$\tau$: cost over the lowest cost in a table", ylabel=r"$\rho(\tau)$: share of tables")
    axes.set(xlim=(0.97, 4.03), ylim=(-0.04, 1.04))
    set_title(figure, f"Performance profile over {rows['scenarios'].iloc[0]} tables", width)
    add_legend(figure, handles, labels, width)
    return figure
