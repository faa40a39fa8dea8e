"""Curves from elsewhere: read strictly, shown with their mark, and in no ranking."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import bench
from bench.catalog import shipped_folder
from bench.cli.main import main
from bench.errors import RecordError
from bench.records.imported import MARK, read_curves

HEAD = "step,cost,accuracy,seed,strategy\n"
NAME = "cifar100-70-30-lite"


def say(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("", "no line below the columns' names"),
        ("1,2,0.5,0\n", "line 2: found 4 cells, expected 5"),
        ("0,2,0.5,0,a\n", "line 2, column step: found '0', expected a whole number above 0"),
        ("1.5,2,0.5,0,a\n", "line 2, column step: found '1.5'"),
        ("1,2,0.5,0,a\n2,x,0.5,0,a\n", "line 3, column cost: found 'x', expected FLOPs"),
        ("1,nan,0.5,0,a\n", "line 2, column cost: found 'nan'"),
        ("1,-2,0.5,0,a\n", "line 2, column cost: found '-2'"),
        ("1,2,54.3,0,a\n", "line 2, column accuracy: found '54.3', expected a share from 0 to 1"),
        ("1,2,0.5,100,a\n", "line 2, column seed: found '100', expected a whole number below 100"),
        ("1,2,0.5,0, \n", "line 2, column strategy: found '', expected a printable name"),
        ("2,3,0.5,0,a\n1,4,0.5,0,a\n", "line 2, column cost: found 3, but a seed 0 had cost 4 at step 1"),
        ("1,2,0.5,0,a\n1,2,0.5,0,a\n", "column step: a seed 0 has step 1 twice"),
        ("1,2,0.5,0,a\n2,3,0.5,1,a\n", "line 3, column step: a was measured at 1 steps with seed 1, and at other ones"),
        ('1,2,0.5,0,"a\n', "line 2"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(rows: str, complaint: str, tmp_path: Path):
    path = tmp_path / "curves.csv"
    path.write_text(HEAD + rows)
    result = say("import", path, "--scenario", NAME, "--results", tmp_path / "runs")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert complaint in result.stderr
    assert not (tmp_path / "runs").exists()


def test_columns_may_come_in_any_order_and_others_are_refused(tmp_path: Path):
    path = tmp_path / "curves.csv"
    path.write_text("\ufeffstrategy, seed,accuracy,cost,step\r\na,1,0.25,1e9,10\r\n", encoding="utf-8")
    assert read_curves(path).to_dict("records") == [
        {"step": 10, "cost": 1e9, "accuracy": 0.25, "seed": 1, "strategy": "a"}
    ]
    path.write_text("step,cost,accuracy,seed\n1,2,0.5,0\n")
    with pytest.raises(RecordError, match="line 1: found the columns step, cost, accuracy, seed, expected step"):
        read_curves(path)


def curves_of(results: bench.Results, strategy: str, factor: float) -> str:
    """Return a shipped strategy's evaluations as a CSV, each cost multiplied."""
    rows = results.evaluations
    mine = rows[(rows["scenario"] == NAME) & (rows["strategy"] == strategy) & (rows["horizon"] == 1.0)]
    cost = factor * (mine["train_flops"] + mine["aux_flops"])
    columns = zip(mine["step"], cost, mine["validation_accuracy"], mine["seed"], strict=True)
    return HEAD + "".join(f"{step},{flops!r},{accuracy!r},{seed},mine\n" for step, flops, accuracy, seed in columns)


def test_imported_curves_are_compared_as_recorded_ones_marked_and_change_no_other_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shipped = bench.load_results(shipped_folder("results"))
    before = shipped.leaderboard(NAME)
    (tmp_path / "curves.csv").write_text(curves_of(shipped, "naive", 0.5))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / NAME).symlink_to(shipped_folder("results") / NAME)  # reads the records, ...
    monkeypatch.setattr("bench.records.imported.imported_files", lambda results, scenario: [tmp_path / "curves.csv"])
    found = bench.load_results(tmp_path / "runs").leaderboard(NAME)  # ... and writes nothing among them
    own = found.frame[~found.frame["imported"].astype(bool)].drop(columns="imported")
    assert own["strategy"].tolist() == before.frame["strategy"].tolist()
    assert own["rank"].tolist() == before.frame["rank"].tolist()
    assert own["value_flops"].tolist() == pytest.approx(before.frame["value_flops"].tolist(), nan_ok=True)
    (row,) = found.frame[found.frame["imported"].astype(bool)].to_dict("records")
    (naive,) = own[(own["strategy"] == "naive") & (own["horizon"] == 1.0)].to_dict("records")
    assert row["strategy"] == f"mine{MARK}"
    assert row["value_flops"] == pytest.approx(2 * naive["value_flops"])  # half the cost at the same accuracy
    assert row["n"] == naive["n"]
    lines = [" ".join(cells) for cells in found.cells.rows]
    assert lines[-1].startswith(f"- mine{MARK}")
    assert any("not audited and not ranked" in note for note in found.cells.notes)
    assert found.verdict == before.verdict
    assert "imported, not audited" in found.latex()
    assert not any(
        "nan" in cell.lower() for cells in found.cells.rows for cell in cells
    )  # its test accuracy is unknown
    best = next(line for line in found.latex().splitlines() if line.startswith("mine"))
    assert "textbf" not in best  # it is not ranked
    assert "nan" not in found.latex()


def test_a_file_is_kept_once_and_check_reads_it(tmp_path: Path):
    path, runs = tmp_path / "curves.csv", tmp_path / "runs"
    path.write_text(f"{HEAD}1,2,0.5,0,a\n")
    result = say("import", path, "--scenario", NAME, "--results", runs)
    assert result.exit_code == 0, result.output
    assert "1 evaluations of 1 strategy, imported, not audited" in result.stdout
    assert say("import", path, "--scenario", NAME, "--results", runs).exit_code == 0  # the same again
    path.write_text(f"{HEAD}1,2,0.6,0,a\n")
    assert "holds other curves. Remove it first" in say("import", path, "--scenario", NAME, "--results", runs).stderr
    other = tmp_path / "others.csv"
    other.write_text(f"{HEAD}1,2,0.5,0,a\n")
    assert "has curves of a already" in say("import", other, "--scenario", NAME, "--results", runs).stderr


def test_check_accepts_imported_curves_and_names_damaged_ones(tmp_path: Path):
    import shutil

    runs = tmp_path / "runs"
    name = "glyphs-sans-serif"
    shutil.copytree(next(path for path in shipped_folder("results").glob(name)), runs / name)
    before = bench.load_results(runs).check()
    (tmp_path / "curves.csv").write_text(f"{HEAD}1,2,0.5,0,a\n")
    found = bench.import_curves(tmp_path / "curves.csv", name, results=runs)
    assert bench.load_results(runs).check().frame.equals(before.frame)
    found.path.write_text(f"{HEAD}1,2,50,0,a\n")
    (broken,) = bench.load_results(runs).check().frame.query("rule == 'readable'").to_dict("records")
    assert "line 2, column accuracy" in broken["found"]
