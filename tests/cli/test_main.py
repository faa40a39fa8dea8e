from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from bench.catalog import scenario_names, shipped_folder
from bench.cli.main import main
from bench.reporting.figures import gallery
from tests.records.made_up import change

QUICK = ("--formats", "svg", "--width", "page")
# Accuracy against steps, images, FLOPs and seconds; speedups; old and new; cost in FLOPs and seconds; seeds' crossings.
FIGURES = 9


def bench(*arguments: str | Path) -> Result:
    """Run a command, on a terminal wide enough for every column and note."""
    words = [str(argument) for argument in arguments]
    return CliRunner(env={"COLUMNS": "400"}).invoke(main, words, prog_name="bench")


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache"), "--device", "cpu"]


def refused(result: Result) -> str:
    """Check that a user's mistake is one line and exit code 2, and return the line."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("bench: ")
    return line


def test_a_run_prints_the_leaderboard_and_where_the_records_are(tiny: Path, folders: list[str], tmp_path: Path):
    result = bench("run", "--scenario", tiny, "--seeds", "0-1", *folders)
    assert result.exit_code == 0, result.output
    for name in ("scratch", "naive", "optimized", "provisional (mean of scratch's 2 seeds)"):
        assert name in result.stdout
    assert f"records: {tmp_path / 'results' / 'tiny'}" in result.stdout
    assert "6 trials: 6 to run, 0 finished already" in result.stderr
    again = bench("run", "--scenario", tiny, "--seeds", "0-1", *folders)
    assert "6 trials: 0 to run, 6 finished already" in again.stderr
    ranked = bench("leaderboard", "--results", tmp_path / "results")
    assert ranked.stdout in again.stdout
    drawn = bench("report", "--results", tmp_path / "results", "--reports", tmp_path / "reports", *QUICK)
    assert drawn.exit_code == 0, drawn.output
    assert all(Path(line).is_file() for line in drawn.stdout.splitlines())
    assert len(drawn.stdout.splitlines()) == 2 + 3 * FIGURES + 1
    assert drawn.stdout.splitlines()[-1] == str(tmp_path / "reports" / "index.html")


def test_a_users_own_strategy_takes_part_by_path(tiny: Path, folders: list[str], tmp_path: Path):
    mine = tmp_path / "mine.py"
    mine.write_text("from bench import *\nstrategy = Strategy('Mine', start=Keep(), schedule=Linear(), horizon=0.5)\n")
    result = bench("run", "--scenario", tiny, "--seeds", "0", "--strategy", "scratch", "--strategy", mine, *folders)
    assert result.exit_code == 0, result.output
    assert " mine " in result.stdout


def test_list_names_every_shipped_scenario_and_strategy():
    result = bench("list")
    assert result.exit_code == 0
    for name in (*scenario_names(), "scratch", "naive", "optimized"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--scenario", "cifar100"], "scenario 'cifar100': not shipped"),
        (["--scenario", "./nowhere.toml"], "no such .toml file"),
        (["--strategy", "scrach"], "Did you mean scratch?"),
        (["--seeds", "x"], "'x': expected whole numbers like 0-4 or 0,2,5"),
        (["--seeds", "4-0"], "4-0: expected a range of 1 to 1,000 seeds"),
        (["--seeds", "1,1"], "is listed twice"),
        (["--device", "tpu"], "expected auto, cpu, cuda or cuda:N"),
        (["--scenario", "cifar10-5-5", "--data-root", "{tmp}/cifar"], "cifar10.npz"),
        (["--results", "{tmp}/file/results"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], complaint: str, folders: list[str], tmp_path: Path
):
    (tmp_path / "file").write_text("")
    (tmp_path / "cifar").mkdir()
    (tmp_path / "cifar" / "cifar10.npz").write_bytes(b"torn")
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert complaint in refused(bench("run", *folders, *given))
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


def test_a_bad_scenario_file_names_file_and_key(tiny: Path, folders: list[str]):
    tiny.write_text(tiny.read_text().replace("batch_size = 64", "batch_size = -1"))
    line = refused(bench("run", "--scenario", tiny, *folders))
    assert f"{tiny}: training.batch_size: found -1, expected greater than 0" in line


def test_a_leaderboard_without_records_says_what_to_run(tmp_path: Path):
    assert "no such results folder" in refused(bench("leaderboard", "--results", tmp_path / "none"))
    tmp_path.joinpath("results").mkdir()
    line = refused(bench("leaderboard", "--scenario", "digits-7-3", "--results", tmp_path / "results"))
    assert "no trials among the results" in line
    assert "no trials" in refused(bench("leaderboard", "--results", tmp_path / "results"))
    assert "no trials" in refused(bench("report", "--results", tmp_path / "results", "--reports", tmp_path))


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (["--formats", "png,svg", "--width", "page"], {".png", ".svg"}),
        (["--formats", "pdf", "--width", "column"], {"-column.pdf"}),
    ],
)
def test_a_report_is_drawn_in_the_formats_and_widths_asked_for(
    options: list[str], kinds: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sheets = gallery.sheets
    monkeypatch.setattr(gallery, "sheets", lambda *given: islice(sheets(*given), 3))
    results = Path(__file__).resolve().parents[2] / "results"
    drawn = bench("report", "--results", results, "--reports", tmp_path, "--scenario", "fashion-mnist-7-3", *options)
    assert drawn.exit_code == 0, drawn.output
    names = [Path(line).name for line in drawn.stdout.splitlines()]
    assert {name.removeprefix("accuracy-flops") for name in names if name.startswith("accuracy-flops")} == {
        ".csv", ".caption.txt", *kinds,
    }  # fmt: skip
    assert not list(tmp_path.glob("performance-profile*"))  # one scenario alone


def test_a_format_that_is_none_is_refused_before_anything_is_written(tmp_path: Path):
    line = refused(bench("report", "--results", tmp_path, "--reports", tmp_path / "reports", "--formats", "png,gif"))
    assert line == "bench: --formats 'png,gif': unknown format gif, expected one or more of pdf, svg, png. Change it."
    assert not (tmp_path / "reports").exists()


def test_a_failed_trial_does_not_stop_the_others_and_exits_with_1(tiny: Path, folders: list[str], tmp_path: Path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from bench import *\nfrom dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Bad:\n    passes = 0\n    anchor = None\n"
        "    def apply(self, parameters, anchors):\n        raise RuntimeError('no good')\n"
        "strategy = Strategy('Broken', start=Fresh(), schedule=Linear(), regularizer=Bad())\n"
    )
    result = bench("run", "--scenario", tiny, "--seeds", "0", "--strategy", broken, "--strategy", "scratch", *folders)
    assert result.exit_code == 1
    assert "1 of 2 trials failed: broken seed 0 (StrategyError: Bad: failed with RuntimeError: no good" in result.stderr
    assert (
        "1 to run, 1 finished already"
        in bench(
            "run", "--scenario", tiny, "--seeds", "0", "--strategy", broken, "--strategy", "scratch", *folders
        ).stderr
    )


def test_a_plan_runs_nothing_and_says_what_is_due(tiny: Path, folders: list[str], tmp_path: Path):
    result = bench("plan", "--scenario", tiny, "--seeds", "0-1", *folders)
    assert result.exit_code == 0, result.output
    for word in ("base model", "scratch", "naive", "optimized", "Steps, images, FLOPs"):
        assert word in result.stdout
    assert not list((tmp_path / "results").rglob("trial.json"))


def test_a_plan_of_several_jobs_estimates_their_time(tiny: Path, folders: list[str]):
    result = bench("plan", "--scenario", tiny, "--seeds", "0-1", "--jobs", "2", *folders)
    assert result.exit_code == 0, result.output
    assert "Time of all: 2 trials side by side" in result.stdout


@pytest.mark.parametrize("command", ["run", "plan"])
def test_several_jobs_on_a_gpu_are_refused(command: str, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    line = refused(bench(command, "--scenario", tiny, "--jobs", "2"))
    assert "--jobs 2: 1 CUDA devices found, expected one for each job" in line


def test_a_plan_without_its_data_says_what_is_missing(folders: list[str], tmp_path: Path):
    line = refused(bench("plan", "--scenario", "cifar100-70-30", "--data-root", tmp_path, *folders))
    assert "cifar100-70-30: data missing: cifar100" in line


def test_a_chain_is_run_ranked_and_reported_update_by_update(folders: list[str], tmp_path: Path):
    chain = tmp_path / "chain.toml"
    text = (shipped_folder("scenarios") / "digits-4-2-2-2.toml").read_text()
    chain.write_text(text.replace("epochs = 24", "epochs = 1").replace("points = 20", "points = 2"))
    result = bench("run", "--scenario", chain, "--seeds", "0", "--strategy", "scratch", "--strategy", "naive", *folders)
    assert result.exit_code == 0, result.output
    for words in ("update 1 of 3", "update 2 of 3", "update 3 of 3", "whole life"):
        assert words in result.stdout
    ranked = bench("leaderboard", "--results", tmp_path / "results")
    assert ranked.stdout in result.stdout
    drawn = bench("report", "--results", tmp_path / "results", "--reports", tmp_path / "reports", *QUICK)
    assert len(drawn.stdout.splitlines()) == 3 * (2 + 3 * FIGURES) + 2 + 1
    listed = bench("list", "--results", tmp_path / "results", "--data-root", tmp_path)
    assert "digits-4-2-2-2" in listed.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["leaderboard", "--help"], ["list"]])
def test_commands_that_train_nothing_do_not_import_torch(arguments: list[str]):
    code = f"import sys; sys.argv = ['bench', *{arguments!r}]\nfrom bench.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_flops_prints_both_counters_by_layer():
    result = bench("flops", "resnet18-cifar", "--image", "3x32x32", "--classes", 10)
    assert result.exit_code == 0, result.output
    assert "555,422,720" in result.stdout
    assert "forward: 1,110,845,440 FLOPs per image; by fvcore 1,110,845,440" in result.stdout
    assert "groups.3.1.conv2" in result.stdout
    assert "Counted: convolutions, linear layers, attention" in result.stdout


def test_flops_by_stage_say_what_a_step_behind_frozen_ones_costs():
    shown = bench("flops", "resnet8", "--image", "3x32x32", "--classes", 100, "--stages").stdout
    assert re.search(r"^stage1 +groups\.0 +4,718,592 +0\.698 +0\.559$", shown, re.MULTILINE)
    found = json.loads(bench("flops", "resnet8", "--image", "3x32x32", "--stages", "--format", "json").stdout)
    assert [stage["name"] for stage in found["stages"]] == ["stem", "stage1", "stage2", "stage3", "head"]


def test_flops_as_json_for_programs():
    found = json.loads(
        bench("flops", "resnet18-cifar", "--image", "3x32x32", "--classes", 10, "--format", "json").stdout
    )
    assert found["forward_macs"] == found["forward_macs_fvcore"] == 555_422_720
    assert found["step_flops"] == 3 * 2 * 555_422_720 - 2 * 3 * 64 * 9 * 32 * 32
    assert sum(layer["forward"] for layer in found["layers"]) == found["forward_flops"]


def test_flops_refuses_an_image_without_a_shape():
    line = refused(bench("flops", "resnet8", "--image", "224"))
    assert "--image '224': expected channels x height x width" in line


def test_flops_of_a_torchvision_model_are_the_published_ones():
    assert json.loads(bench("flops", "resnet18", "--format", "json").stdout)["forward_macs"] == 1_814_073_344


def test_flops_refuses_an_image_that_the_model_does_not_take():
    assert "vit_b_32: takes no image of 3x30x30" in refused(bench("flops", "vit_b_32", "--image", "3x30x30"))


def test_threads_are_kept_and_recorded(tiny: Path, folders: list[str], tmp_path: Path):
    bench("run", "--scenario", tiny, "--strategy", "scratch", "--seeds", "0", "--threads", 1, *folders)
    record = json.loads((tmp_path / "results" / "tiny" / "scratch" / "1" / "seed-0" / "trial.json").read_text())
    assert record["provenance"]["threads"] == 1


def test_an_audit_of_an_honest_record_agrees_and_of_a_changed_one_does_not(
    tiny: Path, folders: list[str], tmp_path: Path
):
    assert bench("run", "--scenario", tiny, "--strategy", "four-aspects", "--seeds", "0", *folders).exit_code in (0, 2)
    trial = tmp_path / "results" / "tiny" / "four-aspects" / "0.4" / "seed-0"
    honest = bench("check", "--audit", trial, "--device", "cpu")
    assert honest.exit_code == 0, honest.output
    assert "WRONG" not in honest.stdout
    assert "recorded: the whole trial" in honest.stdout
    change(trial, lambda record: record["summary"].update(train_flops=int(record["summary"]["train_flops"] * 0.99)))
    changed = bench("check", "--audit", trial, "--device", "cpu")
    assert changed.exit_code == 1
    assert "recorded: the whole trial" in changed.stderr


def test_an_audit_needs_the_strategy_that_was_recorded(tiny: Path, folders: list[str], tmp_path: Path):
    mine = tmp_path / "mine.py"
    mine.write_text("from bench import Fresh, Linear, Strategy\nstrategy = Strategy('Mine', Fresh(), Linear())\n")
    bench("run", "--scenario", tiny, "--strategy", mine, "--seeds", "0", *folders)
    trial = tmp_path / "results" / "tiny" / "mine" / "1" / "seed-0"
    assert "not shipped with bench. Give its file with --strategy" in refused(
        bench("check", "--audit", trial, "--device", "cpu")
    )
    assert "was made by a different mine" in refused(
        bench("check", "--audit", trial, "--strategy", "scratch", "--device", "cpu")
    )
    assert bench("check", "--audit", trial, "--strategy", mine, "--device", "cpu").exit_code == 0


def test_an_audit_of_nothing_is_one_line(tmp_path: Path):
    assert "no finished trial" in refused(bench("check", "--audit", tmp_path, "--device", "cpu"))


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of scratch and naive on two scenarios, one seed each."""
    folder = tmp_path_factory.mktemp("ranked")
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    text = text.replace("epochs = 24", "epochs = 1").replace("points = 20", "points = 2")
    for name in ("one", "two"):
        path = folder / f"{name}.toml"
        path.write_text(text.replace("digits-7-3", name))
        options = ["--results", folder / "results", "--cache", folder / "cache", "--device", "cpu"]
        done = bench(
            "run", "--scenario", path, "--strategy", "scratch", "--strategy", "naive", "--seeds", "0", *options
        )
        assert done.exit_code == 0, done.output
    return folder / "results"


