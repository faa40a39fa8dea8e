"""Strategies, scenarios and models by the names under which installed packages offer them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import bench
from bench.catalog import find_strategy, shipped_folder
from bench.cli.main import main
from bench.code import _packages
from bench.errors import ScenarioError, StrategyError
from bench.models.build import build_model
from bench.strategies.strategy import Entrant, load_strategy
from tests.packages import install

STRATEGIES = """
from bench import Keep, Linear, Strategy
from ..pieces import Level
half = Strategy("Half", start=Keep(), schedule=Level(0.5))
plain = Strategy("Plain", start=Keep(), schedule=Linear(), horizon=0.5)
number = 3
"""
PIECES = """
from dataclasses import dataclass
from tinymethod.numbers import ONE
@dataclass(frozen=True)
class Level:
    level: float
    def factors(self, steps):
        return [self.level * ONE] * steps
"""
FILES = {
    "tinymethod/__init__.py": "",
    "tinymethod/methods/__init__.py": "",
    "tinymethod/methods/all.py": STRATEGIES,
    "tinymethod/pieces.py": PIECES,
    "tinymethod/numbers.py": "ONE = 1.0\n",
}
POINTS = """[bench.strategies]
tiny-half = tinymethod.methods.all:half
tiny-plain = tinymethod.methods.all:plain
tiny-number = tinymethod.methods.all:number
tiny-none = tinymethod.methods.all:none
tiny-wrong = tinymethod.nowhere:none
tiny-bare = tinymethod.methods.all
"""


def say(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def load(name: str) -> Entrant:
    return load_strategy(find_strategy(name))


def test_an_installed_strategy_is_found_by_name_and_is_all_of_its_packages_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    install(tmp_path, monkeypatch, "tinymethod", POINTS, FILES)
    _packages.cache_clear()
    half = load("tiny-half")
    _packages.cache_clear()
    assert half.name == "tiny-half"
    assert half.strategy.schedule.factors(2) == [0.5, 0.5]
    assert {"tinymethod.pieces", "tinymethod.numbers", "tinymethod.methods.all"} <= half.modules.keys()
    assert half.packages == {"tinymethod": "1.2"}
    again = pickle.loads(pickle.dumps(half))
    assert again.hash() == half.hash()
    assert bench.strategy("tiny-half[schedule.level=0.25]").name == "tiny-half[schedule.level=0.25]"
    assert load("tiny-plain").source is None  # all of its pieces are bench's: it is its fields
    changed = {**FILES, "tinymethod/numbers.py": "ONE = 2.0\n"}
    install(tmp_path / "edited", monkeypatch, "tinymethod", POINTS, changed)
    assert load("tiny-half").hash() != half.hash()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("tiny-number", "strategy is 3, expected a Strategy"),
        ("tiny-none", "cannot be loaded: ImportError: cannot import name 'none' from 'tinymethod.methods.all'"),
        ("tiny-wrong", "No module named 'tinymethod.nowhere'"),
        ("tiny-bare", "found 'tinymethod.methods.all', expected module:name"),
        ("tiny-halve", "neither shipped nor installed. Did you mean tiny-half?"),
    ],
)
def test_a_broken_entry_point_is_one_line(name: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(tmp_path, monkeypatch, "tinymethod", POINTS, FILES)
    result = say("plan", "--strategy", name)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_name_that_two_offer_or_that_is_shipped_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, points in (("one", "twin = m:a\n"), ("two", "twin = m:b\nNaive = m:c\n")):
        install(tmp_path, monkeypatch, name, f"[bench.strategies]\n{points}")
    with pytest.raises(StrategyError, match=r"entry point 'twin' in bench\.strategies of .* and .*: offered twice"):
        load("twin")
    with pytest.raises(StrategyError, match="of two: also the name of a shipped one"):
        load("Naive")
    listed = say("list")
    assert (listed.exit_code, len(listed.stderr.splitlines())) == (2, 1)


def test_a_strategy_of_some_name_in_a_file_is_named_after_both(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from bench import *\nstrategy = Strategy('A', start=Keep(), schedule=Linear())\n"
        "half = Strategy('B', start=Keep(), schedule=Linear(), horizon=0.5)\n"
    )
    assert (load(f"{path}:half").name, load(f"{path}:half").strategy.horizon) == ("mine.half", 0.5)
    assert load(f"{path}:strategy") == load(str(path))
    assert bench.strategy(f"{path}:half[schedule.peak=0.5]").name == "mine.half[schedule.peak=0.5]"
    with pytest.raises(StrategyError, match=r"mine\.py: other is None, expected a Strategy\. Add: other ="):
        load(f"{path}:other")
    with pytest.raises(StrategyError, match="found '1' after the file"):
        load(f"{path}:1")


MODEL = """
from torch import nn
def make(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, {width}), nn.ReLU(), nn.Linear({width}, classes))
"""


def _scenario(name: str, model: str) -> str:
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    for old, new in (
        ("digits-7-3", name),
        ('name = "resnet8"', f'name = "{model}"'),
        ("epochs = 24", "epochs = 1"),
        ("points = 20", "points = 2"),
    ):
        assert old in text or old == 'name = "resnet8"'
        text = text.replace(old, new)
    return text if f'"{model}"' in text else text.replace(_model_line(text), f'name = "{model}"')


def _model_line(text: str) -> str:
    lines = text.splitlines()
    return next(line for line in lines[lines.index("[model]") :] if line.startswith("name"))


def test_an_installed_scenario_trains_an_installed_model_and_records_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    points = "[bench.scenarios]\ntinies = tinyset:TINIES\n[bench.models]\ntinynet = tinyset.nets:make\n"
    files = {
        "tinyset/__init__.py": "from pathlib import Path\nTINIES = Path(__file__).parent / 'a.toml'\nOTHERS = str(TINIES)\n",
        "tinyset/a.toml": _scenario("tinies", "tinynet"),
        "tinyset/nets.py": MODEL.format(width=8),
    }
    install(tmp_path, monkeypatch, "tinyset", points, files)
    listed = say("list", "--wide")
    assert listed.exit_code == 0, listed.output
    assert "tinies" in listed.stdout
    assert "models that installed packages offer: tinynet" in listed.stdout
    where = ("--results", tmp_path / "runs", "--cache", tmp_path / "cache", "--device", "cpu", "--seeds", "0")
    result = say("run", "--scenario", "tinies", "--strategy", "scratch", *where)
    assert result.exit_code == 0, result.output
    record = json.loads(next((tmp_path / "runs").rglob("trial.json")).read_text())
    assert "nn.Linear(channels * 64, 8)" in record["provenance"]["model_code"]["modules"]["tinyset.nets"]
    install(tmp_path, monkeypatch, "again", "[bench.scenarios]\nothers = tinyset:OTHERS\n")
    with pytest.raises(ScenarioError, match="scenario others: its file's name is 'tinies', expected 'others'"):
        bench.load_scenario("others")


def test_a_model_in_a_file_is_recorded_and_an_edit_of_it_is_another_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(_scenario("tiny", "./net.py:make"))
    Path("net.py").write_text(MODEL.format(width=8))
    where = ("--strategy", "scratch", "--seeds", "0", "--device", "cpu", "--cache", "cache")
    assert say("run", "--scenario", "./tiny.toml", *where).exit_code == 0
    record = json.loads(next(Path("runs").rglob("trial.json")).read_text())
    assert record["provenance"]["model_code"]["source"] == MODEL.format(width=8)
    audit = say("check", "--audit", next(Path("runs").rglob("seed-0")), "--device", "cpu")
    assert audit.exit_code == 0, audit.output
    from bench.models import own

    monkeypatch.setattr(own, "_READ", {})  # as another process would read it
    Path("net.py").write_text(MODEL.format(width=16))
    result = say("run", "--scenario", "./tiny.toml", *where)
    assert (result.exit_code, "holds a different trial: its data is" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("./gone.py:make", None, "no file gone.py in"),
        ("./net.py:make", "x = 1/0", "cannot be loaded: ZeroDivisionError"),
        ("./net.py:make", "make = 3", "make is 3, expected a function"),
        ("./net.py:make", "def make(c, k): return 3", "returned int, expected a torch.nn.Module"),
        ("./net.py:make", "def make(c): return 3", "failed with TypeError"),
    ],
)
def test_a_broken_model_is_one_line(
    name: str, text: str | None, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("net.py").write_text(text)
    with pytest.raises(ScenarioError, match=complaint):
        build_model(name, 1, 10, 0, "test")
