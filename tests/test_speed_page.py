"""The table in docs/speed.md is what the committed records give. To write it again: python -m tests.test_speed_page"""

from __future__ import annotations

from pathlib import Path

from bench.records.speed import HarnessRecord, ThroughputRecord, read_speeds
from bench.reporting.layout import markdown, text_lines
from bench.reporting.speed import harness_cells, speed_cells, throughput_cells

_ROOT = Path(__file__).resolve().parents[1]
_PAGE = _ROOT / "docs" / "speed.md"
_COLUMNS = (
    "model",
    "image",
    "precision",
    "step",
    "processor",
    "images_per_second",
    "bare",
    "bare_cpu",
    "usual",
    "usual_cpu",
    "evaluation",
    "others",
)


def _table() -> str:
    lines = markdown(speed_cells(read_speeds(_ROOT / "results")).pick(_COLUMNS)).splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))


def _parts() -> tuple[str, str, str]:
    """Return what is above the first table, that table, and what is below it."""
    lines = _PAGE.read_text(encoding="utf-8").splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("|"))
    end = next(place for place, line in enumerate(lines) if place > first and not line.startswith("|"))
    return "\n".join(lines[:first]), "\n".join(lines[first:end]), "\n".join(lines[end:])


def test_the_table_of_speeds_is_what_the_records_give():
    assert _parts()[1] == _table()


def test_the_tables_of_the_harness_and_of_processes_are_what_their_records_give():
    folder = _ROOT / "results" / "speed"
    tables = [harness_cells(HarnessRecord.model_validate_json(path.read_bytes())) for path in folder.glob("harness/*")]
    tables += [
        throughput_cells(ThroughputRecord.model_validate_json(path.read_bytes())) for path in folder.glob("processes/*")
    ]
    assert tables
    for cells in tables:
        text = "\n".join(["```text", cells.heading, *text_lines(cells, None), "```"])
        assert text in _PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    above, _, below = _parts()
    _PAGE.write_text(f"{above}\n{_table()}\n{below}\n", encoding="utf-8")