def test_a_leaderboard_of_several_scenarios_ends_with_one_of_all_together(run_once: Path):
    printed = bench("leaderboard", "--results", run_once).stdout
    assert printed.count("Target: validation accuracy") == 2
    assert "All scenarios together" in printed
    assert "All scenarios together" not in bench("leaderboard", "--results", run_once, "--scenario", "one").stdout


def test_a_leaderboard_leads_with_the_currency_and_target_asked_for(run_once: Path):
    printed = bench("leaderboard", "--results", run_once, "--currency", "steps", "--target", "0.5").stdout
    assert "speedup, steps" in printed
    assert "provisional (0.5 of the mean of scratch's 1 seed)" in printed


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_leaderboard_for_programs_holds_every_row(run_once: Path, form: str):
    printed = bench("leaderboard", "--results", run_once, "--format", form).stdout
    every = pd.read_csv(io.StringIO(printed)) if form == "csv" else pd.DataFrame(json.loads(printed))
    assert every["table"].value_counts().to_dict() == {"leaderboard": 4, "pooled": 2}
    rows = every[every["table"] == "leaderboard"]
    assert sorted(rows["scenario"] + " " + rows["strategy"]) == ["one naive", "one scratch", "two naive", "two scratch"]
    assert (rows["n"] == 1).all()
    assert {"value_flops", "relation_flops", "validation_accuracy_new", "test_accuracy_old"} <= set(rows)
    assert every[every["table"] == "pooled"]["geometric_mean"].notna().all()


