"""Single numbers as tables, the page and LaTeX print them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

CURRENCY_LABELS = {
    "flops": "FLOPs",
    "steps": "steps",
    "images": "images",
    "device_seconds": "device s",
    "gpu_joules": "joules",
}
# The same in a sentence or on an axis.
COST_NAMES = {
    "steps": "optimizer steps",
    "images": "images",
    "flops": "FLOPs",
    "device_seconds": "device seconds",
    "gpu_joules": "GPU joules",
}


def speedup_text(row: Any, currency: str) -> str:
    """Return "2.31", a bound like "< 0.87", or "-" where it cannot be compared."""
    value, relation = row[f"value_{currency}"], row[f"relation_{currency}"]
    if relation == "undetermined":
        return "undetermined"
    if not is_there(value):
        return "-"
    return f"{value:.2f}" if relation == "=" else f"{relation} {value:.2f}"


def speedup_with_interval(row: Any, currency: str) -> str:
    """Return "2.31 (1.90 to 2.70)", and the same as speedup_text where there is no interval."""
    low, high = row[f"low_{currency}"], row[f"high_{currency}"]
    text = speedup_text(row, currency)
    return f"{text} ({low:.2f} to {high:.2f})" if is_there(low) and is_there(high) else text


def ratio_text(row: Any) -> str:
    """Return the same of a row that has one value and relation."""
    return f"{row['value']:.2f}" if row["relation"] == "=" else f"{row['relation']} {row['value']:.2f}"


def interval_text(row: Any, currency: str) -> str:
    """Return "1.90 to 2.70 (t, n = 5)", or why there is none."""
    low, high, note = (row[f"{name}_{currency}"] for name in ("low", "high", "note"))
    return f"{low:.2f} to {high:.2f} ({note})" if is_there(low) and is_there(high) else note or "-"


def frontier_text(row: Any) -> str:
    """Return "2.43 (2.10 to 2.70)"; an end outside the horizons that were run is open: "2.43 (2.10 to > 2.50)"."""
    text = ratio_text(row)
    if not is_there(row["low"]):
        return text
    low, high = f"{'< ' * bool(row['low_open'])}{row['low']:.2f}", f"{'> ' * bool(row['high_open'])}{row['high']:.2f}"
    return f"{text} ({low} to {high})"


def accuracy_text(row: Any, column: str) -> str:
    """Return mean and standard deviation over seeds; "nan" if a seed has no number, "-" where an imported curve says nothing."""
    if row.get("imported") is True and not is_there(row[column]):
        return "-"
    std = row[f"{column}_std"]
    return f"{row[column]:.4f}" + (f" ± {std:.4f}" if is_there(std) else "")


def cost_text(row: Any, column: str, currency: str) -> str:
    """Return a cost in `currency`, or "-" where it is not known."""
    value = row.get(column)
    return amount(value, currency) if is_there(value) else "-"


def amount(value: float, currency: str) -> str:
    """Return a cost in a currency."""
    return f"{value:.3e}" if currency == "flops" else f"{value:,.0f}"


def is_there(value: Any) -> bool:
    """Return whether a cell of a frame holds a value: neither None, NaN nor pandas' NA."""
    return value is not None and value is not pd.NA and not (isinstance(value, float) and math.isnan(value))


def counted(number: int, what: str) -> str:
    """Return "1 seed" or "3 seeds"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
