"""The map of savings: what is run, and what is made of its records."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data.sources import glyphs

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "studies" / "savings.py"


@pytest.fixture(scope="module")
def study() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_every_point_is_glyphs_with_one_thing_changed(study: dict, tmp_path: Path):
    points = list(study["points"]())
    assert {point.panel for point in points} == set(study["PANELS"])
    whole = study["scenario_of"](next(point for point in points if point.scenario == "savings-classes-15"), tmp_path)
    for point in points:
        scenario = study["scenario_of"](point, tmp_path)
        assert 1 <= point.update <= scenario.updates
        training = scenario.training.model_copy(update={"base_epochs": None})
        assert (scenario.model, training, scenario.evaluation) == (whole.model, whole.training, whole.evaluation)
        assert (scenario.training.base_epochs is None) == ("base" not in point.scenario)
    made = {point.scenario: study["scenario_of"](point, tmp_path) for point in points}
    assert [stage.classes for stage in made["savings-chain"].stages] == [17, 5, 5, 5, 5, 5, 5]
    lengths = [made[f"savings-base-{share}"].training.base_epochs for share in (50, 200)]
    assert lengths == [whole.training.epochs / 2, 2 * whole.training.epochs]


def test_the_domains_are_drawn_once_and_differ_where_they_should(study: dict, tmp_path: Path):
    study["write_domains"](tmp_path)
    arrays = {path.stem: np.load(path)["x_train"].astype(float) for path in tmp_path.glob("*.npz")}
    assert sorted(arrays) == ["font-new", "font-old", "noise-new", "noise-old", "serif-new", "serif-old"]
    assert np.array_equal(arrays["serif-old"], glyphs.family("sans")["x_train"])
    # Twice the noise: the standard deviation of a sum of four uniform integers of -28..28 is sqrt(4 * (57^2 - 1) / 12).
    flat = glyphs.render(glyphs.SANS, ("a", "test"), noise=28, contrast=(0, 0))["x_train"].astype(float)
    inner = flat[(flat.min(axis=(1, 2)) > 0)]
    assert inner.std(axis=(1, 2)).mean() == pytest.approx((4 * (57**2 - 1) / 12) ** 0.5, rel=0.1)
    assert arrays["noise-new"].std() != arrays["noise-old"].std()


def test_the_table_and_the_figure_say_what_is_open(study: dict):
    about = {"panel": "classes", "label": "4", "n": 3, "relation": "=", "low": 1.0, "high": 5.93}
    rows = pd.DataFrame(
        [
            about | {"value": 2.34, "low_open": True, "high_open": False},
            about | {"panel": "memory", "label": "20", "value": 1.0, "relation": "<", "low": np.nan, "high": np.nan},
        ]
    )
    lines = study["markdown"](rows).splitlines()
    assert lines[6] == "| New classes, % of all 47 | 4 | 2.34 | < 1.00 to 5.93 | 3 |"
    assert lines[7] == "| Old images still at hand, % | 20 | < 1.00 |  | 3 |"
    figure = study["draw"](rows)
    drawn = [axes for axes in figure.axes if axes.get_xlabel()]
    assert [axes.get_xlabel() for axes in drawn] == ["New classes, % of all 47", "Old images still at hand, %"]


def test_the_committed_table_is_made_from_the_committed_records(study: dict):
    rows = study["table"](SCRIPT.parents[2] / "results" / "savings")
    assert study["markdown"](rows) == (SCRIPT.parent / "savings.md").read_text(encoding="utf-8")
