"""A strategy is all of its code: what its file imports is loaded beside it, hashed, recorded, and is what runs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import bench
from bench.errors import StrategyError
from bench.records.rows import _pieces
from bench.strategies.notation import Call
from bench.strategies.strategy import Entrant, load_strategy
from bench.strategies.texts import as_text_or_pickle, from_text
from bench.strategies.variants import expand, vary

MINE = """
from bench import *
from mylib import Level
strategy = Strategy('Mine', start=Keep(), schedule=Level())
"""
LEVEL = """
from __future__ import annotations
from dataclasses import dataclass
{imports}
@dataclass(frozen=True)
class Level:
    level: float = 1
    def factors(self, steps):
        {within}
        return [self.level * {factor}] * steps
"""


def write(folder: Path, **texts: str) -> Path:
    """Write modules, "a__b" being b.py in the folder a, and return the strategy's file, mine.py."""
    for name, text in {"mine": MINE, **texts}.items():
        path = folder / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "mine.py"


def level(factor: object = 0.5, imports: str = "", within: str = "pass") -> str:
    return LEVEL.format(factor=factor, imports=imports, within=within)


def factors(entrant: Entrant) -> list[float]:
    return entrant.strategy.schedule.factors(1)


def test_what_a_file_imports_from_beside_is_hashed_recorded_and_compared(tmp_path: Path):
    path = write(tmp_path, mylib=level(0.5))
    before = load_strategy(path)
    assert before.describe()["source"] == MINE
    assert before.describe()["modules"] == {"mylib": level(0.5)}
    assert json.loads(json.dumps(before.describe())) == before.describe()
    assert before.strategy.schedule.level == 1.0  # its fields have the types that its own module says
    assert load_strategy(path).hash() == before.hash()
    write(tmp_path, mylib=level(0.25))
    after = load_strategy(path)
    assert (factors(before), factors(after)) == ([0.5], [0.25])
    assert after.hash() != before.hash()
    assert _pieces(after.describe()) != _pieces(before.describe())


def test_two_modules_of_one_name_do_not_mix(tmp_path: Path):
    one = load_strategy(write(tmp_path / "a", mylib=level(0.25)))
    other = load_strategy(write(tmp_path / "b", mylib=level(0.75)))
    assert (factors(one), factors(other)) == ([0.25], [0.75])
    assert vary(one, {"schedule": Call("Level", {})}).modules == one.modules
    assert "mylib" not in sys.modules
    assert str(tmp_path / "a") not in sys.path


def test_imports_are_followed_however_deep_and_wherever_they_are_written(tmp_path: Path):
    path = write(
        tmp_path,
        mylib=level("deep.share()", "import pkg.deep as deep"),
        pkg____init__="",
        pkg__deep="from .near import share\n",
        pkg__near="def share():\n    from late import value\n    return value()\n",
        late="import later_still\ndef value():\n    return later_still.VALUE\n",
        later_still="VALUE = 0.125\n",
        unused="VALUE = 1\n",
    )
    before = load_strategy(path)
    assert sorted(before.modules) == ["late", "later_still", "mylib", "pkg", "pkg.deep", "pkg.near"]
    write(tmp_path, later_still="VALUE = 0.5\n")
    after = load_strategy(path)
    assert before.hash() != after.hash()
    # `late` runs only now; it runs as it was when the strategy was loaded and hashed.
    assert (factors(before), factors(after)) == ([0.125], [0.5])


def test_what_was_not_there_when_the_strategy_was_loaded_is_not_imported_later(tmp_path: Path):
    path = write(tmp_path, mylib=level("__import__('hid' + 'den').VALUE"), hidden="VALUE = 1\n")
    found = load_strategy(path)
    assert sorted(found.modules) == ["mylib"]
    with pytest.raises(ImportError, match=r"^hidden is imported only now, so it was not recorded: write it as"):
        factors(found)


def test_code_on_pythons_path_is_the_strategys_own_unless_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write(
        tmp_path / "strategies", mylib=level("shared.VALUE", "import shared, installed_there\nimport numpy, json")
    )
    write(tmp_path / "path", shared="VALUE = 0.25\n")
    write(tmp_path / "venv" / "site-packages", installed_there="")
    for folder in ("path", "venv/site-packages"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    before = load_strategy(path)
    assert sorted(before.modules) == ["mylib", "shared"]
    assert before.packages == {"numpy": version("numpy")}
    assert before.describe()["packages"] == {"numpy": version("numpy")}
    write(tmp_path / "path", shared="VALUE = 0.5\n")
    assert (factors(before), factors(load_strategy(path))) == ([0.25], [0.5])
    assert load_strategy(path).hash() != before.hash()


def test_versions_are_recorded_but_do_not_make_another_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path, mylib=level(imports="import numpy"))
    before = load_strategy(path)
    monkeypatch.setattr("bench.code.version", lambda name: "0.1")
    assert load_strategy(path).packages == {"numpy": "0.1"}
    assert load_strategy(path).hash() == before.hash()


def test_python_and_bench_are_never_taken_from_beside_the_file(tmp_path: Path):
    mine = "import random\nfrom bench import *\nrandom.random()\n" + level() + MINE.splitlines()[-1]
    write(tmp_path, bench="raise ValueError\n", json="raise ValueError\n", mylib="")
    path = tmp_path / "random.py"
    path.write_text(mine.replace("\nfrom __future__ import annotations", ""))
    found = load_strategy(path)
    assert (found.name, found.modules) == ("random", {})


