"""One grammar for all commands: scenarios and strategies by name, path or parameters; tables that fit; exit codes."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from bench.catalog import shipped_folder
from bench.cli.main import main
from tests.cli.test_main import bench, refused
from tests.records.made_up import change

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--results", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"), "--device", "cpu", "--seeds", "0"]


def recorded(tmp_path: Path) -> list[str]:
    """Return strategy/horizon of every record."""
    top = tmp_path / "runs" / "tiny"
    found = {path.parent.parent.relative_to(top) for path in top.rglob("trial.json")}
    return sorted(str(path) for path in found)


def lines_at(width: int, *arguments: str | Path) -> list[str]:
    result = CliRunner(env={"COLUMNS": str(width)}).invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_set_and_grid_make_variants_that_are_recorded_and_ranked_under_their_names(
    tiny: Path, folders: list[str], tmp_path: Path
):
    chosen = [
        "--strategy",
        "scratch",
        "--strategy",
        "naive",
        "--set",
        "schedule.warmup=0.3",
        "--grid",
        "horizon=0.25,0.5",
    ]
    result = bench("run", "--scenario", tiny, *chosen, *folders)
    assert result.exit_code == 0, result.output
    assert recorded(tmp_path) == [
        "naive[schedule.warmup=0.3]/0.25",
        "naive[schedule.warmup=0.3]/0.5",
        "scratch/1",
    ]
    assert "naive[schedule.warmup=0.3]@0.25" in result.stdout
    assert "Frontier over horizons" in result.stdout
    trial = tmp_path / "runs" / "tiny" / "naive[schedule.warmup=0.3]" / "0.5" / "seed-0"
    record = json.loads((trial / "trial.json").read_text())["strategy"]
    assert (record["name"], record["schedule"]["warmup"], record["horizon"]) == ("naive[schedule.warmup=0.3]", 0.3, 0.5)
    again = bench("run", "--scenario", tiny, "--strategy", "naive[schedule.warmup=0.3,horizon=0.5]", *folders)
    assert "1 trial: 0 to run, 1 finished already" in again.stderr
    assert bench("check", "--audit", trial, "--device", "cpu").exit_code == 0
    compared = bench(
        "compare", "naive[schedule.warmup=0.3]@0.25", "scratch", "--scenario", tiny, "--results", tmp_path / "runs"
    )
    assert compared.exit_code == 0, compared.output
    drawn = bench(
        "report",
        "--results",
        tmp_path / "runs",
        "--reports",
        tmp_path / "reports",
        "--formats",
        "svg",
        "--width",
        "page",
    )
    assert drawn.exit_code == 0, drawn.output
    assert "--strategy 'naive[schedule.warmup=0.3]'" in (tmp_path / "reports" / "index.html").read_text().replace(
        "&#39;", "'"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "start.shrnk=0.9"], "naive: start.shrnk: no such field. Did you mean start? Use one of start."),
        (
            ["--set", "start.shrink=0.9"],
            "naive has no start.shrink. Name the strategy that it is for: --set four-aspects:",
        ),
        (
            ["--set", "four-aspects:start.shrnk=0.9"],
            "four-aspects: start.shrnk: no such field. Did you mean start.shrink?",
        ),
        (
            ["--set", "four-aspects:start.shrink=much"],
            "four-aspects: start.shrink=much: expected a valid number. Change it.",
        ),
        (["--set", "four-aspects:start.shrink=1.5"], "expected both in 0..1"),
        (["--set", "start.shrink"], "--set 'start.shrink': expected [STRATEGY:]FIELD=VALUE, such as start.shrink=0.9."),
        (
            ["--grid", f"naive:horizon={','.join(str(n / 999) for n in range(1, 1000))}"],
            "1,001 strategies, expected at most",
        ),
        (["--set", "horizon=0.5", "--horizon", "0.5"], "--horizon: given together with horizon in --set or --grid"),
        (["--strategy", "four-aspects[start.shrink]"], "expected NAME[FIELD=VALUE,...]"),
        (["--strategy", "optimised[horizon=0.5]"], "Did you mean optimized?"),
        (["--scenario", "{tmp}"], "is a folder, expected a .toml file. Name a file in it."),
        (["--scenario", "."], "is a folder, expected a .toml file. Name a file in it."),
    ],
)
def test_a_mistake_in_the_grammar_is_one_line_and_nothing_is_written(
    arguments: list[str], complaint: str, tiny: Path, folders: list[str], tmp_path: Path
):
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    before = [] if "--scenario" in given else ["--scenario", str(tiny)]
    if not any("optimised" in argument or "[" in argument for argument in given):
        before += [word for name in ("scratch", "naive", "four-aspects") for word in ("--strategy", name)]
    for command in ("run", "plan"):
        assert complaint in refused(bench(command, *before, *given, *folders))
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()


def test_what_is_wrong_is_said_before_images_are_decoded(tmp_path: Path):
    from tests.data.trees import class_folders

    class_folders(tmp_path / "old", ("a", "b"), each=10)
    class_folders(tmp_path / "new", ("c",), each=10, first=50)
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    start = text.index("stages = ")
    text = text[:start] + 'stages = [{ folder = "old" }, { folder = "new" }]\n' + text[text.index("[data]") :]
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('set = "digits"\nclass_order_seed = 1993', "test_share = 0.2\nimage_size = 8"))
    for wrong in (
        ["--set", "start=Foo"],
        ["--horizon", "nan"],
        ["--device", "cuda:99"],
        ["--seeds", "0", "--set", "x=1"],
    ):
        refused(
            bench("run", "--scenario", path, "--data-root", tmp_path / "root", "--results", tmp_path / "runs", *wrong)
        )
        assert not (tmp_path / "root").exists(), wrong
        assert not (tmp_path / "runs").exists(), wrong


def test_records_that_must_not_be_mixed_are_no_quiet_success(tiny: Path, folders: list[str], tmp_path: Path):
    run = ["run", "--scenario", tiny, "--strategy", "scratch", *folders]
    assert bench(*run).exit_code == 0
    path = next((tmp_path / "runs").rglob("trial.json"))
    copy = shutil.copytree(path.parent, path.parent.parent / "seed-7")
    change(copy, lambda record: record.update(seed=7, strategy_hash="0" * 16))
    result = bench(*run)
    assert result.exit_code == 2
    assert "trials of different strategies under one name" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["run", "--horizon", "abc"],
            "bench: Invalid value for '--horizon': 'abc' is not a valid float. See: bench run --help",
        ),
        (["run", "--threads", "0"], "Invalid value for '--threads'"),
        (["compare", "a", "b"], "Missing option '--scenario'. See: bench compare --help"),
        (["rnu"], "No such command 'rnu'."),
        (["run", "--strategy", "x" * 300 + ".py"], "File name too long. Name another path."),
        (["run", "--scenario", "x" * 300 + ".toml"], "File name too long. Name another path."),
        (["leaderboard", "--results", "x" * 300], "File name too long. Name another path."),
        (
            ["leaderboard", "--results", "{tmp}/file"],
            "is a file, expected a folder of records. Name another with --results.",
        ),
        (["data", "export", "--to", "{tmp}/file"], "file"),
        (["run", "--seeds", "9223372036854775808"], "expected whole numbers like 0-4 or 0,2,5"),
        (["run", "--seeds", "٣"], "expected whole numbers like 0-4 or 0,2,5"),
        (["leaderboard", "--columns", "rank", "--format", "csv"], "given with --format csv, which has every column"),
    ],
)
def test_every_mistake_is_one_line(arguments: list[str], complaint: str, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert complaint in refused(bench(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments)))


def test_a_comparison_takes_a_variant_in_any_form_and_says_what_is_published(
    tiny: Path, folders: list[str], tmp_path: Path
):
    name = "naive[schedule.warmup=0.3,schedule.peak=0.5]"
    done = bench("run", "--scenario", tiny, "--strategy", "scratch", "--strategy", name, *folders)
    assert done.exit_code == 0, done.output
    where = ["--scenario", tiny, "--results", tmp_path / "runs"]
    for form in (name, "naive[schedule.peak=0.50,schedule.warmup=3e-1]", f"{name}@1.0"):
        result = bench("compare", form, "scratch", *where)
        assert result.exit_code == 0, result.output
        assert f"{name}@1 against scratch@1" in result.stdout
    published = bench(
        "compare",
        "naive",
        "four-aspects",
        "--scenario",
        "fashion-mnist-7-3",
        "--published",
        "--results",
        tmp_path / "x",
    )
    said = " ".join(published.stdout.split())
    assert "Published, from the records that come with bench: four-aspects@0.4, naive@1." in said


@pytest.mark.parametrize(
    "command", [["check", str(RESULTS)], ["data", "status"], ["list"], ["flops", "resnet8", "--image", "3x32x32"]]
)
def test_other_tables_fit_the_terminal_too(command: list[str], tmp_path: Path):
    arguments = [*command, "--data-root", str(tmp_path)] if command[0] in ("data", "list") else command
    lines = lines_at(80, *arguments)
    assert max(len(line) for line in lines if not line.startswith("data root")) <= 80


def test_a_run_without_scratch_trains_says_why_there_is_no_table_and_ends_with_0(
    tiny: Path, folders: list[str], tmp_path: Path
):
    result = bench("run", "--scenario", tiny, "--strategy", "naive", *folders)
    assert result.exit_code == 0, result.output
    assert "no leaderboard: tiny: no finished scratch trial at horizon 1" in result.stdout
    assert recorded(tmp_path) == ["naive/1"]


@pytest.mark.parametrize("command", ["leaderboard", "report", "compare", "target"])
def test_a_scenario_is_a_path_wherever_results_are_read(command: str, tmp_path: Path):
    path = ROOT / "scenarios" / "mnist-usps.toml"
    extra = {
        "compare": ["naive", "four-aspects"],
        "report": ["--reports", tmp_path, "--formats", "svg", "--width", "page"],
    }
    result = bench(command, *extra.get(command, []), "--scenario", path, "--results", RESULTS)
    if command == "target":
        assert "mnist-usps: scratch at horizon 1 has no finished trial for seeds 3-4" in refused(result)
    else:
        assert result.exit_code == 0, result.output
    other = tmp_path / "other.toml"
    other.write_text(path.read_text().replace("epochs = 4", "epochs = 9"))
    line = refused(bench(command, *extra.get(command, []), "--scenario", other, "--results", RESULTS))
    assert "mnist-usps: the recorded trials are of another scenario of that name" in line


@pytest.mark.parametrize("width", [80, 200])
def test_no_row_of_a_leaderboard_is_wider_than_the_terminal(width: int):
    lines = lines_at(width, "leaderboard", "--results", RESULTS)
    assert max(map(len, lines)) <= width
    (first,) = {line.split()[0] for line in lines if line.startswith("rank")}
    assert first == "rank"
    headings = next(line for line in lines if line.startswith("rank"))
    for name in ("strategy", "speedup, FLOPs", "seeds", "validation"):
        assert name in headings
    assert ("test at crossing" in headings) == (width == 200)
    row = next(line for line in lines if line.split()[1:2] == ["naive@1"] and "1.18" in line)
    assert "1.18 (1.08 to 1.26)" in row


def test_wide_has_every_column_and_columns_chooses():
    wide = lines_at(80, "leaderboard", "--results", RESULTS, "--scenario", "mnist-usps", "--wide")
    assert any("+ base" in line and "test at crossing" in line for line in wide)
    chosen = lines_at(80, "leaderboard", "--results", RESULTS, "--scenario", "mnist-usps", "--columns", "strategy,cost")
    assert next(line for line in chosen if line.startswith("strategy")).split() == ["strategy", "cost,", "FLOPs"]
    line = refused(
        bench("leaderboard", "--results", RESULTS, "--scenario", "mnist-usps", "--columns", "strategy,price")
    )
    assert "'price' is not a column, expected some of rank, strategy, horizon" in line


def test_scratch_is_the_reference_and_who_reached_with_all_seeds_leads():
    rows = pd.read_csv(io.StringIO(bench("leaderboard", "--results", RESULTS, "--format", "csv").stdout))
    boards = rows[rows["table"] == "leaderboard"]
    scratch = boards[(boards["strategy"] == "scratch") & (boards["horizon"] == 1.0)]
    assert scratch["rank"].isna().all()
    assert scratch["reached"].isna().all()
    for _, board in boards.groupby(["scenario", "update"]):
        others = board[board["rank"].notna()].sort_values("rank")
        assert others["reached"].is_monotonic_decreasing
        assert others["rank"].tolist() == list(range(1, len(others) + 1))
    assert set(rows["table"]) == {"leaderboard", "frontier", "whole_life", "pooled"}


def documented(column: str) -> str:
    """Return a column as docs/tables.md writes it: value_<c> for each currency, update_<k>, value_flops_at_<share>."""
    fields = "value|relation|cost|bracket|low|high|note|base"
    column = re.sub(rf"^({fields})_(flops|steps|images|device_seconds|gpu_joules)$", r"\1_<c>", column)
    return re.sub(r"_at_0\.\d\d$", "_at_<share>", re.sub(r"^update_\d+$", "update_<k>", column))


@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_documented_schema_is_what_programs_get(form: str):
    """docs/tables.md lists every column of every table."""
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    printed = bench("leaderboard", "--results", RESULTS, "--format", form).stdout
    rows = pd.read_csv(io.StringIO(printed)) if form == "csv" else pd.DataFrame(json.loads(printed))
    for name in rows:
        assert f"`{documented(name)}`" in text, name


def test_published_records_are_added_and_marked(tmp_path: Path):
    lines = lines_at(80, "leaderboard", "--published", "--scenario", "pacs-photo-art", "--results", tmp_path / "none")
    assert any("naive@1 (published)" in line and "1.33 (0.98 to 1.55)" in line for line in lines)
    assert "no such" in refused(bench("leaderboard", "--results", tmp_path / "none"))


def test_records_and_reports_go_below_the_current_folder_by_default(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    options = ["--strategy", "scratch", "--seeds", "0", "--cache", "cache", "--device", "cpu"]
    for command in (["run", "--scenario", "tiny.toml", *options], ["report", "--formats", "svg", "--width", "page"]):
        done = bench(*command)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "runs" / "tiny" / "scratch" / "1" / "seed-0" / "trial.json").is_file()
    assert (tmp_path / "reports" / "tiny" / "leaderboard.csv").is_file()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a checkout to know what git ignores")
def test_git_ignores_what_a_first_run_writes_and_nothing_that_is_published():
    def ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0

    assert ignored("runs/digits-7-3/scratch/1/seed-0/trial.json")
    assert ignored("reports/digits-7-3/leaderboard.csv")
    assert ignored("reports/index.html")
    assert not ignored("reports/published/index.html")
    assert not ignored("results/mnist-usps/scratch/1/seed-0/trial.json")


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [
        (["--help"], ["torch", "pandas", "pydantic", "rich", "scipy", "numpy"]),
        (["list"], ["torch", "pandas", "scipy", "sklearn", "matplotlib"]),
        (
            ["leaderboard", "--results", str(RESULTS), "--scenario", "mnist-usps"],
            ["torch", "scipy.stats", "matplotlib", "rich"],
        ),
        (
            ["compare", "naive", "four-aspects", "--scenario", "mnist-usps", "--results", str(RESULTS)],
            ["torch", "scipy.stats"],
        ),
        (["check", str(RESULTS)], ["torch", "pandas", "scipy", "rich"]),
    ],
    ids=lambda value: value[0] if value[0] in ("--help", "list", "leaderboard", "compare", "check") else "",
)
def test_commands_load_only_what_they_use(command: list[str], unwanted: list[str]):
    code = f"import sys; sys.argv = ['bench', *{command!r}]\nfrom bench.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
    code += f"found = set({unwanted!r}) & set(sys.modules)\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_run_loads_neither_scikit_learn_nor_torchvision_nor_pandas_for_a_set_of_arrays_or_the_default_scenario(
    tmp_path: Path,
):
    """Without a table: tables need pandas. The default scenario's images are drawn from matplotlib's fonts, without pyplot."""
    code = f"""
