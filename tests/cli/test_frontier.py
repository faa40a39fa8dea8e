"""bench frontier: what it runs, prints and draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_main import bench, refused


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache"), "--device", "cpu"]


def ran(folder: Path) -> list[str]:
    return sorted(
        str(path.parent.relative_to(folder / "results" / "tiny")) for path in (folder / "results").rglob("trial.json")
    )


def test_what_is_missing_is_run_and_table_and_figure_are_shown(tiny: Path, folders: list[str], tmp_path: Path):
    options = ["--scenario", tiny, "--strategy", "naive", "--reports", tmp_path / "reports", "--seeds", "0", *folders]
    done = bench("frontier", *options, "--horizons", "0.5,0.25")
    assert done.exit_code == 0, done.output
    assert "3 trials: 3 to run, 0 finished already" in done.stderr
    assert "Frontier over horizons" in done.stdout
    folder = tmp_path / "reports" / "tiny" / "frontier"
    assert {path.name for path in folder.iterdir()} == {
        *("leaderboard.csv", "leaderboard.md", "frontier.csv", "frontier.md", "frontier-flops-column.pdf"),
        *(f"frontier-flops.{kind}" for kind in ("csv", "caption.txt", "pdf", "svg", "png")),
    }
    assert str(folder / "frontier-flops.png") in done.stdout
    more = bench("frontier", *options, "--horizons", "1,0.5,0.25")
    assert "4 trials: 1 to run, 3 finished already" in more.stderr


def test_the_search_prints_each_length_and_leaves_trials_that_no_table_scores(
    tiny: Path, folders: list[str], tmp_path: Path
):
    options = ["--scenario", tiny, "--strategy", "naive", *folders]
    done = bench("frontier", *options, "--find", "--resolution", "0.5")
    assert done.exit_code == 0, done.output
    steps = [line for line in done.stdout.splitlines() if line.startswith("naive at ")]
    assert [line.split(":")[0] for line in steps] == ["naive at 1", "naive at 0.5"][: len(steps)]
    last = done.stdout.splitlines()[-2]
    expected = (
        "1 does not hold the target"
        if "misses" in steps[0]
        else f"shortest horizon {0.5 if 'holds' in steps[1] else 1:g}"
    )
    assert last == f"naive: {expected}"
    found = ran(tmp_path)
    assert "scratch/1/seed-100" in found
    assert all(name.endswith("seed-100") for name in found)
    ranked = bench("leaderboard", "--results", tmp_path / "results")
    assert ranked.exit_code == 2
    assert f"{len(found)} trials of tuning seeds (100 and up) not scored" in ranked.stderr


def test_a_run_of_tuning_seeds_shows_their_table(tiny: Path, folders: list[str]):
    done = bench("run", "--scenario", tiny, "--strategy", "scratch", "--seeds", "100", *folders)
    assert done.exit_code == 0, done.output
    assert "Tuning: seeds from 100 on, which are never scored." in done.stdout
    both = bench("run", "--scenario", tiny, "--strategy", "scratch", "--seeds", "0", *folders)
    assert "Tuning:" not in both.stdout
    assert "1 trial of tuning seeds (100 and up) not scored" in both.stderr


def test_mistakes_are_one_line(tiny: Path, folders: list[str]):
    def line(*options: str) -> str:
        return refused(bench("frontier", "--scenario", tiny, *options, *folders))

    assert "--seeds: 0 is scored, and --find must not choose a length" in line("--find", "--seeds", "0,100")
    assert "--horizons '1,x': expected numbers like 1,0.7,0.5" in line("--horizons", "1,x")
    assert "--horizons '1': expected at least two" in line("--horizons", "1")
    assert "--horizons '1,1': expected at least two, and none twice" in line("--horizons", "1,1")
    assert "horizon 11.0, expected above 0" in line("--horizons", "1,11")
    assert "--horizon: given together with horizon in --set" in line("--set", "naive:horizon=0.3")
