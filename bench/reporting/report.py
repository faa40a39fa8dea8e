"""A scenario's report: figures for each update, and the tables that they were drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.studies.frontier import frontiers
from bench.analysis.studies.life import whole_life
from bench.files import make_folder, remove, write_text
from bench.records.collect import Records
from bench.reporting.figures.gallery import write_figures, write_overview
from bench.reporting.figures.sheet import EVERY_PRINT, OUTPUTS, Prints, read_table, write_table
from bench.reporting.incomplete import marked, noted
from bench.reporting.layout import markdown
from bench.reporting.tables import frontier_cells, leaderboard_cells, life_cells
from bench.reporting.verdict import verdict_lines


def write_reports(parts: Sequence[Records], reports: Path, prints: Prints = EVERY_PRINT) -> Iterator[Path]:
    """Write each scenario's report into `reports`/<scenario>, and what compares several into `reports`; yield every path."""
    boards = []
    for part in parts:
        paths = write_report(part, reports / part.name, prints)
        boards += [read_table(path) for path in paths if path.match("leaderboard*.csv")]
        yield from paths
    if len(parts) > 1:
        updates = [update for part in parts for update in part.by_update()]
        yield from write_overview(updates, boards, reports, prints)


def write_report(records: Records, folder: Path, prints: Prints = EVERY_PRINT) -> list[Path]:
    """Write one scenario's tables and figures into `folder`, and return their paths.

    leaderboard.csv, leaderboard.md: the ranking. frontier.csv, frontier.md: where a strategy was run at several horizons. Of each
    figure that there is anything to show in: <figure>.csv, its table; <figure>.caption.txt; and the pictures that `prints` asks
    for, drawn from its table and leaderboard.csv, as they were written. Of a chain, "-update-<k>" is added to these names, for
    every update; and whole-life.csv, whole-life.md: all updates together. A figure of an earlier report that has nothing to show
    any more is deleted, with its table and caption: it would lie beside tables of other records.
    """
    make_folder(folder)
    paths = []
    for part in records.by_update():
        suffix = f"-update-{part.update}" if records.chain else ""
        paths += _write_update(part, folder, suffix, prints)
    if records.chain:
        paths += _write_life(records, folder)
    _delete_outdated(folder, paths)
    return paths


def write_frontier(records: Records, folder: Path, prints: Prints = EVERY_PRINT) -> list[Path]:
    """Write one scenario's leaderboard and frontier into `folder`, with the frontier's figure alone, and return their paths.

    The names are those of write_report. Nothing is deleted.
    """
    make_folder(folder)
    paths = []
    for part in records.by_update():
        suffix = f"-update-{part.update}" if records.chain else ""
        paths += _write_update(part, folder, suffix, prints, only="frontier-flops")
    return paths


def _delete_outdated(folder: Path, written: Sequence[Path]) -> None:
    """Delete figures that were not written this time. A caption tells bench's figures from files of the user's own."""
    for caption in sorted(set(folder.glob("*.caption.txt")) - set(written)):
        name = caption.name.removesuffix(".caption.txt")
        for path in (caption, *(folder / f"{name}{end}" for end in OUTPUTS)):
            remove(path)


def _write_update(records: Records, folder: Path, suffix: str, prints: Prints, only: str | None = None) -> list[Path]:
    ranking, table = folder / f"leaderboard{suffix}.csv", folder / f"leaderboard{suffix}.md"
    rows = leaderboard(records.trials, records.evals)
    write_table(marked(rows, records), ranking)
    over_horizons = frontiers(records.trials, records.evals)
    verdict = "\n".join(verdict_lines(rows, over_horizons))
    write_text(table, markdown(noted(leaderboard_cells(rows, verdict), records)))
    frontier = [folder / f"frontier{suffix}.{kind}" for kind in ("csv", "md")] if len(over_horizons) else []
    if frontier:
        write_table(marked(over_horizons, records), frontier[0])
        write_text(frontier[1], markdown(noted(frontier_cells(over_horizons, "flops"), records)))
    return [ranking, table, *frontier, *write_figures(records, folder, suffix, read_table(ranking), prints, only)]


def _write_life(records: Records, folder: Path) -> list[Path]:
    numbers, table = folder / "whole-life.csv", folder / "whole-life.md"
    rows = whole_life(records.trials, records.evals)
    write_table(marked(rows, records), numbers)
    write_text(table, markdown(noted(life_cells(rows), records)))
    return [numbers, table]
