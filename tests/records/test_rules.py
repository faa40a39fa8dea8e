from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import RecordError
from bench.records.rules import check_results
from tests.conftest import run_short
from tests.records.made_up import change, finished, seal

Change = Callable[[dict], None]


@pytest.fixture(scope="module")
def trained(short, digits, split, updates, scratch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of scratch, as from a clean commit."""
    results = tmp_path_factory.mktemp("trained") / "results"
    for seed in range(2):
        folder = results / f"short/scratch/1/seed-{seed}"
        run_short(updates, digits, split, scratch, folder, scenario=short, seed=seed)
        change(folder, lambda record: record["provenance"].update(commit="c" * 40, modified=False))
    return results


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    """A copy of them, to be changed."""
    return shutil.copytree(trained, tmp_path / "results")


def broken(results: Path) -> set[str]:
    return {violation.rule for violation in check_results(results).violations}


def test_honest_records_keep_every_rule(results: Path):
    verdict = check_results(results)
    assert verdict.violations == ()
    assert verdict.trials == 2
    assert len(verdict.rules) == 12
    assert all(words.endswith(".") for words in verdict.rules.values())


def shrink(record: dict) -> None:
    record["flops_per_image"]["step"] *= 2


# Rule -> the change to one of the two records that breaks it.
_BREAKS: dict[str, Change] = {
    "finished": lambda record: record.update(status="failed", reason="it broke", summary=None),
    "complete": lambda record: record["summary"].update(train_flops=5),
    "clock": lambda record: record["summary"].update(wall_seconds=record["summary"]["wall_seconds"] + 9),
    "ledger": shrink,
    "energy": lambda record: record["summary"].update(gpu_joules_reason=None),
    "commit": lambda record: record["provenance"].update(modified=True),
    "place": lambda record: record.update(seed=7),
    "one question": lambda record: record.update(scenario_hash="other"),
    "one strategy": lambda record: record.update(strategy_hash="other"),
}


@pytest.mark.parametrize("rule", _BREAKS)
def test_a_broken_rule_is_named_with_its_place(results: Path, rule: str):
    change(results / "short/scratch/1/seed-1", _BREAKS[rule])
    violations = [violation for violation in check_results(results).violations if violation.rule == rule]
    assert violations
    assert all(violation.where.startswith("short/scratch/1") for violation in violations)


def test_sampled_power_far_from_the_counter_is_flagged(results: Path):
    power = {"counter_tick_seconds": 0.1, "idle_watts_before": 70, "idle_watts_after": 71, "windows": []}
    for ratio, expected in ((1.09, set()), (0.89, {"energy"}), (1.11, {"energy"})):
        folder = results / "short/scratch/1/seed-1"
        change(folder, lambda record: record["summary"].update(gpu_power={**power, "sampled_over_counted": ratio}))  # noqa: B023
        assert broken(results) == expected


def test_why_a_commit_is_unknown_is_said(results: Path):
    unknown = {"commit": None, "modified": None, "commit_reason": "git took longer than 30 s"}
    change(results / "short/scratch/1/seed-1", lambda record: record["provenance"].update(unknown))
    (found,) = [each.found for each in check_results(results).violations if each.rule == "commit"]
    assert found == "its commit is unknown: git took longer than 30 s"


def test_two_seeds_with_the_same_weights_are_one(results: Path):
    other = json.loads((results / "short/scratch/1/seed-0/trial.json").read_text())["summary"]["weights_sha256"]
    change(results / "short/scratch/1/seed-1", lambda record: record["summary"].update(weights_sha256=other))
    assert broken(results) == {"distinct seeds"}


def test_a_seed_that_scratch_has_and_a_strategy_lacks_is_missing(results: Path):
    source, target = results / "short/scratch/1/seed-0", results / "short/mine/1/seed-0"
    target.mkdir(parents=True)
    for name in ("trial.json", "evals.jsonl"):
        (target / name).write_bytes((source / name).read_bytes())
    change(target, lambda record: record["strategy"].update(name="mine"))
    assert broken(results) == {"none missing"}


def test_without_scratch_no_row_can_be_checked(results: Path):
    (results / "short/scratch").rename(results / "short/mine")
    for seed in range(2):
        change(results / f"short/mine/1/seed-{seed}", lambda record: record["strategy"].update(name="mine"))
    assert broken(results) == {"none missing"}


def test_nothing_to_check_is_an_error(tmp_path: Path):
    with pytest.raises(RecordError, match="no trials, expected at least one"):
        check_results(tmp_path)
    with pytest.raises(RecordError, match="no such results folder"):
        check_results(tmp_path / "nowhere")


def test_fewer_images_than_the_steps_had_is_a_broken_ledger(results: Path):
    folder = results / "short/scratch/1/seed-1"
    step = json.loads((folder / "trial.json").read_text())["flops_per_image"]["step"]

    def halve(totals: dict) -> dict:
        return totals | {"images": totals["images"] // 2, "train_flops": totals["images"] // 2 * step}

    rows = [halve(json.loads(line)) for line in (folder / "evals.jsonl").read_text().splitlines()]
    (folder / "evals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    change(folder, lambda record: record.update(summary=halve(record["summary"])))
    seal(folder)
    assert broken(results) == {"ledger"}


def test_a_copied_seed_folder_is_named_as_a_copy(tmp_path: Path):
    first = finished(tmp_path, [0.5, 0.6], seed=1)
    finished(tmp_path, [0.5, 0.6], seed=2)
    shutil.copytree(first, first.with_name("seed-3"))
    told = {violation.rule: violation.found for violation in check_results(tmp_path).violations}
    assert told["distinct seeds"] == (
        "made-up/scratch/1/seed-3 is a copy of made-up/scratch/1/seed-1: it ended with the same weights"
    )
    assert told["place"] == "expected in made-up/scratch/1/seed-1"
    change(first.with_name("seed-3"), lambda record: record.update(seed=3))  # and passed off as another seed
    told = {violation.rule: violation.found for violation in check_results(tmp_path).violations}
    assert "seed-3 is a copy of made-up/scratch/1/seed-1" in told["distinct seeds"]
    assert "place" not in told
