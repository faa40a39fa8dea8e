"""LaTeX tables for a paper: booktabs, the best in bold, bounds and intervals in math mode."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.catalog import REFERENCE
from bench.reporting.guards import name_of
from bench.reporting.incomplete import incomplete_count
from bench.reporting.layout import Cells
from bench.reporting.numbers import CURRENCY_LABELS, is_there, speedup_text
from bench.reporting.tables import BASE_NOTE, audited, leaderboard_cells

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "[": "{[}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "×": r"$\times$",
}
_POWER = re.compile(r"\d\.\d+e[+-]\d+")
# Currency -> its narrow heading.
_UNITS = {"device_seconds": "in s", "gpu_joules": "in J"}
_MODIFIED = r"$^{\dagger}$"


def latex_table(rows: pd.DataFrame, verdict: str = "") -> str:
    """Return one update's leaderboard as a table environment; it needs \\usepackage{booktabs}.

    rows: as returned by bench.analysis.ranking.leaderboard. It has fewer columns than the other formats, so that it fits lines
    of 6.5 inches: how many of the seeds reached the target; the speedup with its interval; the leading currency's cost;
    accuracies. verdict: as for leaderboard_cells.
    Bold marks the best speedup among strategies that held the target, except scratch, and the best accuracies.
    """
    words = leaderboard_cells(rows, verdict)
    currency = rows["currency"].iloc[0]
    others = [name for name in ("device_seconds", "gpu_joules") if name != currency]
    others = [name for name in others if not rows[f"value_{name}"].isna().all()]
    headings = ["strategy", "horizon", "reached", "speedup", "95 % interval"]
    headings += [*(_UNITS[name] for name in others), "cost", "validation", "test"]
    ranked = audited(rows)  # which come first
    best = {
        f"value_{currency}": _best_speedups(ranked),
        **{name: _highest(ranked[name]) for name in ("validation_accuracy", "test_accuracy")},
    }
    cells = [
        _cells(row, currency, others, {name for name in best if place in best[name]}) for place, row in _each(rows)
    ]
    captions = [
        words.heading,
        f"Speedup and cost in {CURRENCY_LABELS[currency]}",
        *(note.replace(BASE_NOTE, "") for note in words.notes),
    ]
    return _environment([*captions, *_gaps(rows, currency)], [*map(escape, headings)], cells, "lrcrc")


def escape(text: str) -> str:
    """Return text escaped for LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex_plain(cells: Cells) -> str:
    """Return any table as a table environment, every cell escaped."""
    texts = [[_number(text) for text in row] for row in cells.rows]
    headings = [escape(column.heading) for column in cells.columns]
    return _environment([cells.heading, *cells.notes], headings, texts, "l")


def _environment(words: Sequence[str], headings: Sequence[str], cells: list[list[str]], alignment: str) -> str:
    """Return a table environment.

    words: the caption, then the notes. alignment: of the first columns; the others are right-aligned.
    """
    caption, *notes = words
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(_sentence(caption))}}}",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{2pt}",
        rf"\begin{{tabular}}{{{alignment.ljust(len(headings), 'r')}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in cells),
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        rf"\parbox{{\linewidth}}{{\scriptsize {' '.join(escape(_sentence(note)) for note in notes)}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Any, currency: str, others: Sequence[str], best: set[str]) -> list[str]:
    """Return one strategy's cells. best: the columns of `rows` in which it is the best."""
    name = escape(name_of(row)) + _MODIFIED * bool(row["modified"])
    horizon = f"{row['horizon']:g}"
    if not row["n"]:
        return [name, horizon, "0/0", *["--"] * (5 + len(others))]
    low, high = row[f"low_{currency}"], row[f"high_{currency}"]
    cost = row[f"cost_{currency}"]
    return [
        name,
        horizon,
        f"{round(row['reached'] * row['n'])}/{row['n']}" if is_there(row["rank"]) else str(row["n"]),
        _bold(_number(speedup_text(row, currency)), f"value_{currency}" in best),
        f"[{low:.2f}, {high:.2f}]" if is_there(low) and is_there(high) else "--",
        *(_number(speedup_text(row, other)) for other in others),
        _scientific(cost) if is_there(cost) else "--",
        *(_bold(_accuracy(row, kind), kind in best) for kind in ("validation_accuracy", "test_accuracy")),
    ]


def _gaps(rows: pd.DataFrame, currency: str) -> list[str]:
    """Return what the narrow columns leave out: why there is no interval, and which seeds are missing."""
    found = []
    for _, row in _each(rows):
        if row["n"] and not is_there(row[f"low_{currency}"]) and row[f"note_{currency}"]:
            note = str(row[f"note_{currency}"]).removeprefix("none: ")
            found.append(f"{row['strategy']} at horizon {row['horizon']:g}: {note}")
        found += [f"{row['strategy']}: {row[what]} {what}" for what in ("unfinished", "missing") if row[what]]
    lost = [incomplete_count(rows["left_out"].iloc[0])] if "left_out" in rows else []
    reached = "Reached: seeds that reached the target, of all."
    return [*lost, reached, *([f"No interval: {'; '.join(found)}"] if found else [])]


def _number(text: str) -> str:
    """Return a cell for LaTeX: bounds and powers of ten in math mode, a gap as a dash."""
    if text == "-":
        return "--"
    if text.startswith(("< ", "> ")):
        return f"${text[0]}{text[2:]}$"
    return _scientific(float(text)) if _POWER.fullmatch(text) else escape(text)


def _accuracy(row: Any, column: str) -> str:
    std = row[f"{column}_std"]
    if not is_there(row[column]):
        return "--"
    return rf"${row[column]:.4f} \pm {std:.4f}$" if is_there(std) else f"{row[column]:.4f}"


def _scientific(value: float) -> str:
    if 0.01 <= abs(value) < 1e6:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    digits, exponent = f"{value:.2e}".split("e")
    return rf"${digits}\times10^{{{int(exponent)}}}$"


def _bold(text: str, really: bool) -> str:
    """Return a cell in bold; \\boldmath is for math mode."""
    return rf"{{\boldmath\textbf{{{text}}}}}" if really else text


def _best_speedups(rows: pd.DataFrame) -> set[int]:
    """Return the positions of the best strategy that held the target; empty if none did."""
    currency = rows["currency"].iloc[0]
    held = rows[f"relation_{currency}"].isin(["=", ">"]) & (rows["strategy"] != REFERENCE)
    return _highest(rows[f"value_{currency}"].astype(float).where(held), 2)


def _highest(values: pd.Series, digits: int = 4) -> set[int]:
    """Return the positions of the highest value; several if they print alike."""
    printed = values.astype(float).round(digits).to_numpy()
    return set(np.flatnonzero(printed == np.nanmax(printed)).tolist()) if not np.isnan(printed).all() else set()


def _each(rows: pd.DataFrame) -> list[tuple[int, Any]]:
    return list(enumerate(row for _, row in rows.iterrows()))


def _sentence(text: str) -> str:
    """Return lines as sentences."""
    lines = [line.rstrip(". ") for line in text.splitlines()]
    return ". ".join(lines) + "."
