"""bench status: how far runs are, from another terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.locks import locked
from bench.records.status import progress
from tests.cli.test_main import bench, refused
from tests.records.made_up import evaluation, finished, trial, write


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One trial of each state but for those that need a process."""
    results = tmp_path / "results"
    finished(results, [0.25, 0.5, 0.6, 0.7])
    lines = [evaluation(10, 0.3, train_seconds=2.0, evaluate_seconds=0.5)]
    write(results, trial(strategy="naive"), lines)
    write(results, trial(strategy="naive", seed=1, status="interrupted", schema_version=7), [])
    write(results, trial(strategy="naive", seed=2, status="failed", reason="out of memory"), lines)
    write(results, trial(strategy="naive", seed=3), [])
    (results / "made-up/naive/1/seed-3/trial.json").write_text("{")
    return results


def states(results: Path) -> dict[str, str]:
    return {each.place: each.state for each in progress(results)}


def test_states_are_those_of_records_and_locks(results: Path):
    begun = {
        "made-up/scratch/1/seed-0": "finished",
        "made-up/naive/1/seed-0": "cut off",
        "made-up/naive/1/seed-1": "interrupted",
        "made-up/naive/1/seed-2": "failed",
        "made-up/naive/1/seed-3": "unreadable",
    }
    assert states(results) == begun
    nobodys = results / "made-up/naive/1/seed-9.lock"
    nobodys.write_text("{}")
    os.utime(nobodys, (0, 0))  # names nobody, and nobody is writing it
    with locked(results / "made-up/naive/1/seed-0.lock"), locked(results / "made-up/naive/1/seed-7.lock"):
        found = {each.place: each for each in progress(results)}
        assert {place: each.state for place, each in found.items()} == begun | {
            "made-up/naive/1/seed-0": "running",
            "made-up/naive/1/seed-7": "starting",
        }
        runs = found["made-up/naive/1/seed-0"]
        assert (runs.steps, runs.total_steps, runs.accuracy) == (10, 40, 0.3)
        assert runs.seconds_left == pytest.approx(7.5)  # 2.5 s for 10 steps, 30 to go
        assert runs.who is not None
        assert runs.who.startswith("process ")
    assert states(results)["made-up/naive/1/seed-0"] == "cut off"


def test_the_table_counts_what_is_finished_and_has_a_line_for_the_rest(results: Path):
    with locked(results / "made-up/naive/1/seed-0.lock"):
        printed = bench("status", "--results", results, "--wide").stdout
    title, heading, *rows = printed.splitlines()
    assert title == f"{results}: 1 running, 1 interrupted, 1 failed, 1 unreadable, 1 finished"
    assert heading.split() == ["trial", "state", "steps", "validation", "left,", "about", "by", "whom,", "or", "why"]
    assert rows[0].split()[:7] == ["made-up/naive/1/seed-0", "running", "10", "of", "40", "0.3000", "8"]
    assert "out of memory" in next(row for row in rows if "seed-2" in row)
    assert not any(row.startswith("made-up/scratch") for row in rows)
    everything = bench("status", "--results", results, "--wide", "--all").stdout
    assert any(row.startswith("made-up/scratch") for row in everything.splitlines())
    assert bench("status", "--results", results).exit_code == 0


def test_a_folder_without_trials_and_no_folder(tmp_path: Path):
    assert bench("status", "--results", tmp_path).stdout == f"{tmp_path}: no trials\n"
    assert "no such results folder" in refused(bench("status", "--results", tmp_path / "nothing"))


def test_asking_changes_nothing(results: Path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results.rglob("*") if path.is_file()}
    bench("status", "--results", results)
    assert {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results.rglob("*") if path.is_file()
    } == before
    assert json.loads((results / "made-up/naive/1/seed-2/trial.json").read_text())["status"] == "failed"
