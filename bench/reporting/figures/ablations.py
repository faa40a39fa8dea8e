"""What one piece of a recipe is worth."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.reporting.figures.inks import titles_of
from bench.reporting.figures.style import GREY, ROUND_STEPS, Width, bar_canvas, beside_bar, point_arrow, set_title
from bench.reporting.figures.words import heading

_BLUE = "#0173b2"


def draw_ablation(rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    """Draw a recipe and its one-piece variants: speedup over scratch, and final accuracy minus the recipe's.

    rows: as returned by bench.analysis.studies.ablation, the recipe first. An open bar with an arrow is a bound.
    """
    titles = titles_of(ranking)
    names = [beside_bar(titles[row["strategy"], float(row["horizon"])], _detail(row)) for _, row in rows.iterrows()]
    figure, (left, right) = bar_canvas(width, names, panels=2)
    for place, (_, row) in enumerate(rows.iterrows()):
        colour = GREY if pd.isna(row["aspect"]) else _BLUE
        _draw_speedup(left, place, row, colour)
        _draw_interval(left, place, row["low"], row["high"])
        name = f"difference {row['strategy']}@{row['horizon']:g}"
        right.barh(place, row["difference"], height=0.6, color=colour, gid=name)
        _draw_interval(right, place, row["difference_low"], row["difference_high"])
    left.axvline(1.0, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    right.axvline(0.0, color="black", linewidth=0.8)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND_STEPS))
    left.set_xlim(left=0)
    left.set_xlabel("speedup over scratch, FLOPs")
    right.set_xlabel("final accuracy minus the recipe's")
    set_title(figure, heading(ranking), width)
    return figure


def _draw_speedup(axes: Axes, place: int, row: pd.Series, colour: str) -> None:
    if pd.isna(row["value"]):  # neither scratch nor the strategy held the target
        return
    name = f"speedup {row['strategy']}@{row['horizon']:g}"
    if row["relation"] == "=":
        axes.barh(place, row["value"], height=0.6, color=colour, gid=name)
        return
    axes.barh(place, row["value"], height=0.6, color="white", edgecolor=colour, gid=name)
    point_arrow(axes, (row["value"], place), (-1 if row["relation"] == "<" else 1, 0), colour)


def _draw_interval(axes: Axes, place: float, low: float, high: float) -> None:
    if pd.notna(low):
        axes.plot([low, high], [place, place], color="black", linewidth=1, marker="|", markersize=5, zorder=4)


def _detail(row: pd.Series) -> str:
    return f"horizon {row['horizon']:g}" + ("" if pd.isna(row["aspect"]) else f" ({row['aspect']})")
