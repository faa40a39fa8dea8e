from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.cli.speed import MODELS
from bench.errors import BenchError
from bench.execution import loops
from bench.execution.loops import CASES, Case, Spent
from bench.execution.speed import measure_speed, take_turns
from bench.execution.usual import UsualElsewhere
from bench.records.speed import SpeedRecord, read_speeds, write_speed
from bench.records.store import find_trials
from bench.reporting.speed import profile_cells, speed_cells
from bench.training.step import choose_step

RESULTS = Path(__file__).resolve().parents[2] / "results"
TINY = Case("mlp", (1, 8, 8), 16)


@pytest.fixture(scope="module")
def record() -> SpeedRecord:
    return measure_speed(TINY, device="cpu", threads=1, pairs=2, round_seconds=0.01, workers=0, images=64)


def test_the_command_offers_every_case():
    assert tuple(CASES) == MODELS


def test_a_record_holds_all_three_loops_and_what_they_did(record: SpeedRecord, tmp_path: Path):
    assert (record.model, record.image, record.batch_size, record.way) == ("mlp", (1, 8, 8), 16, "eager")
    assert record.parameters == 64 * 512 + 512 + 512 * 10 + 10
    # Forward, and the gradient of each weight; of the inputs only the second layer's.
    assert record.flops_per_step == 16 * 2 * (2 * 64 * 512 + 3 * 512 * 10)
    for loop in record.loops.values():
        assert len(loop.seconds_per_step) == len(loop.cpu_seconds_per_step) == 2
        assert min(loop.seconds_per_step) > 0
    ours = record.loops["ours"]
    assert record.flops_per_second == pytest.approx(record.flops_per_step * ours.images_per_second / 16)
    for ratios, name in ((record.ratios, "seconds_per_step"), (record.cpu_ratios, "cpu_seconds_per_step")):
        assert set(ratios) == {"bare", "usual"}
        for other, ratio in ratios.items():
            pairs = zip(getattr(record.loops[other], name), getattr(ours, name), strict=True)
            product = 1.0
            for above, below in pairs:
                product *= above / below
            assert ratio.value == pytest.approx(product**0.5)
    assert record.peak_flops is None
    assert record.provenance.threads == 1
    assert record.provenance.device_type == "cpu"
    assert 0 < record.evaluation_share < 1
    assert record.profile.device_seconds is None
    assert record.profile.wall_seconds > 0
    assert 0 < sum(each.share for each in record.profile.operators) <= 1 + 1e-9


def test_records_come_back_as_they_were_and_are_no_trials(record: SpeedRecord, tmp_path: Path):
    path = write_speed(tmp_path, record)
    assert path.name.startswith("mlp-8px-fp32-eager-1-threads-")
    assert read_speeds(tmp_path) == [record]
    assert list(find_trials(tmp_path)) == []


def test_tables_and_figure_are_made_of_records_alone(record: SpeedRecord, tmp_path: Path):
    write_speed(tmp_path, record)
    figure = tmp_path / "speed.svg"
    words = ["speed", "--show", "--results", str(tmp_path), "--wide", "--profile", "--figure", str(figure)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    row = dict(zip((c.key for c in speed_cells([record]).columns), speed_cells([record]).rows[0], strict=True))
    assert row["peak"] == "unknown"
    assert row["images_per_second"] in done.output
    assert profile_cells(record).rows[0][0] in done.output
    assert figure.read_text(encoding="utf-8").count(f"bare {record.name}") == 2


def test_loops_take_turns_and_alternate_who_begins():
    order = []

    class Steady:
        def __init__(self, name: str, seconds: float) -> None:
            self._name, self._seconds = name, seconds

        def run(self, steps: int) -> Spent:
            order.append((self._name, steps))
            return Spent(steps * self._seconds, 2 * steps * self._seconds)

    found = take_turns({"ours": Steady("o", 0.25), "bare": Steady("b", 0.5)}, 3, 1.0, 8, lambda line: None)
    assert order[-6:] == [("o", 4), ("b", 2), ("b", 2), ("o", 4), ("o", 4), ("b", 2)]
    assert found["ours"].seconds_per_step == (0.25,) * 3
    assert found["bare"].cpu_seconds_per_step == (1.0,) * 3
    assert (found["ours"].images_per_second, found["bare"].images_per_second) == (32, 16)


def test_a_training_that_is_at_its_end_begins_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loops, "_EPOCHS", 1)
    device = loops.ready("cpu", 1)
    scenario = loops.scenario_of(TINY, "fp32")
    update, _, _ = loops.made_up_update(TINY, scenario, 64, device)
    ours = loops.Ours(scenario, update, choose_step("eager", device), device)
    assert ours.learner.total_steps == 4
    ours.run(10)
    assert ours.learner.ledger.steps == 2


def test_the_usual_loop_runs_elsewhere_and_counts_what_it_spends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.execution.usual._PROGRAM", _SEEN)
    monkeypatch.setattr("bench.processors._set_here", {"GOMP_SPINCOUNT"})
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # by bench
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # by the user
    usual = UsualElsewhere(TINY, "fp32", 64, 0, "cpu", 1)
    first, second = usual.run(2), usual.run(3)
    assert first.seconds > 0
    assert first.cpu_seconds + second.cpu_seconds < usual.cpu_seconds < 600
    usual.end()
    assert usual._process is not None
    assert usual._process.returncode is not None


def test_a_usual_loop_whose_process_ends_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.execution.usual._PROGRAM", "raise SystemExit('no room\\n')")
    usual = UsualElsewhere(TINY, "fp32", 64, 0, "cpu", 1)
    with pytest.raises(
        BenchError, match=r"^bench speed: the usual loop's process ended \(no room\), expected its times. Run it"
    ):
        usual.run(2)
    usual.end()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--show"], "speed: no records, expected some of bench speed. Run: bench speed --results"),
        (
            ["--show", "--harness"],
            "harness: no records, expected some of bench speed. Run: bench speed --harness --results",
        ),
        (["--show", "--processes", "2"], "Run: bench speed --processes 2 --results"),
        (["--figure", "speed.gif"], "--figure speed.gif: expected a name that ends in .pdf, .svg or .png. Change it."),
        (["--step", "graph", "--device", "cpu"], "--step graph: the device is cpu, expected a GPU"),
        (["--images", "100", "--device", "cpu"], "--images 100: expected at least two batches of 128. Raise it."),
        (["--harness", "--trials", "10"], "--trials 10: expected at least 20: scratch and another strategy. Raise it."),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], complaint: str, tmp_path: Path):
    done = CliRunner().invoke(main, ["speed", *words, "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert not (tmp_path / "speed").exists()


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["--harness"], "10,000 trials of 200 evaluations"),
        (["--processes", "2"], "digits-7-3: trials of scratch, 10 pairs of turns of 4"),
        ([], "Speed of the training step"),
    ],
)
def test_what_was_measured_is_shown_again_without_measuring(words: list[str], printed: str):
    done = CliRunner().invoke(main, ["speed", "--show", *words, "--results", str(RESULTS)])
    assert done.exit_code == 0, done.stderr
    assert printed in done.stdout
    assert not done.stderr


def test_a_file_that_is_no_record_is_named(tmp_path: Path):
    (tmp_path / "speed").mkdir()
    (tmp_path / "speed" / "other.json").write_text('{"speed_version": 1}')
    done = CliRunner().invoke(main, ["speed", "--show", "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert "other.json: model: Field required, expected a record of bench speed. Run it again." in done.stderr


_SEEN = """
import os
import torch
from bench.execution import usual

assert "GOMP_SPINCOUNT" not in os.environ
assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
usual.serve()
"""
