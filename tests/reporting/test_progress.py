from __future__ import annotations

import pytest

from bench.records.schema import GpuUse, TrialRecord
from bench.reporting.progress import result_in_words
from bench.strategies.strategy import Entrant
from tests.conftest import RunTrial


@pytest.fixture
def record(run_trial: RunTrial, scratch: Entrant) -> TrialRecord:
    return run_trial(scratch).record


def changed(record: TrialRecord, **summary: object) -> TrialRecord:
    return record.model_copy(update={"summary": record.summary.model_copy(update=summary)})


def test_a_quiet_trial_has_no_warning(record: TrialRecord):
    seconds = record.summary.train_seconds * record.provenance.cpus
    assert "busy" not in result_in_words(changed(record, other_cpu_seconds=0.04 * seconds))
    assert "busy" not in result_in_words(changed(record, other_cpu_seconds=None))


def test_a_busy_machine_is_reported(record: TrialRecord):
    seconds = record.summary.train_seconds * record.provenance.cpus
    words = result_in_words(changed(record, other_cpu_seconds=0.25 * seconds))
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
