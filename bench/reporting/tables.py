"""Tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from bench.scenario import Scenario


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


def leaderboard_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of one scenario's leaderboard, as bench.analysis.leaderboard gives it."""
    first = rows.iloc[0]
    heading = Text(
        f"{first['scenario_title']}\n"
        f"target: {first['target']:.4f} validation accuracy (provisional: mean of scratch's own {first['n']} seeds)",
        style="bold",
    )
    table = Table(box=None, header_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("strategy")
    for heading_ in ("horizon", "seeds", "reached", "speedup, FLOPs", "95 % interval", "steps", "device s"):
        table.add_column(heading_, justify="right")
    for heading_ in ("FLOPs to target", "of base", "validation", "test"):
        table.add_column(heading_, justify="right")
    for _, row in rows.iterrows():
        table.add_row(
            str(row["rank"]),
            Text(row["strategy"]),
            f"{row['horizon']:g}",
            str(row["n"]) + (f" (+{row['unfinished']} unfinished)" if row["unfinished"] else ""),
            f"{row['reached']:.0%}",
            speedup_text(row, "flops"),
            interval_text(row, "flops"),
            speedup_text(row, "steps"),
            speedup_text(row, "device_seconds"),
            f"{row['cost_flops']:.3e}",
            f"{row['base_flops']:.3e}" if _there(row["base_flops"]) else "-",
            accuracy_text(row, "validation_accuracy"),
            accuracy_text(row, "test_accuracy"),
        )
    notes = [
        f"device: {first['device']}",
        "speedup: scratch's cost at the target / the strategy's; < is a bound: censored",
    ]
    if rows["modified"].any():
        notes.append("modified: some trials ran on code that differs from its commit")
    return heading, table, Text("\n".join(notes), style="dim")


def speedup_text(row: Any, currency: str) -> str:
    """Return "2.31", a bound like "< 0.87", or "-" where it cannot be compared."""
    value, relation = row[f"speedup_{currency}"], row[f"relation_{currency}"]
    if relation == "undetermined":
        return "undetermined"
    if not _there(value):
        return "-"
    return f"{value:.2f}" if relation == "=" else f"{relation} {value:.2f}"


def interval_text(row: Any, currency: str) -> str:
    """Return "1.9 to 2.7", or why there is none."""
    low, high = row[f"low_{currency}"], row[f"high_{currency}"]
    return f"{low:.2f} to {high:.2f}" if _there(low) and _there(high) else row[f"note_{currency}"] or "-"


def accuracy_text(row: Any, column: str) -> str:
    """Return mean and standard deviation over seeds."""
    std = row[f"{column}_std"]
    return f"{row[column]:.4f}" + (f" ± {std:.4f}" if _there(std) else "")


def _there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