def test_a_leaderboard_for_papers(run_once: Path):
    assert bench("leaderboard", "--results", run_once, "--format", "md").stdout.count("| rank |") == 2
    # Two scenarios, and both together.
    assert bench("leaderboard", "--results", run_once, "--format", "tex").stdout.count(r"\toprule") == 3


def test_a_leaderboard_of_one_device(run_once: Path):
    name = json.loads(next(run_once.rglob("trial.json")).read_text())["provenance"]["cpu"]
    assert bench("leaderboard", "--results", run_once, "--device", name[:5].lower()).exit_code == 0
    assert "--device H100: no trials of that device" in refused(
        bench("leaderboard", "--results", run_once, "--device", "H100")
    )


def test_a_leaderboard_in_a_currency_that_was_not_measured_is_one_line(run_once: Path):
    line = refused(bench("leaderboard", "--results", run_once, "--scenario", "one", "--currency", "gpu_joules"))
    assert "one: no gpu_joules to compare: not measured, or on different machines" in line


@pytest.mark.parametrize("share", ["0", "1.1", "x", "nan"])
def test_a_target_that_is_no_share_is_one_line(share: str):
    assert f"--target {share}: expected a share" in refused(bench("leaderboard", "--target", share))


def test_two_strategies_are_compared_seed_by_seed(run_once: Path):
    found = bench("compare", "naive", "scratch", "--scenario", "one", "--target", "0.5", "--results", run_once)
    assert found.exit_code == 0, found.output
    assert "naive@1 against scratch@1" in found.stdout
    assert "restricted mean, FLOPs" in found.stdout
    assert "No log-rank test: no seed reached it, or all did at the same cost" in found.stdout


