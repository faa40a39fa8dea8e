"""Tables for the terminal and for a paper's draft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from bench.catalog import REFERENCE

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
    """Return (heading, table, notes) of one update's leaderboard, as bench.analysis.leaderboard gives it."""
    return _rich(_heading(rows), _HEADINGS, [_cells(row) for _, row in rows.iterrows()], _notes(rows))


def markdown_table(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(_heading(rows), _HEADINGS, [_cells(row) for _, row in rows.iterrows()], _notes(rows))


def life_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of a chain's whole life, as bench.analysis.life gives it."""
    return _rich(*_life(rows))


def life_markdown(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(*_life(rows))


def _rich(
    heading: str, headings: Sequence[str], cells: list[dict[str, str]], notes: list[str]
) -> tuple[Text, Table, Text]:
    table = Table(box=None, header_style="bold")
    for name in headings:
        table.add_column(name, justify="left" if name in _LEFT else "right")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row.values()))
    return Text(heading, style="bold"), table, Text("\n".join(notes), style="dim")


def _markdown(heading: str, headings: Sequence[str], cells: list[dict[str, str]], notes: list[str]) -> str:
    lines = [
        "| " + " | ".join(headings) + " |",
        "|" + "|".join(" --- " if name in _LEFT else " ---: " for name in headings) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row.values()) + " |" for row in cells),
    ]
    first, *more = heading.split("\n")
    return "\n".join([f"**{first}**", "", *more, "", *lines, "", *(f"{note}  " for note in notes)]) + "\n"


def _life(rows: pd.DataFrame) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    """Return (heading, headings, cells, notes): the life in FLOPs, and the savings in the other currencies."""
    flops = rows[rows["currency"] == "flops"]
    updates = [f"update_{number}" for number in range(1, int(flops["updates"].iloc[0]) + 1)]
    headings = ["strategy", "horizon", "seeds", "held", "base", *(name.replace("_", " ") for name in updates), "total"]
    headings += ["whole life, FLOPs", "steps", "device s"]
    cells = []
    for _, row in flops.iterrows():
        found = [row["strategy"], f"{row['horizon']:g}", str(row["n"])]
        if row["n"]:
            found.append(f"{int(row['held'])} of {row['updates']}")
            found += [f"{row[name]:.3e}" if _there(row[name]) else "-" for name in ("base", *updates, "total")]
            mine = rows[(rows["strategy"] == row["strategy"]) & (rows["horizon"] == row["horizon"])].set_index(
                "currency"
            )
            for currency in ("flops", "steps", "device_seconds"):
                found.append(_ratio_text(mine.loc[currency]) if currency in mine.index else "-")
        cells.append(dict(zip_longest(headings, found, fillvalue="-")))
    notes = [
        "Whole life: scratch's total over the strategy's. Totals: the base model, which scratch every time needs, too, and every "
        "update to the end of its horizon, for the next one starts there. Base and updates in FLOPs.",
        "'<': not every update held its target, so less was bought than from scratch.",
    ]
    if flops["base"].isna().all():
        notes.append("What the base model had cost is unknown and in no total.")
    return f"{flops['scenario_title'].iloc[0]}, the whole life", headings, cells, notes


def _ratio_text(row: Any) -> str:
    return f"{row['value']:.2f}" if row["relation"] == "=" else f"{row['relation']} {row['value']:.2f}"


def _heading(rows: pd.DataFrame) -> str:
    scratch = rows[rows["strategy"] == REFERENCE].iloc[0]
    which = f", update {scratch['update']} of {scratch['updates']}" if scratch["updates"] > 1 else ""
    spread = f" ± {scratch['target_std']:.4f}" if _there(scratch["target_std"]) else ""
    return (
        f"{scratch['scenario_title']}{which}\n"
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
    short = rows[rows["old_share"] < 1]
    if len(short):
        names = ", ".join(sorted(set(short["strategy"])))
        notes.append(
            f"Memory: {REFERENCE} was trained on all old images; {names} had {short['old_share'].iloc[0]:.1%} of them at hand."
        )
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
