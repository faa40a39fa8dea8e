"""Every example in the public docstrings, and the scripts in docs/examples, are run."""

from __future__ import annotations

import doctest
import subprocess
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


def test_the_example_script_goes_from_a_plan_to_figures(tmp_path: Path):
    script = ROOT / "docs" / "examples" / "api.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "index.html").is_file()
    assert (tmp_path / "reports" / "digits-quick" / "accuracy-flops.png").is_file()
    assert "half-of-the-old" in done.stdout
