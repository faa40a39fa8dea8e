"""Known effects: what is run, and what is made of its records."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "studies" / "effects.py"


@pytest.fixture(scope="module")
def study() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_each_effect_is_the_glyphs_with_what_it_says_changed(study: dict):
    plain, augmented, probed = map(study["scenario_of"], study["EFFECTS"])
    assert (plain.training.crop_padding, plain.training.weight_decay, plain.training.base_decay) == (0, 0, 0.01)
    assert [stage.share for stage in plain.stages] == [stage.share for stage in augmented.stages] == [0.5, 0.5]
    assert augmented.training.crop_padding == 1
    assert [stage.classes for stage in probed.stages] == [32, 15]
    # A constant rate, from the first step to the last.
    assert set(study["CONSTANT"].factors(100)) == {1.0}


def test_the_table_is_that_of_the_committed_records(study: dict):
    rows = study["table"](SCRIPT.parents[2] / "results" / "effects")
    assert study["markdown"](rows) == (SCRIPT.parent / "effects.md").read_text(encoding="utf-8")


def test_the_findings_quote_the_table(study: dict):
    found = " ".join((SCRIPT.parents[1] / "findings.md").read_text(encoding="utf-8").split())
    for row in study["table"](SCRIPT.parents[2] / "results" / "effects").to_dict("records"):
        low, high = (f"{100 * row[end]:+.1f}" for end in ("low", "high"))
        if row["low"] > 0:
            low, high = low[1:], high[1:]
        if (row["one"], row["other"]) != ("shrunk", "scratch"):  # which the text leaves out
            assert f"{abs(100 * row['difference']):.1f}" in found
            assert f"{low} to {high}" in found, row
