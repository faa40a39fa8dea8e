from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.pooled import pool
from bench.analysis.studies.frontier import frontiers
from bench.analysis.studies.life import whole_life
from bench.reporting.latex import escape, latex_plain, latex_table
from bench.reporting.tables import frontier_cells, life_cells, pooled_cells
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records
from tests.analysis.studies.test_life import chain_of


@pytest.fixture
def table() -> str:
    return latex_table(leaderboard(*records(SCRATCH | FAST | WEAK)))


def _line(table: str, name: str) -> str:
    return next(line for line in table.splitlines() if line.startswith((name, escape(name))))


def test_only_the_best_that_held_the_target_is_bold(table: str):
    bold = [line for line in table.splitlines() if r"\textbf{2.00}" in line]
    assert bold == [_line(table, "fast")]
    assert r"\textbf{1.00}" not in table  # scratch's own


def test_a_bound_is_in_math_mode(table: str):
    assert "$<1.00$" in _line(table, "weak")


def test_an_interval_is_in_brackets_and_its_absence_has_a_reason():
    rows = leaderboard(*records(SCRATCH | FAST))
    rows.loc[rows["strategy"] == "fast", ["low_flops", "high_flops", "note_flops"]] = [1.5, 2.625, "t, n = 3"]
    table = latex_table(rows)
    assert "[1.50, 2.62]" in _line(table, "fast")
    assert "No interval: scratch at horizon 1: by definition." in table


def test_costs_are_powers_of_ten_and_seeds_are_counted():
    rows = leaderboard(*records(SCRATCH | FAST))
    rows.loc[rows["strategy"] == "fast", "cost_flops"] = 5.665e13
    assert r"$5.67\times10^{13}$" in latex_table(rows) or r"$5.66\times10^{13}$" in latex_table(rows)
    fast = rows[rows["strategy"] == "fast"].iloc[0]
    assert f"{fast['n']}/{fast['n']}" in _line(latex_table(rows), "fast")


def test_accuracies_that_print_the_same_are_both_bold():
    rows = leaderboard(*records(SCRATCH | FAST))
    rows["validation_accuracy"] = [0.91234, 0.91231]
    assert latex_table(rows).count(r"\textbf{$0.9123") == 2 or latex_table(rows).count(r"\textbf{0.9123") == 2


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-recommended)")
def test_a_document_with_every_table_compiles_and_none_is_wider_than_the_page(tmp_path: Path):
    hostile = leaderboard(*records(SCRATCH | FAST | WEAK))
    hostile["strategy"] = hostile["strategy"].replace("weak", r"_%\{}$&~^#<>")
    chain = chain_of(SCRATCH | FAST | WEAK, SCRATCH | FAST | WEAK)
    trials, evals = records(SCRATCH | FAST | WEAK)
    longer = [frame[frame["strategy"] == "fast"].assign(horizon=1.0) for frame in (trials, evals)]
    both = frontiers(*(pd.concat([frame, more]) for frame, more in zip((trials, evals), longer, strict=True)))
    assert len(both) == 1
    tables = [
        latex_table(hostile),
        latex_plain(life_cells(whole_life(*chain))),
        latex_plain(frontier_cells(both, "flops")),
    ]
    tables.append(latex_plain(pooled_cells(pool([leaderboard(trials, evals)] * 2))))
    document = [r"\documentclass[11pt]{article}", r"\usepackage[margin=1in]{geometry}", r"\usepackage{booktabs}"]
    text = "\n".join([*document, r"\begin{document}", *tables, r"\end{document}"])
    (tmp_path / "sample.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "sample.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "Overfull" not in ran.stdout
    assert (tmp_path / "sample.pdf").read_bytes().startswith(b"%PDF")


def test_every_line_has_a_cell_per_column(table: str):
    columns = re.search(r"\\begin\{tabular\}\{([lrc]+)\}", table).group(1)
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 3
    assert all(len(re.split(r"(?<!\\)&", row)) == len(columns) for row in rows)


def test_environments_and_braces_are_closed(table: str):
    assert table.count(r"\begin{") == table.count(r"\end{") == 2
    bare = re.sub(r"\\[{}]", "", table)
    assert bare.count("{") == bare.count("}")
    assert [table.count(rf"\{name}rule") for name in ("top", "mid", "bottom")] == [1, 1, 1]


def test_if_no_strategy_held_the_target_no_speedup_is_bold():
    lines = latex_table(leaderboard(*records(SCRATCH | WEAK))).splitlines()
    assert not any(r"\textbf" in line.split("&")[3] for line in lines if line.endswith(r"\\"))


def test_every_special_character_is_escaped():
    assert escape("a_b 50% & #1 {x} $5 ~ ^ \\") == (
        r"a\_b 50\% \& \#1 \{x\} \$5 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
