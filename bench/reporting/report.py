"""A scenario's report: one figure and the tables that it was drawn from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.analysis.leaderboard import leaderboard, mean_curves
from bench.records.collect import Records
from bench.reporting.figures import draw_accuracy_against_flops
from bench.reporting.tables import markdown_table


def write_report(records: Records, folder: Path) -> list[Path]:
    """Write one scenario's tables and figure into `folder`, and return their paths.

    leaderboard.csv, leaderboard.md: the ranking. accuracy-flops.csv: the curves. accuracy-flops.png, .pdf: drawn from
    the two .csv files, as they were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ranking, curves = folder / "leaderboard.csv", folder / "accuracy-flops.csv"
    rows = leaderboard(records.trials, records.evals)
    rows.to_csv(ranking, index=False, lineterminator="\n")
    mean_curves(records.trials, records.evals, "flops").to_csv(curves, index=False, lineterminator="\n")
    table = folder / "leaderboard.md"
    table.write_text(markdown_table(rows), encoding="utf-8")
    figures = [folder / f"accuracy-flops.{kind}" for kind in ("png", "pdf")]
    draw_accuracy_against_flops(pd.read_csv(curves), pd.read_csv(ranking), figures)
    return [ranking, table, curves, *figures]
