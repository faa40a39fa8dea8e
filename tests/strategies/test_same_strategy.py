"""One strategy has one name, one hash and one code; two strategies never share them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.catalog import find_strategy
from bench.errors import StrategyError
from bench.strategies.notation import Call, read_setting, split_reference
from bench.strategies.selection import LearningSpeed
from bench.strategies.start import ShrinkAndPerturb
from bench.strategies.strategy import Entrant, load_strategy
from bench.strategies.variants import expand, load_variant, vary

OWN = """
from dataclasses import dataclass
from bench import *
@dataclass(frozen=True)
class Level:
    level: float = {level}
    name: str | None = None
    def factors(self, steps):
        return [self.level] * steps
strategy = Strategy('Own', start=Keep(), schedule=Level())
"""


def own(path: Path, level: float = 0.5) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(OWN.format(level=level))
    return path


@pytest.fixture(scope="module")
def four_aspects() -> Entrant:
    return load_strategy(find_strategy("four-aspects"))


def test_a_whole_number_for_a_float_is_the_same_strategy(tmp_path: Path):
    text = "from bench import *\nstrategy = Strategy('S', start=ShrinkAndPerturb({}, 0), schedule=OneCycle({}), horizon={})\n"
    entrants = []
    for name, values in (("a", (1, 0, 1)), ("b", (1.0, 0.0, 1.0))):
        (tmp_path / f"{name}.py").write_text(text.format(*values))
        entrants.append(load_strategy(tmp_path / f"{name}.py"))
    assert entrants[0].hash() == entrants[1].hash()
    assert vary(entrants[0], {"horizon": 1, "start.shrink": 1}).hash() == entrants[0].hash()
    assert vary(entrants[0], {"start.shrink": 1}).name == "a"


def test_minus_zero_is_zero(four_aspects: Entrant):
    assert vary(four_aspects, {"selection.drop_slowest": -0.0}).hash() == four_aspects.hash()
    same = vary(four_aspects, {"selection": LearningSpeed(drop_fastest=0.1, drop_slowest=-0.0)})
    assert (same.name, same.hash()) == ("four-aspects", four_aspects.hash())


def test_numpys_numbers_are_plain_ones(four_aspects: Entrant):
    found = vary(four_aspects, {"start": ShrinkAndPerturb(np.float64(0.9), np.float32(0.5))})
    assert found.name == "four-aspects[start.shrink=0.9,start.perturb=0.5]"
    assert found.hash() == vary(four_aspects, {"start": ShrinkAndPerturb(0.9, 0.5)}).hash()


def test_the_text_none_is_not_none(tmp_path: Path):
    plain = load_strategy(own(tmp_path / "own.py"))
    text = vary(plain, {"schedule.name": "None"})
    assert text.name == "own[schedule.name='None']"
    assert load_variant(f"{tmp_path}/own.py[schedule.name='None']").hash() == text.hash()


def test_two_files_of_one_name_are_refused_and_each_keeps_its_own_classes(tmp_path: Path):
    first, second = own(tmp_path / "a" / "mine.py", 0.25), own(tmp_path / "b" / "mine.py", 0.75)
    one, other = load_strategy(first), load_strategy(second)
    # The second file was loaded last; the first one's piece is still its own.
    assert vary(one, {"schedule": Call("Level", {})}).strategy.schedule.level == 0.25
    assert vary(one, {"schedule": Call("Level", {})}).source == first.read_text()
    with pytest.raises(
        StrategyError, match=r"a/mine\.py and .*b/mine\.py have the same name\. Rename one of the files\."
    ):
        expand([(str(first), one), (str(second), other)], [])


@pytest.mark.parametrize("name", ["scratch", "naive", "four-aspects"])
def test_a_file_of_ones_own_never_passes_for_a_shipped_strategy(name: str, tmp_path: Path):
    with pytest.raises(StrategyError, match=rf"{name} is the name of a shipped strategy\. Rename the file\."):
        load_strategy(own(tmp_path / f"{name}.py"))


@pytest.mark.parametrize("reference", ["four-aspects[start.shrink=0.9,start.shrink=0.8]", "x[start=A(b=1,b=2)]"])
def test_a_field_set_twice_is_refused(reference: str):
    with pytest.raises(StrategyError, match=r"(set|given) twice\. Remove one of them"):
        split_reference(reference)


def test_a_field_of_the_reference_is_not_set_again():
    asked = "four-aspects[start.shrink=0.9]"
    for option in ("four-aspects:start.shrink=0.8", f"{asked}:start.shrink=0.8", "start.shrink=0.8"):
        with pytest.raises(StrategyError, match=r"start\.shrink is also set in four-aspects\[start\.shrink=0\.9\]"):
            expand([(asked, load_variant(asked))], [read_setting("--set", option)])


BROKEN = """
from dataclasses import dataclass
from enum import Enum
from bench import *
class Mode(Enum):
    A = 1
@dataclass(frozen=True)
class Inner:
    k: int = 3
@dataclass(frozen=True)
class Odd:
    mode: Mode = Mode.A
    inner: Inner = Inner()
    items: list[int] = None
    share: float = 0.5
    def __post_init__(self):
        if self.share > 0.7:
            raise ValueError('too\\nmuch')
    def factors(self, steps):
        return [1.0] * steps
strategy = Strategy('Odd', start=Keep(), schedule=Linear())
"""


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("schedule=Odd", r"odd\[schedule=Odd.*a field cannot be recorded: TypeError: Object of type Mode is not JSON"),
        ("schedule=Odd(share=0.8)", r"odd: schedule=Odd: failed with ValueError: too much\. Change it\."),
        ("schedule=Odd(inner=7)", r"schedule\.inner=7: expected an instance of Inner"),
        ("schedule=Odd(mode=A)", r"schedule\.mode=A: expected"),
        (
            "schedule=Odd(",
            r"schedule='Odd\(': expected a piece, such as NAME or NAME\(FIELD=VALUE,\.\.\.\), one of .*Odd",
        ),
    ],
)
def test_fields_that_cannot_be_set_or_recorded_are_one_line(setting: str, complaint: str, tmp_path: Path):
    (tmp_path / "odd.py").write_text(BROKEN)
    path = str(tmp_path / "odd.py")
    with pytest.raises(StrategyError, match=complaint) as raised:
        expand([(path, load_strategy(Path(path)))], [read_setting("--set", setting)])
    assert "\n" not in str(raised.value)


def test_a_list_of_the_command_line_fits_a_list_and_a_tuple(tmp_path: Path):
    (tmp_path / "odd.py").write_text(BROKEN.replace("mode: Mode = Mode.A", "pair: tuple[int, int] = (1, 2)"))
    plain = load_strategy(tmp_path / "odd.py")
    found = vary(plain, {"schedule": Call("Odd", {"items": [1, 2], "pair": [3, 4]})}).strategy.schedule
    assert (found.items, found.pair) == ([1, 2], (3, 4))


@pytest.mark.parametrize("ending", ["raise SystemExit(0)", "raise ValueError('a\\nb')", "import nowhere_at_all"])
def test_a_file_that_fails_is_one_line(ending: str, tmp_path: Path):
    path = tmp_path / "bad.py"
    path.write_text(f"{ending}\n")
    with pytest.raises(StrategyError, match=r"bad\.py: cannot be loaded: .*\. Fix the file\.") as raised:
        load_strategy(path)
    assert "\n" not in str(raised.value)
