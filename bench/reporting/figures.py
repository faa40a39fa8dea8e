"""Figures, drawn from tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns

mpl.use("Agg")  # files only; no screen is needed
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

_STYLE: dict[Any, Any] = {
    "pdf.fonttype": 42,  # embedded TrueType, which journals ask for
    "svg.hashsalt": "bench",
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "savefig.dpi": 300,
}
_DASHES = ["-", "--", "-.", ":"]  # so that grey print tells them apart, too
_WIDTH_INCHES, _HEIGHT_INCHES = 5.5, 3.4  # without the legend
_LEGEND_COLUMNS = 2
_TITLE_CHARACTERS = 70  # a line of the title that the axes are as wide as


def draw_accuracy_against_flops(curves: pd.DataFrame, ranking: pd.DataFrame, paths: Sequence[Path]) -> None:
    """Draw each strategy's mean validation accuracy against its cost, and save it at each of `paths`.

    curves: as mean_curves gives it. ranking: as leaderboard gives it. The band is one standard deviation over seeds;
    the dashed line is the target; a dot marks a crossing, an x a strategy's end that did not hold the target.
    """
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), mpl.rc_context(_STYLE):
        strategies = sorted(set(zip(curves["strategy"], curves["horizon"], strict=True)), key=_in_order)
        legend_inches = 0.18 * math.ceil(len(strategies) / _LEGEND_COLUMNS)
        figure, axes = plt.subplots(figsize=(_WIDTH_INCHES, _HEIGHT_INCHES + legend_inches), layout="constrained")
        colours = sns.color_palette("colorblind", len(strategies))
        for place, (strategy, horizon) in enumerate(strategies):
            curve = curves[(curves["strategy"] == strategy) & (curves["horizon"] == horizon)]
            row = ranking[(ranking["strategy"] == strategy) & (ranking["horizon"] == horizon)]
            _draw_curve(axes, curve, row, colours[place], _DASHES[place % len(_DASHES)])
        target = ranking.loc[ranking["strategy"] == "scratch", "target"].iloc[0]
        axes.axhline(target, color="0.25", linestyle=(0, (5, 3)), linewidth=1)
        axes.annotate(
            f"target {target:.3f}",
            (0.01, target),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=8,
            color="0.25",
        )
        axes.set(xlabel="training cost of the update (FLOPs)", ylabel="validation accuracy")
        axes.xaxis.set_major_formatter(EngFormatter(sep="\N{NO-BREAK SPACE}"))
        axes.set_xlim(left=0)
        first = ranking.iloc[0]
        which = f", update {first['update']} of {first['updates']}" if first["updates"] > 1 else ""
        axes.set_title(textwrap.fill(f"{first['scenario_title']}{which}", _TITLE_CHARACTERS), fontsize=9)
        # Below the axes: inside, twelve strategies would hide a curve.
        figure.legend(loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False)
        sns.despine(figure)
        for path in paths:
            # No date in the file: the same records give the same bytes.
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
            figure.savefig(path, metadata=metadata)
        plt.close(figure)


def _draw_curve(axes: Axes, curve: pd.DataFrame, row: pd.DataFrame, colour: object, dashes: str) -> None:
    first = curve.iloc[0]
    label = f"{first['title']} (horizon {first['horizon']:g}, n = {first['n']})"
    axes.plot(curve["cost"], curve["accuracy"], color=colour, linestyle=dashes, linewidth=1.6, label=label)
    axes.fill_between(curve["cost"], curve["low"], curve["high"], color=colour, alpha=0.18, linewidth=0)
    found = row.iloc[0]
    if not found["n"]:  # no seed in common with scratch: neither crossed nor missed
        return
    crossed = found["relation_flops"] in ("=", ">")
    where = (curve["cost"] - found["cost_flops"]).abs().idxmin()
    marker = {"marker": "o", "markersize": 6} if crossed else {"marker": "x", "markersize": 7, "markeredgewidth": 2}
    axes.plot(curve["cost"][where], curve["accuracy"][where], color=colour, linestyle="none", zorder=5, **marker)


def _in_order(key: tuple[str, float]) -> tuple[bool, str, float]:
    """Scratch first, so that it has the same colour in every figure."""
    strategy, horizon = key
    return strategy != "scratch", strategy, horizon
