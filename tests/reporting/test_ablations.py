from __future__ import annotations

from bench.analysis.studies.equal_cost import equal_cost_ablation
from bench.reporting.ablations import ablation_cells
from bench.reporting.layout import fit, text_lines
from tests.analysis.studies.test_equal_cost import HEAD_ALONE, NO_HEAD, NO_START, RECIPE, study, trials

ENDS = {RECIPE: [0.80, 0.81, 0.82], ("r[a]", 0.4): [0.79, 0.79, 0.76], ("r[b]", 0.3): [0.70, 0.709, 0.718]}


def test_a_table_says_what_each_piece_is_worth_on_80_columns():
    ends = ENDS | {("r[c]", 0.35): [0.82, 0.83, 0.84]}
    rows = equal_cost_ablation([study("s", trials("s", ends, {"r[b]": 1030}), NO_START, NO_HEAD, HEAD_ALONE)])
    cells = ablation_cells(rows, "S")
    assert cells.heading == "S\nPieces of r@0.4, at equal cost"
    lines = text_lines(fit(cells, 80), 80)
    assert max(map(len, lines)) <= 80
    assert lines == [
        "change                    difference (95 %)  verdict               cost",
        "without start  -0.0300 (-0.0957 to +0.0357)  no difference shown  1.000",
        "without head   -0.1010 (-0.1035 to -0.0985)  earns its place      1.030",
        "head alone                          +0.0200  -                    1.000",
    ]
    all_columns = dict(zip((column.key for column in cells.columns), cells.rows[1], strict=True))
    assert (all_columns["p"], all_columns["p_holm"], all_columns["horizon"]) == ("3e-05", "7e-05", "0.3")
    assert "for the 2 comparisons of this command" in cells.notes[0]
    assert cells.notes[1].startswith("Not tested: ")
    assert cells.notes[2] == "Cost differs by more than 2 %: without head 1.030."


def test_all_scenarios_together_have_no_horizon_and_say_what_their_mean_is_of():
    one, two = (study(name, trials(name, ENDS), NO_START, NO_HEAD) for name in ("s", "t"))
    rows = equal_cost_ablation([one, two])
    cells = ablation_cells(rows[rows["scenario"] == "all"], "")
    assert cells.heading.startswith("All scenarios together\n")
    assert "horizon" not in [column.key for column in cells.columns]
    assert "mean over scenarios of the mean over seeds" in cells.notes[-1]
