"""How fast the training step is, against two other loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.records.speed import LoopName, SpeedRecord
from bench.reporting.figures.style import PAGE, Width, bar_canvas, beside_bar, save, set_title, styled

_COLOURS: dict[LoopName, str] = {"bare": "#0173b2", "usual": "#de8f05"}
_NAMES: dict[LoopName, str] = {"bare": "a bare loop on tensors", "usual": "the loop that people write"}


def draw_speed(records: Sequence[SpeedRecord], width: Width) -> Figure:
    """Draw, for each record, how many times as many images our step takes as each other loop, with the interval over pairs.

    A filled mark is by the clock, an open one by CPU seconds.
    """
    names = [beside_bar(f"{record.model}, {record.image[1]} px", _detail(record)) for record in records]
    figure, panels = bar_canvas(width, names, panels=2)
    for axes, loop in zip(panels, _NAMES, strict=True):
        for place, record in enumerate(records):
            for ratio, shift, filled in ((record.ratios[loop], -0.12, True), (record.cpu_ratios[loop], 0.12, False)):
                colour = _COLOURS[loop]
                if ratio.low is not None and ratio.high is not None:
                    axes.plot([ratio.low, ratio.high], [place + shift] * 2, color=colour, linewidth=1)
                name = f"{loop} {record.name}{'' if filled else ' per CPU second'}"
                face = colour if filled else "white"
                axes.plot(ratio.value, place + shift, "o", color=colour, markerfacecolor=face, gid=name)
        axes.axvline(1.0, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
        axes.set_xlim(left=0)
        axes.set_xlabel(f"times the images of {_NAMES[loop]}")
    set_title(
        figure, "Our training step: per second (filled) and per CPU second (open), 95 % intervals over pairs", width
    )
    return figure


def write_speed_figure(records: Sequence[SpeedRecord], path: Path) -> None:
    """Write the figure to a file, whose ending is its format."""
    with styled(PAGE):
        path.parent.mkdir(parents=True, exist_ok=True)
        save(draw_speed(records, PAGE), [path])


def _detail(record: SpeedRecord) -> str:
    place = record.provenance
    threads = f", {place.threads} thread{'s' if place.threads != 1 else ''}" if place.device_type == "cpu" else ""
    return f"{place.precision}, {record.way}{threads}"
