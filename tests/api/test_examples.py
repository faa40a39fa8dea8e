"""Every example in the public docstrings, and the scripts in docs/examples, are run."""

from __future__ import annotations

import doctest
import runpy
import sys
from pathlib import Path

import pytest

import bench
from bench.api import ablations, horizons, named, plans, results, updates

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "module", [ablations, horizons, named, plans, results, updates], ids=lambda module: module.__name__
)
def test_docstring_examples_give_what_they_show(module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted >= 1
    assert found.failed == 0


def test_every_public_function_has_a_docstring_that_says_what_it_raises():
    for name in (
        "ablate",
        "find_horizons",
        "frontier",
        "load_results",
        "load_scenario",
        "plan",
        "plan_ablation",
        "plan_update",
        "prepare",
        "report",
        "run",
        "strategy",
        "update",
        "update_scenario",
    ):
        text = getattr(bench, name).__doc__
        assert "Raises" in text, name


def test_the_example_script_goes_from_a_plan_to_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """With a quarter of its epochs, and one seed."""
    text = (ROOT / "docs" / "examples" / "api.py").read_text(encoding="utf-8")
    for long, short in (('"epochs": 4', '"epochs": 1'), ("range(2)", "range(1)")):
        assert long in text
        text = text.replace(long, short)
    script = tmp_path / "api.py"
    script.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runpy.run_path(str(script), run_name="__main__")
    assert (tmp_path / "reports" / "index.html").is_file()
    assert (tmp_path / "reports" / "digits-quick" / "accuracy-flops.png").is_file()
    assert "half-of-the-old" in capsys.readouterr().out
