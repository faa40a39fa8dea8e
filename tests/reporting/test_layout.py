from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.reporting.layout import Cells, Column, fit, html_table, markdown, text_lines, wrapped

COLUMNS = (
    Column("rank", "rank"),
    Column("strategy", "strategy", left=True),
    Column("horizon", "horizon", 2),
    Column("speedup", "speedup"),
    Column("test", "test", 1),
)
ROWS = (("-", "scratch", "1", "1.00", "0.5"), ("1", "a-strategy-with-a-long-name", "0.4", "2.43 (1.90 to 2.70)", "0.6"))
TABLE = Cells("Title\nTarget: 0.8", COLUMNS, ROWS, ("A note.",))


def keys(cells: Cells) -> list[str]:
    return [column.key for column in cells.columns]


def test_a_wide_terminal_has_every_column_and_a_narrow_one_the_most_important():
    assert keys(fit(TABLE, 200)) == ["rank", "strategy", "horizon", "speedup", "test"]
    # 4 + 27 + 19 and two gaps are 54; test takes 6 more, horizon 9 more.
    assert keys(fit(TABLE, 60)) == ["rank", "strategy", "speedup", "test"]
    assert keys(fit(TABLE, 68)) == ["rank", "strategy", "speedup", "test"]
    assert keys(fit(TABLE, 69)) == ["rank", "strategy", "horizon", "speedup", "test"]
    assert keys(fit(TABLE, 59)) == keys(fit(TABLE, 10)) == ["rank", "strategy", "speedup"]


def test_prose_goes_on_in_further_lines_of_its_column():
    columns = (Column("rule", "rule", left=True), Column("found", "asked, or found", left=True, prose=True))
    cells = Cells("", columns, (("clock", "The phases of the clock account for the wall time"), ("commit", "Clean")))
    assert text_lines(fit(cells, 36), 36) == [
        "rule    asked, or found",
        "clock   The phases of the clock",
        "        account for the wall time",
        "commit  Clean",
    ]


@given(st.integers(40, 200))
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width: int):
    lines = text_lines(fit(TABLE, width), width)
    assert max(map(len, lines)) <= width
    assert lines[2].rstrip().endswith("2.43 (1.90 to 2.70)") or "  2.43 (1.90 to 2.70)  " in lines[2]


def test_a_name_that_does_not_fit_is_cut_with_an_ellipsis():
    assert text_lines(fit(TABLE, 45), 45) == [
        "rank  strategy                        speedup",
        "   -  scratch                            1.00",
        "   1  a-strate…long-name  2.43 (1.90 to 2.70)",
    ]
    assert "a-strategy-with-a-long-name" in text_lines(TABLE)[2]


def test_wide_characters_take_two_places():
    cells = Cells("", (Column("a", "a", left=True), Column("b", "b")), (("模型", "1"), ("x", "2")))
    assert text_lines(cells) == ["a     b", "模型  1", "x     2"]


def test_columns_keep_their_own_order_whatever_is_asked_for():
    assert keys(TABLE.only(["test", "rank"])) == ["rank", "test"]
    assert TABLE.only(["test", "rank"]).rows == (("-", "0.5"), ("1", "0.6"))


@pytest.mark.parametrize(
    ("text", "width", "lines"), [("a b c", None, ["a b c"]), ("x" * 15 + " " + "y" * 9, 20, ["x" * 15, "y" * 9])]
)
def test_notes_break_between_words(text: str, width: int | None, lines: list[str]):
    assert wrapped(text, width) == lines


def test_markdown_and_html_have_every_cell_and_nothing_is_markup():
    hostile = Cells("<b>", (Column("a", "a|b", left=True),), (("x|y <script>",),), ("a & b",))
    assert r"x\|y <script>" in markdown(hostile)
    page = html_table(hostile)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;" in page
    assert "a &amp; b" in page
