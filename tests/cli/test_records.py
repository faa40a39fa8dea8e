"""Records that are wrong, or lack something: a clear message each, and no wrong number."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import bench as api
from bench.records.collect import collect
from bench.reporting.figures.sheet import NO_PICTURES
from bench.reporting.page import write_page
from bench.reporting.report import write_reports
from tests.cli.test_main import QUICK, bench, refused
from tests.records.made_up import change

NAME = "fashion-mnist-7-3"
_RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Committed records: scratch and naive at horizon 1, four-aspects at 0.4, three seeds each."""
    shutil.copytree(_RESULTS / NAME, tmp_path / "results" / NAME, ignore=shutil.ignore_patterns("optimized"))
    return tmp_path / "results"


def trial(results: Path, strategy: str, seed: int) -> Path:
    return next((results / NAME / strategy).glob(f"*/seed-{seed}"))


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


def tear(folder: Path) -> None:
    path = folder / "evals.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def test_a_damaged_record_is_named_and_the_rest_is_ranked(results: Path):
    torn = trial(results, "naive", 1)
    tear(torn)
    (trial(results, "four-aspects", 0) / "trial.json").write_text("nonsense")
    printed = bench("leaderboard", "--results", results)
    assert printed.exit_code == 0, printed.output
    said = printed.stderr.splitlines()
    assert said[0] == f"bench: {results}: 2 of 9 records left out, which cannot be read"
    assert (
        f"{torn}/evals.jsonl:16: not an evaluation (torn: no newline at its end). Run the trial again."
        in printed.stderr
    )
    assert len(said) == 3
    assert " 2 of 2 (1 missing) " in row_of(printed.stdout, "naive")
    note = (
        f"Incomplete: 2 records left out, which cannot be read ({NAME}/four-aspects/0.4/seed-0, {NAME}/naive/1/seed-1)."
    )
    assert note in printed.stdout
    (results / NAME / "naive").rename(results / "gone")  # then the same without the row
    assert "1 of 6 records left out" in bench("leaderboard", "--results", results).stderr


@pytest.mark.parametrize("form", ["md", "tex", "csv", "json"])
def test_every_form_of_an_incomplete_table_says_so(results: Path, form: str):
    whole = bench("leaderboard", "--results", results, "--format", form).stdout
    tear(trial(results, "naive", 1))
    printed = bench("leaderboard", "--results", results, "--format", form)
    said = {
        "md": "Incomplete: 1 record left out",
        "tex": "Incomplete: 1 record left out",
        "csv": "left_out",
        "json": '"left_out":1',
    }
    assert said[form] in printed.stdout.replace('": ', '":')
    assert said[form] not in whole.replace('": ', '":')


def test_a_comparison_and_a_report_of_an_incomplete_folder_say_so(results: Path, tmp_path: Path):
    tear(trial(results, "naive", 1))
    note = f"Incomplete: 1 record left out, which cannot be read ({NAME}/naive/1/seed-1). bench check says why."
    compared = bench("compare", "naive", "four-aspects", "--wide", "--scenario", NAME, "--results", results)
    assert note in compared.stdout
    parts = collect(results).parts(None)
    paths = list(write_reports(parts, tmp_path / "reports", NO_PICTURES))
    paths.append(write_page(parts, tmp_path / "reports", paths))
    written = [path for path in paths if path.suffix in (".md", ".txt", ".html")]
    assert len(written) > 5
    assert [path for path in written if note not in path.read_text(encoding="utf-8")] == []
    assert "left_out" in (tmp_path / "reports" / NAME / "leaderboard.csv").read_text().splitlines()[0]


def test_a_damaged_record_is_marked_by_check_which_exits_with_1(results: Path):
    torn = trial(results, "naive", 1)
    tear(torn)
    checked = bench("check", results)
    assert checked.exit_code == 1
    assert f"{NAME}/naive/1/seed-1: readable: {torn}/evals.jsonl:16: not an evaluation (torn" in checked.stderr
    assert re.search(r"^readable +BROKEN", checked.stdout, re.MULTILINE)
    assert checked.stdout.startswith("9 trials")


def test_a_lost_last_line_is_no_shorter_trial(results: Path):
    path = trial(results, "naive", 1) / "evals.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-1]))
    printed = bench("leaderboard", "--results", results)
    assert "finished, but its evaluations end at step 5920, expected 6315" in printed.stderr
    assert " 2 of 2 (1 missing) " in row_of(printed.stdout, "naive")


def test_where_no_record_can_be_read_it_is_said(results: Path):
    for path in results.rglob("trial.json"):
        path.write_text("{}")
    printed = bench("leaderboard", "--results", results)
    assert printed.exit_code == 2
    first, *_, last = printed.stderr.splitlines()
    assert "9 of 9 records left out" in first
    assert last.startswith("bench: no trials among the results")
    collected = bench("collect", "--results", results)
    assert "no trials that can be read: " in refused(collected)
    assert not (results / "records.parquet").exists()


def test_the_python_api_warns_and_lists_what_it_left_out(results: Path):
    tear(trial(results, "naive", 1))
    with pytest.warns(UserWarning, match=r"1 of 9 records left out|not an evaluation"):
        found = api.load_results(results)
    assert found.unreadable["where"].tolist() == [f"{NAME}/naive/1/seed-1"]
    assert "torn" in found.unreadable["why"].iloc[0]
    board = found.leaderboard(NAME)
    assert board.frame["left_out"].tolist() == [1] * len(board.frame)
    assert any(note.startswith("Incomplete: 1 record left out") for note in board.cells.notes)
    assert not found.check().ok


def test_a_copied_seed_folder_is_named_as_a_copy(results: Path):
    first = trial(results, "naive", 1)
    before = bench("leaderboard", "--results", results).stdout
    shutil.copytree(first, first.with_name("seed-3"))
    printed = bench("leaderboard", "--results", results)
    assert f"bench: {first.with_name('seed-3')}: a copy of {first}" in printed.stderr
    assert row_of(printed.stdout, "naive") == row_of(before, "naive")
    checked = bench("check", results)
    assert checked.exit_code == 1
    assert f"{NAME}/naive/1/seed-3 is a copy of {NAME}/naive/1/seed-1" in checked.stdout


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
    assert bench("report", "--results", results, "--reports", tmp_path / "reports", *QUICK).exit_code == 0


@pytest.mark.parametrize("command", ["leaderboard", "report"])
def test_without_scratch_there_is_no_target_and_the_message_says_what_to_run(
    results: Path, tmp_path: Path, command: str
):
    shutil.rmtree(results / NAME / "scratch")
    options = {"report": ["--reports", tmp_path]}.get(command, [])
    line = refused(bench(command, *options, "--scenario", NAME, "--results", results))
    assert f"{NAME}: no finished scratch trial at horizon 1, so there is no target" in line
    assert f"bench run --scenario {NAME} --strategy scratch" in line
