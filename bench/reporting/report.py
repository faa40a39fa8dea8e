"""A scenario's report: a figure for each update, and the tables that it was drawn from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.analysis.frontier import frontiers
from bench.analysis.leaderboard import leaderboard, mean_curves
from bench.analysis.life import whole_life
from bench.records.collect import Records
from bench.reporting.figures import draw_accuracy_against_flops
from bench.reporting.tables import frontier_markdown, life_markdown, markdown_table


def write_report(records: Records, folder: Path) -> list[Path]:
    """Write one scenario's tables and figures into `folder`, and return their paths.

    leaderboard.csv, leaderboard.md: the ranking. accuracy-flops.csv: the curves. accuracy-flops.png, .pdf: drawn from
    the two .csv files, as they were written. frontier.csv, frontier.md: where a strategy was run at several horizons. Of a
    chain, "-update-<k>" is added to these names, for every update; and whole-life.csv, whole-life.md: all updates together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not records.chain:
        return _write_update(records, folder, "")
    paths = []
    for part in records.by_update():
        paths += _write_update(part, folder, f"-update-{part.trials['update'].iloc[0]}")
    return paths + _write_life(records, folder)


def _write_update(records: Records, folder: Path, suffix: str) -> list[Path]:
    ranking, curves = folder / f"leaderboard{suffix}.csv", folder / f"accuracy-flops{suffix}.csv"
    rows = leaderboard(records.trials, records.evals)
    rows.to_csv(ranking, index=False, lineterminator="\n")
    mean_curves(records.trials, records.evals, "flops").to_csv(curves, index=False, lineterminator="\n")
    table = folder / f"leaderboard{suffix}.md"
    table.write_text(markdown_table(rows), encoding="utf-8")
    over_horizons = frontiers(records.trials, records.evals)
    frontier = [folder / f"frontier{suffix}.{kind}" for kind in ("csv", "md")] if len(over_horizons) else []
    if frontier:
        over_horizons.to_csv(frontier[0], index=False, lineterminator="\n")
        frontier[1].write_text(frontier_markdown(over_horizons, "flops"), encoding="utf-8")
    figures = [folder / f"accuracy-flops{suffix}.{kind}" for kind in ("png", "pdf")]
    draw_accuracy_against_flops(pd.read_csv(curves), pd.read_csv(ranking), figures)
    return [ranking, table, curves, *frontier, *figures]


def _write_life(records: Records, folder: Path) -> list[Path]:
    numbers, table = folder / "whole-life.csv", folder / "whole-life.md"
    rows = whole_life(records.trials, records.evals)
    rows.to_csv(numbers, index=False, lineterminator="\n")
    table.write_text(life_markdown(rows), encoding="utf-8")
    return [numbers, table]
