"""bench merge: records of several machines in one folder, nothing mixed up and nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.records.store import find_trials
from tests.cli.test_main import bench, refused
from tests.cli.test_records import NAME, change, trial

_RESULTS = Path(__file__).resolve().parents[2] / "results"
OTHERS = shutil.ignore_patterns("optimized")  # the rest are three strategies of one length, three seeds each


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    """The committed records of a scenario on two machines: seeds 0 and 1 on one, 1 and 2 on the other."""
    places = (tmp_path / "here", tmp_path / "there")
    for place, without in zip(places, (2, 0), strict=True):
        shutil.copytree(_RESULTS / NAME, place / NAME, ignore=OTHERS)
        for folder in list(place.rglob(f"seed-{without}")):
            shutil.rmtree(folder)
    return places


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_halves_are_the_whole_to_the_byte(parts: tuple[Path, Path], tmp_path: Path):
    done = bench("merge", *parts, "--results", tmp_path / "whole")
    assert done.exit_code == 0, done.output
    shutil.copytree(_RESULTS / NAME, tmp_path / "all", ignore=OTHERS)
    assert files(tmp_path / "whole" / NAME) == files(tmp_path / "all")
    here, there = done.stdout.splitlines()
    assert here == f"{parts[0]}: 6 copied"
    assert there == f"{parts[1]}: 3 copied, 3 there already, equal"
    again = bench("merge", *parts, "--results", tmp_path / "whole")
    assert again.stdout.splitlines() == [f"{part}: 6 there already, equal" for part in parts]
    assert bench("leaderboard", "--results", tmp_path / "whole").exit_code == 0


def test_what_was_only_measured_again_is_equal_and_the_first_record_stays(parts: tuple[Path, Path]):
    folder = trial(parts[1], "naive", 1)
    change(folder, lambda record: record["summary"].update(train_seconds=1.5, wall_seconds=2.0, sittings=2))
    before = (trial(parts[0], "naive", 1) / "trial.json").read_bytes()
    done = bench("merge", parts[1], "--results", parts[0])
    assert done.stdout.splitlines() == [f"{parts[1]}: 3 copied, 3 there already, equal"]
    assert (trial(parts[0], "naive", 1) / "trial.json").read_bytes() == before


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (lambda record: record["summary"].update(test_accuracy=0.5), "test_accuracy: found 0.5, expected 0.9"),
        (lambda record: record["summary"].update(train_flops=1), "train_flops: found 1, expected "),
        (lambda record: record.update(strategy_hash="f" * 16), "strategy naive has another content than in "),
        (lambda record: record.update(scenario_hash="f" * 16), f"scenario {NAME} has another content than in "),
        (lambda record: record["provenance"].update(data_hash="f" * 16), f"scenario {NAME} has other images than in "),
        (lambda record: record.update(training_version=99), "it was trained by another version than in "),
        (lambda record: record.update(rules_version=99), "it was measured by other rules than in "),
    ],
)
def test_a_conflict_is_named_and_nothing_is_copied(parts: tuple[Path, Path], how, expected: str):
    change(trial(parts[1], "naive", 1), how)
    before = files(parts[0])
    line = refused(bench("merge", parts[1], "--results", parts[0]))
    assert expected in line
    assert f"{trial(parts[1], 'naive', 1)}: " in line
    assert "Nothing was copied." in line
    assert files(parts[0]) == before


def test_another_evaluation_is_a_conflict(parts: tuple[Path, Path]):
    path = trial(parts[1], "naive", 1) / "evals.jsonl"
    first, *rest = path.read_text().splitlines()
    changed = json.dumps(json.loads(first) | {"validation_accuracy": 0.25})
    path.write_text("".join(f"{line}\n" for line in [changed, *rest]))
    step = json.loads(first)["step"]
    assert f"step {step}: validation_accuracy: found 0.25, expected " in refused(
        bench("merge", parts[1], "--results", parts[0])
    )


def test_unfinished_trials_stay_where_they_are_and_are_replaced_by_finished_ones(parts: tuple[Path, Path]):
    for part, seed in zip(parts, (1, 2), strict=True):
        change(trial(part, "naive", seed), lambda record: record.update(status="running", summary=None))
    done = bench("merge", parts[1], "--results", parts[0])
    assert done.stdout.splitlines() == [
        f"{parts[1]}: 2 copied, 1 in place of unfinished ones, 2 there already, equal, 1 unfinished, left out"
    ]
    assert files(trial(parts[0], "naive", 1)) == files(trial(parts[1], "naive", 1))


def test_a_copy_that_fails_leaves_no_record_behind(parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = len(list(find_trials(parts[0])))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        line = refused(bench("merge", parts[1], "--results", parts[0]))
    assert "cannot be written (No space left on device). Free some space" in line
    assert len(list(find_trials(parts[0]))) == before
    assert bench("merge", parts[1], "--results", parts[0]).exit_code == 0


def test_a_source_that_is_no_folder_or_the_target_itself_is_one_line(parts: tuple[Path, Path], tmp_path: Path):
    assert "nowhere: not found, expected a folder" in refused(
        bench("merge", tmp_path / "nowhere", "--results", parts[0])
    )
    assert "found as source and as target" in refused(bench("merge", parts[0], "--results", parts[0]))


def test_imported_curves_come_along_and_must_not_differ(parts: tuple[Path, Path], tmp_path: Path):
    head, whole = "step,cost,accuracy,seed,strategy\n", tmp_path / "whole"
    mine, other = parts[0] / NAME / "imported-mine.csv", parts[1] / NAME / "imported-other.csv"
    mine.write_text(f"{head}1,2.0,0.5,0,mine\n")
    other.write_text(f"{head}1,2.0,0.6,0,other\n")
    done = bench("merge", *parts, "--results", whole)
    assert done.stdout.splitlines() == [
        f"{parts[0]}: 6 copied, 1 of imported curves copied",
        f"{parts[1]}: 3 copied, 3 there already, equal, 1 of imported curves copied",
    ]
    assert (whole / NAME / mine.name).read_bytes() == mine.read_bytes()
    assert (whole / NAME / other.name).read_bytes() == other.read_bytes()
    again = bench("merge", parts[0], "--results", whole)
    assert again.stdout.strip() == f"{parts[0]}: 6 there already, equal, 1 of imported curves there already, equal"
    shown = bench("leaderboard", "--results", whole, "--format", "csv").stdout
    assert "mine (imported, not audited)" in shown
    before = files(whole)
    mine.write_text(f"{head}1,2.0,0.7,0,mine\n")
    line = refused(bench("merge", parts[0], "--results", whole))
    assert f"{mine}: {whole / NAME / mine.name} holds other curves. Nothing was copied." in line
    mine.unlink()
    clash = parts[0] / NAME / "imported-more.csv"
    clash.write_text(f"{head}1,2.0,0.7,0,other\n")
    assert f"{whole / NAME / other.name} has curves of other already. Nothing" in refused(
        bench("merge", parts[0], "--results", whole)
    )
    assert files(whole) == before
