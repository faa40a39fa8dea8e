"""Seeds from 100 on are for tuning: no table scores them beside others."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.errors import RecordError
from tests.cli.test_main import bench as command
from tests.cli.test_main import refused
from tests.records.made_up import finished


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scratch at 0.8 and fast at 0.9 in half of the steps at seeds 0 and 1; at seed 100, scratch at 0.6 and fast at 0.5."""
    for seed, (scratch, fast) in {0: (0.8, 0.9), 1: (0.8, 0.9), 100: (0.6, 0.5)}.items():
        finished(tmp_path / "results", [0.1, scratch], seed=seed)
        finished(tmp_path / "results", [fast], strategy="fast", horizon=0.5, seed=seed)
    return tmp_path / "results"


def test_a_leaderboard_scores_no_tuning_seed_and_says_how_many_trials_it_left_out(folder: Path):
    results = bench.load_results(folder)
    row = results.leaderboard().frame.set_index("strategy").loc["fast"]
    assert (row["n"], row["target"], row["value_flops"], results.left_out) == (2, pytest.approx(0.8), 2.0, 2)
    assert set(results.trials["seed"]) == set(results.evaluations["seed"]) == {0, 1}
    ran = command("leaderboard", "--results", folder)
    assert ran.exit_code == 0
    assert ran.stderr.splitlines() == [
        "bench: 2 trials of tuning seeds (100 and up) not scored; --tuning-seeds shows these alone"
    ]
    assert "Tuning:" not in ran.stdout


def test_seed_99_is_scored_and_seed_100_is_not(tmp_path: Path):
    for seed in (99, 100):
        finished(tmp_path, [0.1, 0.8], seed=seed)
    assert bench.load_results(tmp_path).trials["seed"].tolist() == [99]


def test_tuning_seeds_are_shown_alone_when_asked_for(folder: Path):
    ran = command("leaderboard", "--results", folder, "--tuning-seeds")
    assert ran.exit_code == 0
    assert "nothing saved: fast ends 10.0 points short at 0.5 of scratch's length (1 seed)" in ran.stdout
    assert "Tuning: seeds from 100 on, which are never scored." in ran.stdout
    assert ran.stderr == ""
    assert len(bench.load_results(folder, seeds="all").trials) == 6
    with pytest.raises(RecordError, match="seeds 'none': expected 'scored', 'tuning' or 'all'"):
        bench.load_results(folder, seeds="none")  # pyright: ignore[reportArgumentType]


def test_comparisons_and_reports_leave_them_out_as_well(folder: Path, tmp_path: Path):
    compared = command("compare", "fast", "scratch", "--scenario", "made-up", "--results", folder)
    assert "+0.1000" in compared.stdout  # 0.9 minus 0.8 at either scored seed
    assert "2 trials of tuning seeds" in compared.stderr
    alone = command("compare", "fast", "scratch", "--scenario", "made-up", "--results", folder, "--tuning-seeds")
    assert "-0.1000" in alone.stdout
    options = ["--reports", tmp_path / "reports", "--formats", "svg", "--width", "page"]
    drawn = command("report", "--results", folder, *options)
    assert drawn.exit_code == 0, drawn.output
    assert "0.8000 ± 0.0000" in (tmp_path / "reports" / "made-up" / "leaderboard.md").read_text()


def test_a_folder_of_tuning_seeds_alone_has_no_leaderboard(tmp_path: Path):
    finished(tmp_path, [0.1, 0.8], seed=100)
    ran = command("leaderboard", "--results", tmp_path)
    assert ran.exit_code == 2
    assert ran.stderr.splitlines()[0].startswith("bench: 1 trial of tuning seeds")


def test_a_strategy_without_scratchs_tuning_seeds_lacks_nothing(folder: Path):
    finished(folder, [0.7], strategy="other", horizon=0.5, seed=0)
    finished(folder, [0.7], strategy="other", horizon=0.5, seed=1)
    assert "none missing" not in {each.rule for each in bench.load_results(folder).check().verdict.violations}
    finished(folder, [0.7], strategy="third", horizon=0.5, seed=0)
    found = [
        each.where for each in bench.load_results(folder).check().verdict.violations if each.rule == "none missing"
    ]
    assert found == ["made-up/third/0.5"]


def test_a_target_may_be_made_from_any_seeds(tmp_path: Path):
    for seed in range(100, 105):
        finished(tmp_path, [0.1, 0.8 + seed / 1e5], seed=seed)
    line = refused(command("target", "--scenario", "made-up", "--seeds", "90-94", "--results", tmp_path))
    assert "no finished trial for seeds 90-94" in line
    assert (
        "accuracy = 0.80"
        in command("target", "--scenario", "made-up", "--seeds", "100-104", "--results", tmp_path).stdout
    )
