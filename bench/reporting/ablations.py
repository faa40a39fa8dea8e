"""Tables of an ablation at equal cost, in words: what would be run, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.analysis.studies.equal_cost import ALL, LEVEL
from bench.reporting.guards import name_of, seen_notes
from bench.reporting.layout import Cells, Column
from bench.reporting.numbers import is_there

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    Column("change", "change", left=True),
    Column("difference", "difference (95 %)"),
    Column("verdict", "verdict", left=True),
    Column("cost", "cost", 1),
    Column("p_holm", "p, corrected", 2),
    Column("p", "p", 3),
    Column("seeds", "seeds", 4),
    Column("horizon", "horizon", 5),
    Column("accuracy", "validation", 6),
    Column("piece", "piece", 7, left=True),
    Column("strategy", "strategy", 8, left=True),
)
_DASH = "-"
_APART = 0.02  # a cost further from the recipe's is named in a note


def ablation_cells(rows: pd.DataFrame, title: str) -> Cells:
    """Return one scenario's part of an ablation, as returned by bench.analysis.studies.equal_cost, in words.

    title: the scenario's, which is not needed for the rows over all scenarios.
    """
    first = rows.iloc[0]
    recipe = f"{first['recipe']}@{first['recipe_horizon']:g}"
    together = first["scenario"] == ALL
    columns = tuple(column for column in COLUMNS if not (together and column.key == "horizon"))
    found = tuple(
        (
            _change(row),
            _difference(row),
            row["verdict"] or _DASH,
            f"{row['cost']:.3f}" if is_there(row["cost"]) else _DASH,
            _p(row["p_holm"]),
            _p(row["p"]),
            str(row["n"]),
            *(() if together else (f"{row['horizon']:g}",)),
            f"{row['accuracy']:.4f}" if is_there(row["accuracy"]) else _DASH,
            row["piece"],
            name_of(row),
        )
        for row in rows.to_dict("records")
    )
    heading = f"{'All scenarios together' if together else title}\nPieces of {recipe}, at equal cost"
    return Cells(heading, columns, found, tuple(_notes(rows)))


def ablation_plan_cells(rows: pd.DataFrame, title: str) -> Cells:
    """Return one scenario's part of the plan of an ablation, see bench.api.ablations.AblationPlan, in words."""
    columns = (
        Column("change", "change", left=True),
        Column("horizon", "horizon"),
        Column("steps", "steps"),
        Column("relative", "cost"),
        Column("due", "due"),
        Column("asked", "asked", 2),
        Column("flops", "FLOPs", 1),
        Column("piece", "piece", 3, left=True),
        Column("strategy", "strategy", 4, left=True),
    )
    found = tuple(
        (
            _change(row),
            f"{row['horizon']:g}",
            f"{row['steps']:,}",
            f"{row['relative']:.3f}",
            str(row["due"]),
            str(row["asked"]),
            f"{row['flops']:.3e}",
            row["piece"],
            row["strategy"],
        )
        for row in rows.to_dict("records")
    )
    recipe = rows.iloc[0]
    due = sum(rows["due"] * rows["flops"])
    notes = (
        "Cost: expected FLOPs of one seed over the strategy's, which the horizon is chosen for. Asked, due: trials, and those to "
        f"run, {due:.3e} FLOPs in all, base models that are missing not among them.",
    )
    return Cells(f"{title}\nPieces of {recipe['strategy']}@{recipe['horizon']:g}, at equal cost", columns, found, notes)


def _change(row: Any) -> str:
    """Return "without freezing", "freezing alone" or "nothing"."""
    return {"left out": f"without {row['aspect']}", "alone": f"{row['aspect']} alone", "": "nothing"}[row["change"]]


def _difference(row: Any) -> str:
    if not is_there(row["difference"]):
        return _DASH
    interval = f" ({row['low']:+.4f} to {row['high']:+.4f})" if is_there(row["low"]) else ""
    return f"{row['difference']:+.4f}{interval}"


def _p(value: Any) -> str:
    if not is_there(value):
        return _DASH
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _notes(rows: pd.DataFrame) -> Sequence[str]:
    notes = [
        "Difference: final validation accuracy minus the strategy's, paired by seed; interval by Student's t, not corrected. "
        f"Cost: measured FLOPs over the strategy's. p, corrected: by Holm, for the {rows['comparisons'].iloc[0]} comparisons of "
        "this command. A piece earns its place, or costs accuracy, if leaving it out changes the accuracy with a corrected p "
        f"below {LEVEL:g}. That no difference is shown does not mean that there is none: the interval says how large it may be.",
    ]
    if rows["p"].isna().any():
        notes.append("Not tested: fewer than two seeds, or the same difference at every seed.")
    if rows["scenario"].iloc[0] == ALL:
        notes.append(
            "All together: mean over scenarios of the mean over seeds, which are independent between scenarios. It is about "
            "these scenarios, not about others."
        )
    apart = rows[(rows["cost"] - 1).abs() > _APART]
    if len(apart):
        named = ", ".join(f"{_change(row)} {row['cost']:.3f}" for row in apart.to_dict("records"))
        notes.append(f"Cost differs by more than {100 * _APART:g} %: {named}.")
    return notes + seen_notes(rows)
