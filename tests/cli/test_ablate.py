from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.test_main import bench, refused

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(tiny: Path, tmp_path: Path) -> list[str | Path]:
    """One piece, on two scenarios that differ in their name alone."""
    other = tmp_path / "other.toml"
    other.write_text(tiny.read_text().replace('"tiny"', '"other"'))
    folders = ["--results", tmp_path / "runs", "--cache", tmp_path / "cache", "--device", "cpu", "--seeds", "0-1"]
    scenarios = ["--scenario", tiny, "--scenario", other]
    return ["ablate", "--strategy", "naive[schedule.peak=0.02]", *scenarios, *folders]


def test_a_dry_run_prints_variants_with_their_costs_and_writes_nothing(command: list[str | Path], tmp_path: Path):
    result = bench(*command, "--dry-run")
    assert result.exit_code == 0, result.output
    row = next(line for line in result.stdout.splitlines() if line.startswith("without schedule"))
    assert row.split()[2:7] == ["1", "16", "1.000", "2", "2"]
    assert not (tmp_path / "runs").exists()
    rows = pd.read_csv(io.StringIO(bench(*command, "--dry-run", "--format", "csv").stdout))
    assert set(rows["table"]) == {"ablation_plan"}
    assert rows["strategy"].tolist() == ["naive[schedule.peak=0.02]", "naive"] * 2
    assert_documented(rows)


def test_an_ablation_runs_what_is_due_and_says_what_each_piece_is_worth(command: list[str | Path], tmp_path: Path):
    first = bench(*command)
    assert first.exit_code == 0, first.output
    assert first.stderr.count("4 trials: 4 to run, 0 finished already") == 2
    assert f"records: {tmp_path / 'runs' / 'other'}" in first.stdout
    assert first.stdout.count("without schedule") == 3
    assert "All scenarios together" in first.stdout
    assert "for the 3 comparisons of this command" in first.stdout
    again = bench(*command, "--format", "csv")
    assert again.stderr.count("4 trials: 0 to run, 4 finished already") == 2
    rows = pd.read_csv(io.StringIO(again.stdout))
    assert rows["scenario"].tolist() == ["tiny", "other", "all"]
    assert rows["n"].tolist() == [2, 2, 4]
    assert rows["cost"].tolist() == [1, 1, 1]
    ends = {}
    for path in (tmp_path / "runs" / "tiny").rglob("trial.json"):
        record = json.loads(path.read_text())
        ends[record["strategy"]["name"], record["seed"]] = record["summary"]["validation_accuracy"]
    differences = [ends["naive", seed] - ends["naive[schedule.peak=0.02]", seed] for seed in (0, 1)]
    assert rows["difference"].iloc[0] == pytest.approx(sum(differences) / 2)
    assert_documented(rows)
    parsed = pd.DataFrame(json.loads(bench(*command, "--format", "json").stdout))
    assert parsed["verdict"].tolist() == rows["verdict"].tolist()


def assert_documented(rows: pd.DataFrame) -> None:
    """docs/tables.md lists every column, in the section of its table."""
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    section = text[text.index("## What pieces are worth") :]
    section = section[: section.index("\n## ")]
    for name in rows:
        assert f"`{name}`" in section, name


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (["--strategy", "naive"], "naive: has no piece to leave out"),
        (["--strategy", "optimised"], "Did you mean optimized?"),
        (["--scenario", "{tiny}"], "scenarios: tiny is given twice"),
        (["--format", "csv", "--wide"], "given with --format csv, which has every column"),
        (["--columns", "worth"], "'worth' is not a column, expected some of change, difference"),
        (["--dry-run", "--columns", "worth"], "'worth' is not a column, expected some of change, horizon"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    changed: list[str], complaint: str, command: list[str | Path], tiny: Path, tmp_path: Path
):
    given = [argument.replace("{tiny}", str(tiny)) for argument in changed]
    assert complaint in refused(bench(*command, *given))
    assert not (tmp_path / "runs").exists()
