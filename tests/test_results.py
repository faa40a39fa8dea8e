"""The committed records give the committed reports, and keep the rules."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.records.collect import collect
from bench.records.rules import check_results
from bench.reporting.figures.sheet import NO_PICTURES
from bench.reporting.page import PAGE_NAME
from bench.reporting.report import write_report, write_reports
from tests.reporting.page_reader import cells, entries, read_page

_ROOT = Path(__file__).resolve().parents[1]
RESULTS, REPORTS = _ROOT / "results", _ROOT / "reports" / "published"


def names() -> list[str]:
    return sorted(collect(RESULTS, columns=()).scenarios())


def assert_same(written: Path, committed: Path) -> None:
    """Texts to the byte; tables to the last digits of their numbers, which depend on the processor's order of summing."""
    if written.suffix == ".csv":
        tables = pd.read_csv(written), pd.read_csv(committed)
        pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=1e-12, atol=1e-15, obj=written.name)
    else:
        assert written.read_bytes() == committed.read_bytes(), written.name


def test_there_are_results_and_each_has_its_report():
    assert names()
    assert sorted(path.name for path in REPORTS.iterdir() if path.is_dir()) == names()


def test_committed_records_keep_every_rule():
    assert check_results(RESULTS).violations == ()


@pytest.mark.parametrize("name", names())
def test_committed_tables_and_captions_are_what_the_records_give(name: str, tmp_path: Path):
    written = write_report(collect(RESULTS).of(name), tmp_path, NO_PICTURES)
    assert len(written) >= 3
    for path in written:
        assert_same(path, REPORTS / name / path.name)
    committed = {path.name for path in (REPORTS / name).iterdir() if path.suffix in (".csv", ".md", ".txt")}
    assert committed == {path.name for path in written}


def test_the_committed_page_has_every_row_of_the_committed_tables():
    """Its bytes depend on what drew the figures; its rows do not."""
    shown = {tuple(cells(entry)) for entry in entries(read_page((REPORTS / PAGE_NAME).read_text(encoding="utf-8")))}
    tables = [path.read_text(encoding="utf-8") for path in sorted(REPORTS.glob("*/leaderboard*.md"))]
    rows = {
        tuple(cell.strip() for cell in line.strip("|").split(" | "))
        for table in tables
        for line in table.splitlines()
        if line.startswith("| ") and not line.startswith(("| rank", "| --"))
    }
    assert rows == shown


def test_what_compares_the_committed_scenarios_is_what_the_records_give(tmp_path: Path):
    written = write_reports(collect(RESULTS).parts(None), tmp_path, NO_PICTURES)
    together = [path for path in written if path.parent == tmp_path]
    # None where no strategy was run, at one length, in every scenario.
    assert {path.name for path in together} == {
        path.name for path in REPORTS.glob("*.*") if path.suffix in (".csv", ".txt")
    }
    for path in together:
        assert_same(path, REPORTS / path.name)


def test_every_committed_figure_lies_beside_its_table():
    pictures = [path for path in REPORTS.rglob("*") if path.suffix in (".pdf", ".svg", ".png")]
    assert pictures
    for path in pictures:
        assert path.with_name(f"{path.stem.removesuffix('-column')}.csv").is_file(), path.name