def test_comparing_with_a_strategy_that_is_not_there_names_those_that_are(run_once: Path):
    line = refused(bench("compare", "naive", "mine", "--scenario", "one", "--results", run_once))
    assert "mine: no finished strategy of that name, expected one of: naive@1, scratch@1" in line
    assert "no trials of update 2" in refused(
        bench("compare", "naive", "scratch", "--scenario", "one", "--update", "2", "--results", run_once)
    )


def test_checking_results_says_which_rules_are_kept_and_exits_with_1_where_one_is_not(run_once: Path, tmp_path: Path):
    results = tmp_path / "results"
    shutil.copytree(run_once, results)
    for path in results.rglob("trial.json"):
        change(path.parent, lambda record: record["provenance"].update(commit="c" * 40, modified=False))
    kept = bench("check", results)
    assert kept.exit_code == 0, kept.output
    assert "BROKEN" not in kept.stdout
    shutil.rmtree(results / "one" / "naive")
    (results / "one" / "naive" / "1").mkdir(parents=True)
    path = next((results / "two" / "naive").rglob("trial.json"))
    change(path.parent, lambda record: record["provenance"].update(modified=True))
    broken = bench("check", results)
    assert broken.exit_code == 1
    assert (
        "two/naive/1/seed-0: commit: modified since commit cccccccccc, expected: The code was that of a commit"
        in broken.stderr
    )
    found = json.loads(bench("check", results, "--format", "json").stdout)
    assert [(each["rule"], each["where"]) for each in found["violations"]] == [("commit", "two/naive/1/seed-0")]


