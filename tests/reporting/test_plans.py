from __future__ import annotations

import pytest

from bench.catalog import find_scenario
from bench.execution.estimate import Estimate, Plan
from bench.reporting.layout import Cells, text_lines
from bench.reporting.plans import duration, plan_cells, scenario_cells
from bench.scenario import load_scenario


def text_of(cells: Cells) -> list[str]:
    return [cells.heading, *text_lines(cells), *cells.notes]


def test_the_list_says_what_arrives_in_each_stage_and_whether_data_are_there():
    names = ("cifar100-70-30-memory-20", "cifar100-half-half", "pacs-photo-art")
    scenarios = [load_scenario(find_scenario(name)) for name in names]
    lines = text_of(scenario_cells(scenarios, ["ready", "missing: x", "ready"], [None] * 3))
    memory, half, pacs = (next(line for line in lines if line.lstrip().startswith(name)) for name in names)
    assert "70 + 30 (old: 20%)" in memory
    assert "50% + 50%" in half
    assert "missing: x" in half
    assert "photo + art_painting" in pacs
    assert "domain" in pacs


def test_a_plan_totals_what_is_due():
    rows = (Estimate("base model", 0, 3, 1, 10, 640, 100, 60.0), Estimate("scratch", 1, 3, 2, 20, 1280, 200, 3600.0))
    lines = text_of(plan_cells(load_scenario(find_scenario("digits-7-3")), Plan(rows, "a device", 50, 1, 7260.0)))
    assert lines[0].startswith("Digits: 7 classes")
    scratch = next(line for line in lines if "scratch " in line).split()
    assert scratch == ["scratch", "1", "3", "2", "20", "1,280", "2.000e+02", "60", "min", "4.000e+02", "2.0", "h"]
    total = next(line for line in lines if line.lstrip().startswith("all ") and "5.000e+02" in line)
    assert " 3 " in total
    assert "from 50 steps of scratch on a device" in " ".join(lines)


def test_a_plan_of_side_by_side_trials_says_how_its_time_was_worked_out():
    rows = (Estimate("scratch", 1, 3, 3, 20, 1280, 200, 3600.0),)
    scenario = load_scenario(find_scenario("digits-7-3"))
    lines = text_of(plan_cells(scenario, Plan(rows, "a device", 50, 2, 7200.0)))
    assert next(line for line in lines if line.lstrip().startswith("all ")).split()[-2:] == ["2.0", "h"]
    assert "Time of all: 2 trials side by side" in " ".join(lines)
    one = text_of(plan_cells(scenario, Plan(rows, "a device", 50, 1, 10800.0)))
    assert "side by side" not in " ".join(one)


@pytest.mark.parametrize(("seconds", "text"), [(45.2, "45 s"), (750, "12 min"), (12240, "3.4 h")])
def test_durations_are_in_the_unit_that_suits_them(seconds: float, text: str):
    assert duration(seconds) == text
