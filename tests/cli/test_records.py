"""Records that are wrong, or lack something: a clear message each, and no wrong number."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_main import bench, refused

NAME = "fashion-mnist-7-3"
_RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Committed records: scratch and naive at horizon 1, four-aspects at 0.5, three seeds each."""
    shutil.copytree(_RESULTS / NAME, tmp_path / "results" / NAME)
    return tmp_path / "results"


def trial(results: Path, strategy: str, seed: int) -> Path:
    return next((results / NAME / strategy).glob(f"*/seed-{seed}"))


def change(folder: Path, how: Callable[[dict], object]) -> None:
    record = json.loads((folder / "trial.json").read_text())
    how(record)
    (folder / "trial.json").write_text(json.dumps(record))


def end_with_nan(folder: Path) -> None:
    *rows, last = (folder / "evals.jsonl").read_text().splitlines()
    lost = json.loads(last) | {"validation_accuracy": float("nan")}
    (folder / "evals.jsonl").write_text("".join(row + "\n" for row in [*rows, json.dumps(lost)]))


def row_of(printed: str, strategy: str) -> str:
    _, _, table = printed.partition("\nrank ")  # above it, sentences name strategies, too
    return next(line for line in table.splitlines() if f" {strategy} " in line)


@pytest.mark.parametrize(("key", "value"), [("rules_version", 2), ("training_version", 2), ("scenario_hash", "f" * 16)])
@pytest.mark.parametrize("command", ["leaderboard", "report", "compare"])
def test_mixed_versions_and_scenarios_are_refused(results: Path, tmp_path: Path, key: str, value: object, command: str):
    change(trial(results, "naive", 1), lambda record: record.update({key: value}))
    options = {"report": ["--reports", tmp_path], "compare": ["naive", "four-aspects"]}.get(command, [])
    line = refused(bench(command, *options, "--scenario", NAME, "--results", results))
    assert f"{NAME}: trials of different {key}: " in line
    assert "Keep them in separate folders" in line
    assert bench("check", results).exit_code == 1


def test_a_missing_seed_is_said_in_its_row_and_leaves_the_others_comparable(results: Path):
    shutil.rmtree(trial(results, "naive", 1))
    printed = bench("leaderboard", "--results", results)
    assert printed.exit_code == 0, printed.output
    assert " 2 of 2 (1 missing) " in row_of(printed.stdout, "naive")
    wide = bench("leaderboard", "--wide", "--results", results)
    assert "n = 2 is too small" in row_of(wide.stdout, "naive")
    checked = bench("check", results)
    assert checked.exit_code == 1
    assert f"{NAME}/naive/1: none missing: seeds 1 are missing" in checked.stderr


@pytest.mark.parametrize("command", ["leaderboard", "check"])
def test_a_torn_last_line_is_named_with_file_and_line(results: Path, command: str):
    path = trial(results, "naive", 1) / "evals.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    arguments = [results] if command == "check" else ["--results", results]
    line = refused(bench(command, *arguments))
    assert f"{path}:16: not an evaluation (torn: no newline at its end). Run the trial again" in line


def test_a_lost_last_line_is_no_shorter_trial(results: Path):
    path = trial(results, "naive", 1) / "evals.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-1]))
    line = refused(bench("leaderboard", "--results", results))
    assert "finished, but its evaluations end at step 5920, expected 6315" in line


def test_a_scratch_that_ends_with_no_number_gives_no_target(results: Path):
    end_with_nan(trial(results, "scratch", 1))
    reason = f"{NAME}: scratch seed 1 ends with a validation accuracy that is not a number, so there is no target"
    assert reason in refused(bench("leaderboard", "--results", results))
    compared = bench("compare", "naive", "four-aspects", "--wide", "--scenario", NAME, "--results", results)
    assert compared.exit_code == 0, compared.output
    assert f"Costs at the target are not compared: {reason}" in compared.stdout
    assert "validation, all  +0.0068 (+0.0012 to +0.0124)" in compared.stdout  # what can be said is said


def test_a_strategy_that_ends_with_no_number_has_missed_and_its_mean_is_no_number(results: Path):
    end_with_nan(trial(results, "naive", 1))
    printed = bench("leaderboard", "--wide", "--results", results).stdout
    row = row_of(printed, "naive")
    assert "< 1.00" in row
    assert "censored" in row
    assert " nan " in row
    assert "nan: a seed's accuracy is not a number. It counts as below every target." in printed
    assert "nan" not in row_of(printed, "four-aspects")
    assert bench("check", results).exit_code == 1


def test_one_trial_alone_has_a_target_and_no_spread(results: Path, tmp_path: Path):
    for folder in (results / NAME).glob("*/*/seed-*"):
        if (folder.parts[-3], folder.name) != ("scratch", "seed-0"):
            shutil.rmtree(folder)
    printed = bench("leaderboard", "--results", results)
    assert printed.exit_code == 0, printed.output
    assert "Target: validation accuracy 0.9307, provisional (mean of scratch's 1 seed)" in printed.stdout
    assert "±" not in printed.stdout
    assert "nan" not in printed.stdout
    assert bench("report", "--results", results, "--reports", tmp_path / "reports").exit_code == 0


@pytest.mark.parametrize("command", ["leaderboard", "report"])
def test_without_scratch_there_is_no_target_and_the_message_says_what_to_run(
    results: Path, tmp_path: Path, command: str
):
    shutil.rmtree(results / NAME / "scratch")
    options = {"report": ["--reports", tmp_path]}.get(command, [])
    line = refused(bench(command, *options, "--scenario", NAME, "--results", results))
    assert f"{NAME}: no finished scratch trial at horizon 1, so there is no target" in line
    assert f"bench run --scenario {NAME} --strategy scratch" in line
