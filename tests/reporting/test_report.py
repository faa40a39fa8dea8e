from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.records.collect import Records
from bench.reporting.figures.sheet import NO_PICTURES, Prints
from bench.reporting.layout import markdown, text_lines
from bench.reporting.report import write_report
from bench.reporting.tables import leaderboard_cells
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records
from tests.analysis.studies.test_life import chain_of


@pytest.fixture
def three() -> Records:
    return Records(*records(SCRATCH | FAST | WEAK))


def figure_files(*names: str) -> set[str]:
    """Return the files of figures, by name."""
    return {f"{name}.{kind}" for name in names for kind in (*TEXT, "svg")}


SVG = Prints(("svg",), ())  # what is drawn fastest; tests/reporting/test_figure_files.py has every format
TEXT = ("csv", "caption.txt")
CURVES = ("accuracy-steps", "accuracy-images", "accuracy-flops", "accuracy-device-seconds")
FIGURES = (*CURVES, "speedup-target", "seed-crossings")


def test_a_report_is_figures_and_the_tables_they_were_drawn_from(three: Records, tmp_path: Path):
    paths = {path.name: path for path in write_report(three, tmp_path, SVG)}
    assert set(paths) == {"leaderboard.csv", "leaderboard.md", *figure_files(*FIGURES)}
    assert len(pd.read_csv(paths["accuracy-flops.csv"])) == 4 + 2 + 4
    assert pd.read_csv(paths["leaderboard.csv"])["strategy"].tolist() == ["scratch", "fast", "weak"]


def test_a_chains_report_has_figures_for_each_update_and_its_whole_life(tmp_path: Path):
    records = Records(*chain_of(SCRATCH | FAST | WEAK, SCRATCH | FAST | WEAK, SCRATCH | FAST))
    names = {path.name for path in write_report(records, tmp_path, NO_PICTURES)}
    kinds = ("leaderboard{}.csv", "leaderboard{}.md", *(f"{name}{{}}.{kind}" for name in FIGURES for kind in TEXT))
    updates = {kind.format(f"-update-{number}") for kind in kinds for number in (1, 2, 3)}
    assert names == {*updates, "whole-life.csv", "whole-life.md"}
    assert "**S, update 2 of 3**" in (tmp_path / "leaderboard-update-2.md").read_text()
    assert (tmp_path / "accuracy-flops-update-2.caption.txt").read_text().startswith("S, update 2 of 3. Validation")
    life = (tmp_path / "whole-life.md").read_text()
    assert "**S, whole life**" in life
    # Base 5,000; scratch 40,400 an update, fast 20,200: 126,200 / 65,600.
    assert (
        "| fast | 0.5 | 1.92 | 3 of 3 | 2 | - | 1.60 | 6.560e+04 | 5.000e+03 | 2.020e+04 | 2.020e+04 | 2.020e+04 |"
        in life
    )
    assert "| weak | 1 | - | - | 0 | - |" in life  # it has no update 3


def test_a_table_says_which_strategies_had_only_a_share_of_the_old_images():
    trials, evals = records(SCRATCH | FAST)
    trials.loc[trials["strategy"] == "fast", "old_share"] = 0.2
    table = leaderboard(trials, evals)
    assert "Memory: scratch was trained on all old images; fast had 20.0% of them." in markdown(
        leaderboard_cells(table)
    )


@pytest.mark.parametrize(
    "curves",
    [
        SCRATCH,
        SCRATCH | WEAK,
        {("scratch", 1.0): {0: [0.5, 0.8]}},
        SCRATCH | {("late", 0.5): {5: [0.9]}},
        SCRATCH | {(f"s{n}", 0.5): {0: [0.1 * n], 1: [0.1 * n]} for n in range(1, 10)},
    ],
    ids=["scratch alone", "all censored", "one seed", "no common seed", "ten strategies"],
)
def test_a_report_is_drawn_for_any_records(curves: dict, tmp_path: Path):
    names = {path.name for path in write_report(Records(*records(curves)), tmp_path, SVG)}
    assert {f"{name}.svg" for name in (*CURVES, "seed-crossings")} <= names


def test_the_table_says_bounds_seeds_and_where_the_target_comes_from(three: Records):
    cells = leaderboard_cells(leaderboard(three.trials, three.evals))
    assert "Target: validation accuracy 0.8000 ± 0.0000, provisional (mean of scratch's 2 seeds)" in cells.heading
    scratch, fast, weak = text_lines(cells)[1:]
    assert scratch.split()[:5] == ["-", "scratch", "1", "1.00", "2"]  # the reference: no rank, and it reaches nothing
    assert "< 1.00" in weak
    assert "0 of 2" in weak
    assert "censored" in weak
    assert "2.00" in fast
    assert "2 of 2" in fast
    assert "2.520e+04" in fast  # 20,200 of the update and 5,000 of the base
    assert "n = 2 is too small" in fast


def test_a_strategy_without_a_common_seed_is_in_the_table():
    table = leaderboard(*records(SCRATCH | {("late", 0.5): {5: [0.9]}}))
    assert "| 1 | late | 0.5 | - | 0 (2 missing) | - |" in markdown(leaderboard_cells(table))


def test_markdown_has_a_row_a_strategy_and_as_many_cells_as_headings(three: Records):
    lines = [
        line
        for line in markdown(leaderboard_cells(leaderboard(three.trials, three.evals))).splitlines()
        if line[:1] == "|"
    ]
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1


def test_a_figure_that_has_nothing_to_show_any_more_is_deleted_and_nothing_else_is(three: Records, tmp_path: Path):
    kept = {path.name for path in write_report(three, tmp_path, SVG)}
    for name in ("old.caption.txt", "old.csv", "old.svg", "old-column.pdf", "older.svg", "mine.csv"):
        (tmp_path / name).write_text("")
    write_report(three, tmp_path, SVG)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "older.svg", "mine.csv"}
