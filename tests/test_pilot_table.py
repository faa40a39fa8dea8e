"""The table of pilots in docs/own-data.md is what the committed records say."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.pilots import HEADER, RESULTS, table


def keyed(lines: list[str]) -> dict[tuple[str, ...], str]:
    """Map scenario, share and strategy to a row."""
    cells = {line: tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines}
    return {(found[0], found[1], found[3]): line for line, found in cells.items()}


def test_the_table_of_pilots_is_what_the_records_say():
    page = (Path(__file__).resolve().parents[1] / "docs" / "own-data.md").read_text(encoding="utf-8").splitlines()
    begin = page.index(HEADER[0]) + len(HEADER)
    end = next(number for number in range(begin, len(page)) if not page[number].startswith("|"))
    shown, found = keyed(page[begin:end]), keyed(list(table(RESULTS / "pilots", [RESULTS])))
    both = shown.keys() & found.keys()
    assert both
    assert {key: shown[key] for key in both} == {key: found[key] for key in both}
