from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.catalog import find_scenario
from bench.errors import TrialError
from tests.gpu.throughput import Counter, Throughput, counter_text, main, speeds, watch_counter


def test_ratios_are_taken_round_by_round():
    seconds = {"eager": [0.02, 0.04, 0.03], "graph": [0.01, 0.01, 0.03]}
    eager, graph = speeds(seconds, {"eager": 1.0, "graph": 2.0}, batch_size=60)
    assert (eager.ratio, eager.ratio_min, eager.ratio_max) == (1, 1, 1)
    assert (eager.ms_per_step, eager.images_per_second) == pytest.approx((30, 2000))
    assert (graph.ratio, graph.ratio_min, graph.ratio_max) == pytest.approx((2, 1, 4))
    assert (graph.ms_per_step, graph.prepare_seconds) == pytest.approx((10, 2))


def test_a_counters_refresh_is_the_time_between_its_changes():
    clock = 0.0

    def now() -> float:
        return clock

    def read() -> float:
        nonlocal clock
        clock += 0.004
        return clock // 0.1

    found = watch_counter(read, 2.0, now)
    assert found.reading_seconds == pytest.approx(0.004)
    assert found.refresh_seconds == pytest.approx(0.1, abs=0.004)
    assert found.changes == pytest.approx(20, abs=1)
    assert counter_text(found).endswith("refreshed every 100 ms, one reading takes 4.00 ms")
    assert "0 changes in 2 s" in counter_text(Counter(None, 0.001, 0))


def test_the_real_step_is_timed_in_each_mode_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prepare = Throughput.prepare

    def without_compiler(self: Throughput, mode: str) -> None:
        if mode == "compiled":
            raise TrialError("no compiler here")
        prepare(self, mode)

    monkeypatch.setattr(Throughput, "prepare", without_compiler)
    out = tmp_path / "throughput.json"
    words = ["--scenario", str(find_scenario("digits-7-3")), "--device", "cpu"]
    done = CliRunner().invoke(main, [*words, "--data-root", str(tmp_path), "--steps", "2", "--out", str(out)])
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    assert [each["mode"] for each in written["modes"]] == ["eager"]  # graphs are CUDA's
    assert written["failed"] == {"compiled": "no compiler here"}
    assert "compiled: failed: no compiler here" in done.output
    assert written["batch_size"] == 64
    assert written["modes"][0]["images_per_second"] > 0
    assert "eager" in done.output.splitlines()[-1]