import sys
import numpy as np
from pathlib import Path
root = Path({str(tmp_path)!r})
random = np.random.default_rng(0)
sizes = {{"train": 60000, "test": 10000}}
arrays = {{f"x_{{part}}": random.integers(256, size=(n, 28, 28), dtype=np.uint8) for part, n in sizes.items()}}
arrays |= {{"y_train": np.arange(60000) % 10, "y_test": np.arange(10000) % 10}}
np.savez(root / "fashion-mnist.npz", **arrays)
import bench
for scenario, matplotlib in (("fashion-mnist-7-3", "matplotlib"), ("glyphs-32-15", "matplotlib.pyplot")):
    plan = bench.plan(scenario, ["scratch"], [0], data_root=root, cache=root, results=root / "runs", device="cpu")
    assert plan._local.trials
    found = {{"sklearn", "torchvision", "pandas", "fvcore", matplotlib}} & set(sys.modules)
    assert not found, (scenario, found)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-800:]


def test_a_scenario_of_the_digits_without_scikit_learn_is_one_line_and_exit_code_2(
    tmp_path: Path, folders: list[str], monkeypatch: pytest.MonkeyPatch
):
    for name in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)  # what Python does for a package that is not there
    line = refused(bench("run", "--scenario", "digits-7-3", "--data-root", tmp_path, *folders))
    assert line.endswith("needs the package scikit-learn, which is not installed. Run: pip install scikit-learn")
    assert "missing: pip install scikit-learn" in bench("list", "--wide", "--data-root", tmp_path).stdout