def test_a_folder_without_code_does_not_stand_for_a_package(tmp_path: Path):
    (tmp_path / "numpy").mkdir()
    assert load_strategy(write(tmp_path, mylib=level(imports="import numpy; numpy.ones(1)"))).packages["numpy"]


def test_a_strategy_that_is_all_benchs_is_its_fields(tmp_path: Path):
    text = "from bench import *\nfrom mylib import SHARE\nstrategy = Strategy('M', Keep(), OneCycle(SHARE))\n"
    first = load_strategy(write(tmp_path, mine=text, mylib="SHARE = 0.1\n"))
    assert first.describe().keys().isdisjoint({"modules", "packages"})
    assert load_strategy(write(tmp_path, mine=text, mylib="SHARE = 0.1  # of the steps\n")).hash() == first.hash()
    assert load_strategy(write(tmp_path, mine=text, mylib="SHARE = 0.2\n")).hash() != first.hash()


def test_compiled_code_is_refused(tmp_path: Path):
    path = write(tmp_path, mine="import fast\n")
    (tmp_path / f"fast{__import__('_imp').extension_suffixes()[0]}").write_bytes(b"")
    with pytest.raises(StrategyError, match=r"mine\.py: imports fast\..*so, which is compiled .*\. Install it"):
        load_strategy(path)


def test_a_module_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path):
    before = set(sys.modules)
    with pytest.raises(
        StrategyError,
        match=r"mine\.py: cannot be loaded: ModuleNotFoundError: No module named 'pkg\.no'\. Fix the file\.$",
    ):
        load_strategy(write(tmp_path, mylib="import pkg.no\n", pkg____init__=""))
    assert set(sys.modules) - before == set()


def test_a_file_that_changes_between_being_asked_for_twice_is_refused(tmp_path: Path):
    path = write(tmp_path, mylib=level(0.5))
    first = load_strategy(path)
    again = load_strategy(path)
    assert len(expand([(str(path), first.at(0.3)), (str(path), again)], [])) == 2
    write(tmp_path, mylib=level(0.25))
    with pytest.raises(StrategyError, match=r"two different strategies are called mine\. .* run the command again\.$"):
        expand([(str(path), first.at(0.3)), (str(path), load_strategy(path))], [])


def test_another_process_runs_what_was_read_here(tmp_path: Path):
    path = write(tmp_path, mylib=level(0.5, within="import late"), late="")
    found = load_strategy(path)
    code = f"""
import pickle, sys
_, entrant = pickle.load(sys.stdin.buffer)
print(entrant.strategy.schedule.factors(2), entrant.hash() == {found.hash()!r})
"""
    packed = pickle.dumps((found.code, found))
    for each in ("mine", "mylib", "late"):
        write(tmp_path, **{each: "raise ValueError('changed')\n"})
    done = subprocess.run([sys.executable, "-c", code], input=packed, capture_output=True, env={**os.environ})
    assert done.stdout.decode() == "[0.5, 0.5] True\n", done.stderr.decode()


def test_pieces_of_a_module_that_python_imported_bring_the_code_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, pieces_of_mine=level("helper_of_mine.VALUE", "import helper_of_mine"), helper_of_mine="VALUE = 1\n")
    import pieces_of_mine  # pyright: ignore[reportMissingImports]

    def made() -> Entrant:
        return bench.strategy(bench.Strategy(title="Mine", start=bench.Keep(), schedule=pieces_of_mine.Level()))

    try:
        before = made()
        assert sorted(before.modules) == ["pieces_of_mine", "pieces_of_mine/helper_of_mine"]
        sent = as_text_or_pickle(before)
        assert from_text(sent).hash() == before.hash()
        write(tmp_path, helper_of_mine="VALUE = 2\n")
        assert made().hash() != before.hash()
        with pytest.raises(StrategyError, match=r"^mine: its code has changed since the run began"):
            from_text(sent)
    finally:
        for name in ("pieces_of_mine", "helper_of_mine"):
            sys.modules.pop(name, None)


def test_a_loaded_strategy_made_into_another_keeps_its_code(tmp_path: Path):
    found = load_strategy(write(tmp_path, mylib=level(0.5)))
    again = bench.strategy(bench.Strategy(title="Again", start=bench.Fresh(), schedule=found.strategy.schedule))
    assert (again.source, again.modules) == (found.source, found.modules)


@pytest.mark.parametrize("name", ["...py", "..py", "naive[schedule.warmup=0.3].py", "naive@0.4.py", "a\\b.py", " a.py"])
def test_a_file_is_refused_whose_name_would_lie_elsewhere_or_be_anothers(name: str, tmp_path: Path):
    path = tmp_path / name
    path.write_text("from bench import *\nstrategy = Strategy('S', start=Keep(), schedule=Linear())\n")
    with pytest.raises(StrategyError, match=r"cannot name a strategy: expected .* Rename the file\.$"):
        load_strategy(path)


@pytest.mark.parametrize("name", ["Scratch", "NAIVE", "Four-Aspects"])
def test_the_names_of_shipped_strategies_are_reserved_in_any_case(name: str, tmp_path: Path):
    path = tmp_path / f"{name}.py"
    path.write_text("from bench import *\nstrategy = Strategy('S', start=Keep(), schedule=Linear())\n")
    with pytest.raises(StrategyError, match=rf"{name.lower()} is the name of a shipped strategy\. Rename the file\."):
        load_strategy(path)
    with pytest.raises(StrategyError, match=rf"gives the name '{name.lower()}', which is taken"):
        bench.strategy(bench.Strategy(title=name, start=bench.Keep(), schedule=bench.Linear()))
