"""A published target from its making to the table, on records that were copied to more seeds."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.cli.test_main import QUICK, bench, refused
from tests.cli.test_records import NAME, change, row_of, trial

_RESULTS = Path(__file__).resolve().parents[2] / "results"


def copy_seed(results: Path, strategy: str, seed: int, to: int, lower: float = 0.0) -> None:
    """Copy a trial to another seed, its accuracies lowered by so much."""
    source = trial(results, strategy, seed)
    folder = source.parent / f"seed-{to}"
    shutil.copytree(source, folder)
    rows = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
    for row in rows:
        row["validation_accuracy"] -= lower
    (folder / "evals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    change(folder, lambda record: record.update(seed=to))
    change(folder, lambda record: record["summary"].update(validation_accuracy=rows[-1]["validation_accuracy"]))
    change(folder, lambda record: record["summary"].update(weights_sha256=f"{to:064d}"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Scratch on seeds 0 to 7, naive on 0 to 2 and 5 to 7; seeds from 3 on are copies of the first three."""
    shutil.copytree(
        _RESULTS / NAME, tmp_path / "results" / NAME, ignore=shutil.ignore_patterns("four-aspects*", "optimized")
    )
    found = tmp_path / "results"
    for seed in range(3, 8):
        copy_seed(found, "scratch", seed % 3, seed)
    for seed in range(5, 8):
        copy_seed(found, "naive", seed % 3, seed)
    return found


def publish(results: Path, **changes: object) -> dict:
    """Put the target that bench makes into every record's copy of its scenario, which is no shipped one any more."""
    printed = bench("target", "--scenario", NAME, "--results", results)
    assert printed.exit_code == 0, printed.output
    target = tomllib.loads(printed.stdout)["target"] | changes
    for path in results.rglob("trial.json"):
        change(path.parent, lambda record: record.update(scenario_hash="0" * 16))
        change(path.parent, lambda record: record["scenario"].update(target=[target]))
    return target


def test_a_target_is_made_of_scratchs_ends(results: Path):
    target = tomllib.loads(bench("target", "--scenario", NAME, "--results", results).stdout)["target"]
    # Seeds 0 to 4 end at 0.930667, 0.931, 0.932 and again the first two.
    assert target["accuracy"] == pytest.approx(0.931067, abs=1e-6)
    assert target["std"] == pytest.approx(0.000548, abs=1e-6)
    assert target["seeds"] == [0, 1, 2, 3, 4]
    assert target["convergence_steps"] == [3158, 2763, 1973, 3158, 2763]  # at 0.95 of it
    assert target["source"].startswith("bench, 5 trials of scratch on Intel(R) Xeon(R) Processor, commit ")


def test_a_made_target_can_be_pasted_into_a_scenarios_file(results: Path, tmp_path: Path):
    from bench.catalog import find_scenario
    from bench.scenario import load_scenario

    printed = bench("target", "--scenario", NAME, "--source", 'the "paper", table 2', "--results", results).stdout
    path = tmp_path / f"{NAME}.toml"
    path.write_text(f"{find_scenario(NAME).read_text()}\n{printed}")
    found = load_scenario(path)
    assert found.target is not None
    assert found.target[0].source == 'the "paper", table 2'
    assert found.hash() == load_scenario(find_scenario(NAME)).hash()


def test_a_chains_target_has_a_table_for_each_update(tmp_path: Path):
    line = refused(bench("target", "--scenario", "digits-4-2-2-2", "--results", _RESULTS))
    assert "no finished trial of update 1 for seeds 3-4, expected all of 0-4" in line
    shutil.copytree(_RESULTS / "digits-4-2-2-2", tmp_path / "digits-4-2-2-2")
    scratch = tmp_path / "digits-4-2-2-2/scratch/1"
    for seed in (3, 4):
        shutil.copytree(scratch / f"seed-{seed - 3}", scratch / f"seed-{seed}")
        for path in (scratch / f"seed-{seed}").rglob("trial.json"):
            change(path.parent, lambda record, seed=seed: record.update(seed=seed))
    printed = bench("target", "--scenario", "digits-4-2-2-2", "--results", tmp_path).stdout
    assert printed.count("[[target]]") == 3
    assert [set(each["seeds"]) for each in tomllib.loads(printed)["target"]] == [{0, 1, 2, 3, 4}] * 3


@pytest.mark.parametrize(
    ("seeds", "complaint"),
    [
        ("0-3", f"{NAME}: 4 seeds for a published target, expected at least 5. Add more with --seeds"),
        ("4-9", f"{NAME}: scratch at horizon 1 has no finished trial for seeds 8-9, expected all of 4-9"),
        ("0,1,2,3,9", "--strategy scratch --seeds 0,1,2,3,9"),
    ],
)
def test_a_target_needs_five_finished_seeds(results: Path, seeds: str, complaint: str):
    assert complaint in refused(bench("target", "--scenario", NAME, "--seeds", seeds, "--results", results))


