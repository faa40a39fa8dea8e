from __future__ import annotations

import time

import pytest
import torch

from bench.metering.clock import PhaseClock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time on a clock, which tests advance."""
    hand = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: hand[0])
    return hand


def test_every_second_belongs_to_its_phase(now: list[float]):
    clock = PhaseClock(torch.device("cpu"))
    for phase, seconds in (("build", 1.0), ("train", 5.0), ("evaluate", 2.0), ("train", 3.0)):
        with clock.phase(phase):
            now[0] += seconds
    now[0] += 1.0
    assert clock.seconds == {"build": 1.0, "prepare": 0.0, "train": 8.0, "evaluate": 2.0, "io": 0.0}
    assert clock.wall_seconds == 12.0
    assert clock.unaccounted_share() == pytest.approx(1 / 12)


def test_an_earlier_sessions_seconds_are_added(now: list[float]):
    first = PhaseClock(torch.device("cpu"))
    with first.phase("train"):
        now[0] += 4.0
    second = PhaseClock(torch.device("cpu"))
    second.restore(first.state())
    with second.phase("train"):
        now[0] += 1.0
    assert second.seconds["train"] == 5.0
    assert second.wall_seconds == 5.0


def test_phases_do_not_nest():
    clock = PhaseClock(torch.device("cpu"))
    with (
        clock.phase("train"),
        pytest.raises(AssertionError, match="evaluate inside phase train"),
        clock.phase("evaluate"),
    ):
        pass


def test_a_failure_still_stops_the_phase(now: list[float]):
    clock = PhaseClock(torch.device("cpu"))

    def broken() -> None:
        with clock.phase("train"):
            now[0] += 2.0
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    with clock.phase("io"):
        now[0] += 1.0
    assert (clock.seconds["train"], clock.seconds["io"]) == (2.0, 1.0)


def test_a_gpu_is_drained_on_both_sides_and_meters_are_read_in_between(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []

    class Telling:
        name = "telling"

        def begin(self, phase):
            said.append(f"begin {phase}")

        def end(self, phase):
            said.append(f"end {phase}")

        def state(self):
            return {}

        def restore(self, state):
            said.append(f"restore {state}")

    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: said.append("drained"))
    clock = PhaseClock(torch.device("cuda:0"), [Telling()])
    with clock.phase("train"):
        said.append("training")
    assert said == ["drained", "begin train", "training", "drained", "end train"]
    clock.restore({**clock.state(), "meters": {}})  # an earlier session without this meter
    assert said[-1] == "restore None"


def test_reading_meters_is_io_and_not_part_of_a_phase(now: list[float]):
    class Slow:
        name = "slow"

        def begin(self, phase: str) -> None:
            now[0] += 0.25

        def end(self, phase: str) -> None:
            now[0] += 0.5

    clock = PhaseClock(torch.device("cpu"), [Slow()])
    with clock.phase("train"):
        now[0] += 2.0
    assert (clock.seconds["train"], clock.seconds["io"]) == (2.0, 0.75)
    assert clock.unaccounted_share() == 0
