"""A leaderboard as a LaTeX table, for a paper: booktabs, the best in bold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.catalog import REFERENCE
from bench.reporting.tables import leaderboard_cells

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
}


def latex_table(rows: pd.DataFrame) -> str:
    """Return one update's leaderboard as a table environment; it needs \\usepackage{booktabs}.

    rows: as bench.analysis.leaderboard gives them. The strategy of the highest speedup among those that held the target, scratch
    aside, is bold.
    """
    heading, headings, cells, notes = leaderboard_cells(rows)
    best = _best(rows)
    columns = "".join("l" if name in ("strategy", "95 % interval") else "r" for name in headings)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(' '.join([*heading.splitlines(), *notes]))}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escape, headings)) + r" \\",
        r"\midrule",
    ]
    for place, row in enumerate(cells):
        texts = [rf"\textbf{{{escape(text)}}}" if place == best else escape(text) for text in row.values()]
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def escape(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _best(rows: pd.DataFrame) -> int | None:
    """Return the place of the best strategy that held the target, or None."""
    currency = rows["currency"].iloc[0]
    held = rows[f"relation_{currency}"].isin(["=", ">"]) & (rows["strategy"] != REFERENCE)
    values = np.where(held, rows[f"value_{currency}"].astype(float), -np.inf)
    return int(values.argmax()) if held.any() else None
