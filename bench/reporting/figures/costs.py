"""Where the cost goes: stacked bars; and energy over time."""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from bench.reporting.figures.inks import inks_of, names_of, titles_of
from bench.reporting.figures.style import (
    PAGE,
    Look,
    Width,
    add_legend,
    bar_canvas,
    beside_bar,
    canvas,
    count_axis,
    set_title,
)
from bench.reporting.figures.words import heading

_UNITS = {"flops": "FLOPs", "seconds": "seconds"}
# Colour and hatch of a bar's parts, distinct in grey, too. Dots as hatches would make an SVG ten times as large.
_FACES = {
    "training": ("#0173b2", ""),
    "features": ("#cc78bc", "----"),
    "fit of the head": ("#ece133", "++++"),
    "element-wise": ("#de8f05", "////"),
    "optimizer and start": ("#de8f05", "////"),
    "regularizer": ("#029e73", "xxxx"),
    "selection": ("#d55e00", "||||"),
    "evaluation": ("0.85", ""),
    "preparing": ("#56b4e9", "\\\\\\\\"),
    "building": ("0.4", ""),
    "reading and writing": ("white", ""),
}
_EDGE: Look = {"edgecolor": "0.2", "linewidth": 0.4}
_ENERGY_INCHES = {"column": 3.4, "page": 2.4}
_MARKS = 5  # of a strategy's own markers along its curve


def draw_breakdown(rows: pd.DataFrame, ranking: pd.DataFrame, unit: str, width: Width) -> Figure:
    """Draw, for each strategy, what its cost was spent on, as one stacked bar with its total next to it.

    rows: as returned by bench.analysis.studies.breakdown, in `unit`.
    """
    found = {key: part.set_index("part") for key, part in rows.groupby(["strategy", "horizon"])}
    keys = [key for key in inks_of(ranking) if key in found]
    titles, parts = titles_of(ranking), list(dict.fromkeys(rows["part"]))
    figure, (axes,) = bar_canvas(width, [beside_bar(titles[key], f"horizon {key[1]:g}") for key in keys])
    for place, key in enumerate(keys):
        end = 0.0
        for part in parts:
            (face, hatch), cost = _FACES[part], found[key]["cost"][part]
            bar: Look = {"left": end, "height": 0.62, "gid": f"{part} {key[0]}@{key[1]:g}"}
            axes.barh(place, cost, color=face, hatch=hatch, **bar, **_EDGE)
            end += cost
        axes.annotate(
            _amount(found[key]["whole"].iloc[0], unit), (end, place), (3, 0), textcoords="offset points", va="center"
        )
    room = 1.12 if width is PAGE else 1.3  # for the totals
    axes.set_xlim(0, room * rows["whole"].max())
    axes.set_xlabel(f"{_UNITS[unit]} of the update, mean over seeds")
    count_axis(axes, bins=5)
    handles: list[Artist] = [
        Patch(facecolor=face, hatch=hatch, **_EDGE) for face, hatch in map(_FACES.__getitem__, parts)
    ]
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, parts, width, columns=3 if width is PAGE else 2)
    return figure


def _amount(whole: float, unit: str) -> str:
    """Return "69.6 T" of FLOPs, and seconds without a prefix."""
    if unit == "seconds":
        return f"{whole:,.0f}" if whole >= 100 else f"{whole:.2g}" if whole < 1 else f"{whole:.1f}"
    return EngFormatter(places=1, sep="\N{NO-BREAK SPACE}")(whole)


def draw_energy(rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    """Draw the GPU's energy, and its mean power between evaluations, against training time.

    rows: as returned by energy_curves. The band is one standard deviation over seeds.
    """
    panels: Look = {"rows": 1, "columns": 2} if width is PAGE else {"rows": 2, "columns": 1, "sharex": True}
    figure, (energy, power) = canvas(width, _ENERGY_INCHES[width.name], **panels)
    inks, names = inks_of(ranking), names_of(ranking)
    handles: list[Artist] = []
    labels = []
    for key, ink in inks.items():
        mine = rows[(rows["strategy"] == key[0]) & (rows["horizon"] == key[1])].sort_values("step")
        if mine.empty:
            continue
        line: Look = {"color": ink.colour, "linestyle": ink.dashes, "marker": ink.marker or None}
        along, name = {**line, "markevery": max(1, len(mine) // _MARKS)}, f"{key[0]}@{key[1]:g}"
        energy.plot(mine["seconds"], mine["joules"], gid=f"joules {name}", **along)
        if mine["joules_std"].notna().any():
            low, high = mine["joules"] - mine["joules_std"], mine["joules"] + mine["joules_std"]
            energy.fill_between(mine["seconds"], low, high, color=ink.colour, alpha=0.15, linewidth=0)
        power.plot(mine["seconds"], mine["watts"], gid=f"watts {name}", drawstyle="steps-pre", **along)
        handles.append(Line2D([], [], **line))
        labels.append(f"{names[key]}, n = {mine['n'].iloc[0]}")
    for axes, label in ((energy, "GPU energy (J)"), (power, "mean GPU power (W)")):
        axes.set_ylabel(label)
        count_axis(axes, bins=5)
        count_axis(axes, "y")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    for axes in (energy, power) if width is PAGE else (power,):
        axes.set_xlabel("training time (device seconds)")
    set_title(figure, heading(ranking), width)
    add_legend(figure, handles, labels, width)
    return figure
