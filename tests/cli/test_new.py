"""What `bench new` writes runs as it is, its own tests pass, and nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import main
from bench.scenario import load_scenario

_ROOT = Path(__file__).resolve().parents[2]


def say(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def test_what_is_written_passes_its_own_tests_and_each_other(tmp_path: Path):
    for kind, name in (("strategy", "my-way"), ("scenario", "my-set"), ("model", "net")):
        result = say("new", kind, name, "--folder", tmp_path)
        assert result.exit_code == 0, result.output
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [
        "my-set.toml",
        "my-way.py",
        "net.py",
        "test_model_net.py",
        "test_scenario_my_set.py",
        "test_strategy_my_way.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert "6 passed" in ran.stdout


def test_a_scenario_start_differs_from_the_shipped_one_in_its_name_and_title_alone(tmp_path: Path):
    say("new", "scenario", "mine", "--folder", tmp_path)
    from bench.catalog import find_scenario

    shipped = load_scenario(find_scenario("glyphs-32-15"))
    mine = load_scenario(tmp_path / "mine.toml")
    assert mine.model_copy(update={"name": shipped.name}).hash() == shipped.hash()


@pytest.mark.parametrize(
    ("kind", "name", "complaint"),
    [
        ("strategy", "naive", "is the name of a shipped one"),
        ("strategy", "Naive", "is the name of a shipped one"),
        ("scenario", "glyphs-32-15", "is the name of a shipped one"),
        ("model", "../net", "expected a letter, then letters"),
        ("strategy", "9lives", "expected a letter, then letters"),
        ("piece", "mine", "is not one of"),
        ("strategy", "there", "there.py: is there already, and never overwritten"),
        ("model", "tested", "test_model_tested.py: is there already"),
    ],
)
def test_a_bad_name_is_one_line_and_writes_nothing(kind: str, name: str, complaint: str, tmp_path: Path):
    (tmp_path / "there.py").write_text("mine")
    (tmp_path / "test_model_tested.py").write_text("mine")
    result = say("new", kind, name, "--folder", tmp_path)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert complaint in result.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "there.py": "mine",
        "test_model_tested.py": "mine",
    }
