"""Tables for the terminal and for a paper's draft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from bench.scenario import Scenario

if TYPE_CHECKING:  # these need torch, and tables are printed without
    from bench.execution.audit import Audit
    from bench.metering.flops import FlopCount, LayerFlops

_HEADINGS = (
    "rank",
    "strategy",
    "horizon",
    "seeds",
    "reached",
    "speedup, FLOPs",
    "95 % interval",
    "steps",
    "device s",
    "FLOPs",
    "+ base",
    "validation",
    "test",
    "test at crossing",
)
_LEFT = {"strategy", "95 % interval"}


def scenario_table(scenarios: Sequence[Scenario]) -> Table:
    """Return the shipped scenarios as a table."""
    table = Table(box=None, header_style="bold")
    for heading in ("scenario", "kind", "stages", "set", "model", "epochs", "batch", "precision"):
        table.add_column(heading, overflow="fold")
    for scenario in scenarios:
        stages = " + ".join(str(stage.classes) for stage in scenario.stages)
        training = scenario.training
        cells = (scenario.name, scenario.kind, stages, scenario.data.set, scenario.model.name)
        table.add_row(*cells, str(training.epochs), str(training.batch_size), training.precision)
    return table


def flops_table(model: str, image_shape: tuple[int, int, int], count: FlopCount, layers: Sequence[LayerFlops]) -> Table:
    """Return a model's forward multiply-adds by layer, by both counters, with what a step costs below."""
    size = "x".join(map(str, image_shape))
    table = Table(
        box=None, header_style="bold", title=f"{model}, one image of {size}", title_justify="left", show_footer=True
    )
    table.add_column("layer", footer="all: forward", overflow="fold")
    table.add_column("kind")
    table.add_column("multiply-adds", f"{count.forward // 2:,}", justify="right")
    table.add_column("by fvcore", f"{count.forward_fvcore // 2:,}", justify="right")
    for layer in layers:
        table.add_row(
            layer.name or "(the model)", layer.kind, f"{layer.forward // 2:,}", f"{layer.forward_fvcore // 2:,}"
        )
    return table


def audit_table(audit: Audit) -> Table:
    """Return what an audit found, part by part."""
    table = Table(box=None, header_style="bold", title=Text(audit.trial), title_justify="left")
    for heading in ("part", "counted FLOPs", "charged FLOPs", "disagreement", ""):
        table.add_column(heading, justify="left" if heading in ("part", "") else "right")
    for part in audit.parts:
        verdict = "ok" if part.agrees else "WRONG"
        table.add_row(part.name, f"{part.counted:,}", f"{part.charged:,}", f"{part.disagreement:.4%}", verdict)
    return table


def leaderboard_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of one scenario's leaderboard, as bench.analysis.leaderboard gives it."""
    cells = [_cells(row) for _, row in rows.iterrows()]
    table = Table(box=None, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in _LEFT else "right")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row.values()))
    return Text(_heading(rows), style="bold"), table, Text("\n".join(_notes(rows)), style="dim")


def markdown_table(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    cells = [_cells(row) for _, row in rows.iterrows()]
    lines = [
        "| " + " | ".join(_HEADINGS) + " |",
        "|" + "|".join(" --- " if heading in _LEFT else " ---: " for heading in _HEADINGS) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row.values()) + " |" for row in cells),
    ]
    heading, *target = _heading(rows).split("\n")
    return "\n".join([f"**{heading}**", "", *target, "", *lines, "", *(f"{note}  " for note in _notes(rows))]) + "\n"


def _heading(rows: pd.DataFrame) -> str:
    scratch = rows[rows["strategy"] == "scratch"].iloc[0]
    spread = f" ± {scratch['target_std']:.4f}" if _there(scratch["target_std"]) else ""
    return (
        f"{scratch['scenario_title']}\n"
        f"Target: validation accuracy {scratch['target']:.4f}{spread}, provisional (mean of scratch's {scratch['n']} seeds)"
    )


def _cells(row: Any) -> dict[str, str]:
    """Return a row's cells by heading; "-" where there is nothing to say."""
    gaps = [f"{row[what]} {what}" for what in ("unfinished", "missing") if row[what]]
    found = [str(row["rank"]), row["strategy"], f"{row['horizon']:g}"]
    found.append(str(row["n"]) + (f" ({', '.join(gaps)})" if gaps else ""))
    if row["n"]:
        found += [
            f"{row['reached']:.0%}",
            speedup_text(row, "flops"),
            interval_text(row, "flops"),
            speedup_text(row, "steps"),
            speedup_text(row, "device_seconds"),
            f"{row['cost_flops']:.3e}",
            f"{row['cost_flops'] + row['base_flops']:.3e}" if _there(row["base_flops"]) else "-",
            accuracy_text(row, "validation_accuracy"),
            accuracy_text(row, "test_accuracy"),
            f"{row['test_at_crossing']:.4f}" if _there(row["test_at_crossing"]) else "-",
        ]
    return dict(zip_longest(_HEADINGS, found, fillvalue="-"))


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = [
        "Speedup: scratch's cost at the target / the strategy's, in FLOPs, steps and device seconds. "
        "'<' is a bound: the strategy did not hold the target within its horizon (censored).",
        "FLOPs: to the target, or in all where censored; '+ base' adds what the old model had cost. "
        f"Device: {_each(rows['device'])}. Commit: {_each(rows['commit'])}.",
    ]
    if rows["modified"].any():
        notes.append("Modified: some trials ran on code that differs from its commit, or whose commit is unknown.")
    return notes


def speedup_text(row: Any, currency: str) -> str:
    """Return "2.31", a bound like "< 0.87", or "-" where it cannot be compared."""
    value, relation = row[f"value_{currency}"], row[f"relation_{currency}"]
    if relation == "undetermined":
        return "undetermined"
    if not _there(value):
        return "-"
    return f"{value:.2f}" if relation == "=" else f"{relation} {value:.2f}"


def interval_text(row: Any, currency: str) -> str:
    """Return "1.90 to 2.70 (t, n = 5)", or why there is none."""
    low, high, note = (row[f"{name}_{currency}"] for name in ("low", "high", "note"))
    return f"{low:.2f} to {high:.2f} ({note})" if _there(low) and _there(high) else note or "-"


def accuracy_text(row: Any, column: str) -> str:
    """Return mean and standard deviation over seeds."""
    std = row[f"{column}_std"]
    return f"{row[column]:.4f}" + (f" ± {std:.4f}" if _there(std) else "")


def _each(values: pd.Series) -> str:
    return ", ".join(sorted(set(filter(None, values))))


def _there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
