"""Builds the content of the page from records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.analysis.ranking.aggregate import seed_speedups
from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.pooled import pool
from bench.analysis.studies.frontier import frontiers
from bench.analysis.studies.life import whole_life
from bench.records.collect import Records
from bench.reporting.incomplete import incomplete_note, noted
from bench.reporting.layout import Cells
from bench.reporting.page.anchors import Anchors
from bench.reporting.page.content import Board, Entry, Figure, Grid, Page, Section
from bench.reporting.page.details import details_of
from bench.reporting.page.pictures import Pictures
from bench.reporting.tables import frontier_cells, leaderboard_cells, life_cells, pooled_cells
from bench.reporting.verdict import best_saving, verdict_lines


def build_page(
    parts: Sequence[Records], reports: Path, written: Sequence[Path] = (), *, only: str | None = None
) -> Page:
    """Return the page's content for these scenarios.

    parts: as returned by Records.parts. written: a report's files below `reports`, from which figures are taken. only: the
    scenario's name, if a single one was requested.
    Raises RecordError as the leaderboard does.
    """
    pictures = Pictures(written, reports)
    anchors = Anchors()
    found = [_section(part, reports / part.name, pictures, anchors) for part in parts]
    boards = [rows for _, ranked in found for rows in ranked]
    pooled = _together(parts, boards) if len(parts) > 1 else pd.DataFrame()
    return Page(
        sections=tuple(section for section, _ in found),
        pooled=None if pooled.empty else _grid(noted(pooled_cells(pooled), *parts)),
        figures=pictures.of(reports, None),
        devices=tuple(sorted({device for rows in boards for device in rows["device"] if device})),
        trials=sum(len(part.trials) for part in parts),
        incomplete=incomplete_note([each for part in parts for each in part.unreadable]),
        only=only,
    )


def _section(
    records: Records, folder: Path, pictures: Pictures, anchors: Anchors
) -> tuple[Section, list[pd.DataFrame]]:
    """Return one scenario and its leaderboards."""
    parts = records.by_update()
    ranked = [leaderboard(part.trials, part.evals) for part in parts]
    boards = [
        _board(part, rows, pictures.of(folder, part.update if records.chain else None), anchors)
        for part, rows in zip(parts, ranked, strict=True)
    ]
    section = Section(
        anchor=anchors.of("scenario", records.name),
        name=records.name,
        title=records.trials["scenario_title"].iloc[0],
        boards=tuple(boards),
        life=_grid(noted(life_cells(whole_life(records.trials, records.evals)), records)) if records.chain else None,
        figures=pictures.of(folder, None) if records.chain else (),
    )
    return section, ranked


def _board(records: Records, rows: pd.DataFrame, figures: tuple[Figure, ...], anchors: Anchors) -> Board:
    cells = noted(leaderboard_cells(rows), records)
    over_horizons = frontiers(records.trials, records.evals)
    updates = int(rows["updates"].iloc[0])
    where = (records.name, f"update-{records.update}") if updates > 1 else (records.name,)
    entries = [
        Entry(
            anchors.of(*where, f"{row['strategy']}@{row['horizon']:g}"),
            row["strategy"],
            row["title"],
            row["device"],
            texts,
            details,
        )
        for row, texts, details in zip(
            rows.to_dict("records"), cells.rows, details_of(rows, records.trials, records.evals), strict=True
        )
    ]
    return Board(
        update=f"Update {records.update} of {updates}" if updates > 1 else "",
        best=best_saving(rows, over_horizons),
        verdict=verdict_lines(rows, over_horizons),
        caption=" ".join(cells.heading.split("\n")[1:]),
        headings=tuple(column.heading for column in cells.columns),
        entries=tuple(entries),
        notes=cells.notes,
        frontier=None if over_horizons.empty else _grid(noted(frontier_cells(over_horizons, "flops"), records)),
        figures=figures,
    )


def _grid(cells: Cells) -> Grid:
    return Grid(cells.heading, tuple(column.heading for column in cells.columns), cells.rows, cells.notes)


def _together(parts: Sequence[Records], boards: Sequence[pd.DataFrame]) -> pd.DataFrame:
    updates = [update for part in parts for update in part.by_update()]
    return pool(boards, [seed_speedups(each.trials, each.evals) for each in updates])
