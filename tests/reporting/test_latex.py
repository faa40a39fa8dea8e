from __future__ import annotations

import re

import pytest

from bench.analysis.leaderboard import leaderboard
from bench.reporting.latex import escape, latex_table
from tests.analysis.test_leaderboard import FAST, SCRATCH, WEAK, records


@pytest.fixture
def table() -> str:
    return latex_table(leaderboard(*records(SCRATCH | FAST | WEAK)))


def test_the_best_that_held_the_target_is_bold_and_nobody_else(table: str):
    bold = [line for line in table.splitlines() if r"\textbf" in line]
    assert len(bold) == 1
    assert r"\textbf{fast}" in bold[0]
    assert r"\textbf{2.00}" in bold[0]


def test_a_bound_is_set_as_mathematics(table: str):
    weak = next(line for line in table.splitlines() if "weak" in line)
    assert r"$<$ 1.00" in weak


def test_every_line_has_as_many_cells_as_the_table_has_columns(table: str):
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", table).group(1)
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 3
    assert all(len(re.split(r"(?<!\\)&", row)) == len(columns) for row in rows)


def test_environments_and_braces_are_closed(table: str):
    assert table.count(r"\begin{") == table.count(r"\end{") == 2
    bare = re.sub(r"\\[{}]", "", table)
    assert bare.count("{") == bare.count("}")
    assert [table.count(rf"\{name}rule") for name in ("top", "mid", "bottom")] == [1, 1, 1]


def test_without_anyone_that_held_the_target_nobody_is_bold():
    assert r"\textbf" not in latex_table(leaderboard(*records(SCRATCH | WEAK)))


def test_every_special_character_is_escaped():
    assert escape("a_b 50% & #1 {x} $5 ~ ^ \\") == (
        r"a\_b 50\% \& \#1 \{x\} \$5 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
