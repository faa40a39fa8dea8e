"""The committed records give the committed reports, and keep the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.collect import collect
from bench.records.rules import check_results
from bench.reporting.page import PAGE_NAME
from bench.reporting.report import write_report
from tests.reporting.page_reader import cells, entries, read_page

_ROOT = Path(__file__).resolve().parents[1]
RESULTS, REPORTS = _ROOT / "results", _ROOT / "reports"


def names() -> list[str]:
    return sorted(path.name for path in RESULTS.iterdir() if path.is_dir())


def test_there_are_results_and_each_has_its_report():
    assert names()
    assert sorted(path.name for path in REPORTS.iterdir() if path.is_dir()) == names()


def test_committed_records_keep_every_rule():
    assert check_results(RESULTS).violations == ()


@pytest.mark.parametrize("name", names())
def test_committed_tables_are_what_the_records_give(name: str, tmp_path: Path):
    written = [path for path in write_report(collect(RESULTS).of(name), tmp_path) if path.suffix in (".csv", ".md")]
    assert len(written) >= 3
    for path in written:
        assert path.read_bytes() == (REPORTS / name / path.name).read_bytes(), path.name


def test_the_committed_page_has_every_row_of_the_committed_tables():
    """Its bytes depend on what drew the figures; its rows do not."""
    shown = {tuple(cells(entry)) for entry in entries(read_page((REPORTS / PAGE_NAME).read_text(encoding="utf-8")))}
    tables = [path.read_text(encoding="utf-8") for path in sorted(REPORTS.glob("*/leaderboard*.md"))]
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split(" | "))
        for table in tables
        for line in table.splitlines()
        if line.startswith("| ") and not line.startswith(("| rank", "| -"))
    }
    assert rows == shown
