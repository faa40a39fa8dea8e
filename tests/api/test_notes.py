"""What is slower here than it could be is said before a run, in a line each."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.execution import local
from bench.scenario import Scenario
from bench.training import provenance
from tests.conftest import CPU, shorten


def notes(scenario: Scenario, folder: Path) -> tuple[str, ...]:
    return bench.plan(scenario, ["scratch"], [0], results=folder / "runs", device="cpu").notes


def test_bf16_on_a_processor_without_units_for_it_is_noted(
    short: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    in_bf16 = shorten(short, precision="bf16")
    for units, said in (((), True), (("avx512_bf16",), False)):
        monkeypatch.setattr(local, "bfloat16_units", lambda units=units: units)
        found = notes(in_bf16, tmp_path)
        assert bool(found) is said
        assert all("training.precision is bf16, but this processor has no units for it" in line for line in found)
        assert notes(short, tmp_path) == ()


def test_a_record_of_bf16_on_a_cpu_says_what_computed_it(short: Scenario, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provenance, "bfloat16_units", lambda: ("amx_bf16",))
    places = [
        provenance.describe_run(scenario, "digits", "hash", CPU, False, "eager", "test")
        for scenario in (short, shorten(short, precision="bf16"))
    ]
    assert [place.bf16_units for place in places] == [None, ("amx_bf16",)]


def test_a_scenario_that_cannot_be_compiled_here_is_noted(
    short: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    found = notes(shorten(short, compile=True), tmp_path)
    assert found == ("steps run eager: no torch.compile: found no C++ compiler /no/such/compiler",)
