"""The committed records give the committed reports, and keep the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.records.collect import collect
from bench.records.rules import check_results
from bench.reporting.report import write_report

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