def test_a_published_target_is_in_the_table_with_its_guard_and_its_seeds_are_not_scored(results: Path, tmp_path: Path):
    publish(results, source="there")
    printed = bench("leaderboard", "--wide", "--results", results)
    assert printed.exit_code == 0, printed.output
    assert "Target: validation accuracy 0.9311 ± 0.0005, published (5 seeds, there)" in printed.stdout
    assert "Not scored: 8 trials of seeds 0-4, from which the published target was computed." in printed.stdout
    assert "Is scratch honest? It ends +0.0002 from the published accuracy, p = 0." in printed.stdout
    assert "no difference found" in printed.stdout
    assert " 3 " in row_of(printed.stdout, "naive")
    assert "published (5 seeds, there)" in bench("leaderboard", "--results", results, "--format", "md").stdout
    compared = bench("compare", "naive", "scratch", "--wide", "--scenario", NAME, "--results", results).stdout
    assert "Target: validation accuracy 0.9311, the published (5 seeds)" in compared
    drawn = bench("report", "--results", results, "--reports", tmp_path / "reports", *QUICK)
    assert drawn.exit_code == 0, drawn.output
    assert "published (5 seeds, there)" in (tmp_path / "reports" / NAME / "leaderboard.md").read_text()


def test_published_seeds_alone_are_no_leaderboard(results: Path):
    publish(results)
    for seed in (5, 6, 7):
        for strategy in ("scratch", "naive"):
            shutil.rmtree(trial(results, strategy, seed))
    line = refused(bench("leaderboard", "--results", results))
    assert f"{NAME}: all finished trials have seeds 0-4," in line
    assert f"bench run --scenario {NAME} --seeds 5-7" in line


def test_honest_records_keep_the_guards_too(results: Path):
    publish(results)
    checked = bench("check", results)
    assert checked.exit_code == 0, checked.output
    assert "honest scratch" in checked.stdout
    assert "honest convergence" in checked.stdout


@pytest.mark.parametrize("lower", [0.02, -0.02])
def test_a_scratch_unlike_the_published_one_is_found_by_check_and_named_in_the_table(results: Path, lower: float):
    publish(results)
    for seed in (5, 6, 7):
        shutil.rmtree(trial(results, "scratch", seed))
        copy_seed(results, "scratch", seed % 3, seed, lower)
    checked = bench("check", results)
    assert checked.exit_code == 1
    assert f"{NAME}/scratch/1: honest scratch: " in checked.stderr
    assert "published 0.9311 on 5, p = " in checked.stderr
    printed = bench("leaderboard", "--results", results).stdout
    assert f"It ends {0.0002 - lower:+.4f} from the published accuracy, p = " in printed
    assert "differs from the published one" in printed


def test_a_scratch_that_converges_too_fast_is_found(results: Path):
    publish(results, convergence_steps=[5526, 5920, 5526, 5920, 5526])
    checked = bench("check", results)
    assert checked.exit_code == 1
    assert f"{NAME}/scratch/1: honest convergence: mean step 2,763, expected at least 5," in checked.stderr
    printed = bench("leaderboard", "--results", results).stdout
    assert "scratch at horizon 1 (step 2,763, expected at least 5," in printed


def test_a_target_in_a_users_own_file_is_recorded_and_used_and_changes_no_trial(tmp_path: Path):
    from bench.catalog import find_scenario

    path = tmp_path / "mine.toml"
    text = find_scenario("digits-7-3").read_text().replace("digits-7-3", "mine")
    text = text.replace("epochs = 24", "epochs = 1").replace("points = 20", "points = 2")
    path.write_text(text)
    options = ["--scenario", path, "--strategy", "scratch", "--device", "cpu"]
    options += ["--results", tmp_path / "results", "--cache", tmp_path / "cache"]
    assert "provisional" in bench("run", *options, "--seeds", "0").stdout
    path.write_text(f'{text}\n[target]\naccuracy = 0.5\nstd = 0.1\nseeds = [7, 8, 9, 10, 11]\nsource = "there"\n')
    printed = bench("run", *options, "--seeds", "0-1")
    assert "2 trials: 1 to run, 1 finished already" in printed.stderr
    assert "Target: validation accuracy 0.5000 ± 0.1000, published (5 seeds, there)" in printed.stdout
    record = json.loads((tmp_path / "results/mine/scratch/1/seed-1/trial.json").read_text())
    assert record["scenario"]["target"][0]["seeds"] == [7, 8, 9, 10, 11]
    made = bench("run", *options, "--seeds", "7")  # it is how a target is made
    assert (tmp_path / "results/mine/scratch/1/seed-7/trial.json").is_file()
    assert "Not scored: 1 trial of seeds 7-11" in made.stdout
    assert bench("check", "--audit", tmp_path / "results/mine/scratch/1/seed-1", "--device", "cpu").exit_code == 0