def test_checking_nothing_or_two_things_is_one_line(tmp_path: Path):
    assert "give either a results folder, or --audit" in refused(bench("check"))
    assert "give either a results folder" in refused(bench("check", tmp_path, "--audit", tmp_path))


def test_several_horizons_give_a_frontier_and_scratch_keeps_its_full_one(
    tiny: Path, folders: list[str], tmp_path: Path
):
    horizons = ["--horizon", "0.25", "--horizon", "0.5"]
    strategies = ["--strategy", "scratch", "--strategy", "naive"]
    done = bench("run", "--scenario", tiny, *strategies, *horizons, "--seeds", "0", *folders)
    assert done.exit_code == 0, done.output
    found = sorted(
        path.parent.relative_to(tmp_path / "results" / "tiny") for path in (tmp_path / "results").rglob("trial.json")
    )
    names = ["naive/0.25", "naive/0.5", "scratch/0.25", "scratch/0.5", "scratch/1"]
    assert [str(path.parent) for path in found] == names
    assert "Frontier over horizons" in done.stdout
    trial = tmp_path / "results" / "tiny" / "naive" / "0.25" / "seed-0"
    assert bench("check", "--audit", trial, "--device", "cpu").exit_code == 0


def test_a_horizon_out_of_range_is_one_line(tiny: Path, folders: list[str]):
    assert "horizon 11.0, expected above 0 and at most 10" in refused(
        bench("run", "--scenario", tiny, "--horizon", "11", *folders)
    )
