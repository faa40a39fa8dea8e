from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.records.schema import EvalRow, GpuUse, TrialRecord
from bench.reporting.progress import _Bars, progress_for, result_in_words
from bench.strategies.strategy import Entrant
from tests.conftest import RunTrial


@pytest.fixture
def record(run_trial: RunTrial, scratch: Entrant) -> TrialRecord:
    return run_trial(scratch).record


def changed(record: TrialRecord, **summary: object) -> TrialRecord:
    return record.model_copy(update={"summary": record.summary.model_copy(update=summary)})


def row(step: int) -> EvalRow:
    numbers = dict.fromkeys(EvalRow.model_fields, 0)
    return EvalRow.model_validate({**numbers, "step": step, "validation_accuracy": step / 100})


def test_a_terminal_shows_a_bar_for_each_trial_in_progress():
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress_for(screen) as listener:
        assert isinstance(listener, _Bars)
        shown = listener._progress

        def bars() -> dict[str, tuple[float, float | None]]:
            return {task.description: (task.completed, task.total) for task in shown.tasks}

        listener.planned(2, 2, 90)
        listener.began("naive seed 0", 50, 10)
        listener.began("scratch seed 0", 40, 0)
        listener.evaluated("scratch seed 0", row(20), 40)
        listener.evaluated("naive seed 0", row(30), 50)
        assert bars() == {"all steps": (50, 90), "naive seed 0": (30, 50), "scratch seed 0": (20, 40)}
        listener.ended("naive seed 0", None)
        listener.evaluated("scratch seed 0", row(40), 40)
        assert bars() == {"all steps": (70, 90), "scratch seed 0": (40, 40)}
        listener.ended("optimized seed 0", None)  # failed before it began
        assert "optimized seed 0" not in bars()
        listener.planned(1, 1, 30)  # the next scenario of an ablation
        assert bars()["all steps"] == (70, 100)


def test_without_a_terminal_every_line_says_which_trial_it_is_about():
    screen = Console(file=io.StringIO(), width=120)
    with progress_for(screen) as listener:
        listener.planned(2, 2, 90)
        listener.began("naive seed 0", 50, 10)
        listener.began("scratch seed 0", 40, 0)
        listener.ended("naive seed 0", None)
    assert screen.file.getvalue().splitlines() == [
        "2 trials: 2 to run, 0 finished already",
        "naive seed 0: resumes after step 10",
        "scratch seed 0: 40 steps",
        "naive seed 0: failed",
    ]


def test_a_quiet_trial_has_no_warning(record: TrialRecord):
    seconds = record.summary.train_seconds * record.provenance.cpus
    assert "busy" not in result_in_words(changed(record, other_cpu_seconds=0.04 * seconds))
    assert "busy" not in result_in_words(changed(record, other_cpu_seconds=None))


def test_a_busy_machine_is_reported(record: TrialRecord):
    seconds = record.summary.train_seconds * record.provenance.cpus
    words = result_in_words(changed(record, other_cpu_seconds=0.25 * seconds))
    assert "the machine was busy: other processes used 25% of its CPU time" in words


def test_the_neighbours_of_a_trial_do_not_count_as_a_busy_machine(record: TrialRecord):
    origin = record.provenance.model_copy(update={"jobs": 2, "threads": 1, "cpus": 2})
    beside = record.model_copy(update={"provenance": origin})
    seconds = record.summary.train_seconds
    assert "busy" not in result_in_words(changed(beside, other_cpu_seconds=1.05 * seconds))
    words = result_in_words(changed(beside, other_cpu_seconds=1.5 * seconds))
    assert "the machine was busy: other processes used 25% of its CPU time" in words


def test_a_throttled_gpu_is_reported(record: TrialRecord):
    use = GpuUse(
        samples=10,
        utilization=1.0,
        sm_clock_mhz=1500,
        temperature_celsius=85,
        power_watts=350,
        slowed_share=0.3,
        slowed_by=("hardware thermal", "power cap"),
    )
    words = result_in_words(changed(record, gpu_use=use, other_cpu_seconds=None))
    assert "the GPU's clocks were throttled 30% of the time: hardware thermal, power cap" in words
