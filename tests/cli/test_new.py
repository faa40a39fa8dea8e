"""What `bench new` writes runs as it is, its own tests pass, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import main
from bench.scenario import load_scenario


def say(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def test_what_is_written_passes_its_own_tests_and_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    passed = Passed()
    assert pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)], plugins=[passed]) == 0
    assert len(passed.names) == 6


class Passed:
    """A plugin of pytest that remembers which tests passed."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.names.append(report.nodeid)


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
