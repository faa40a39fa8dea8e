from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import Fresh, Keep, OneCycle, Strategy
from bench.catalog import find_strategy
from bench.errors import StrategyError
from bench.strategies.strategy import ASPECTS, Entrant, load_strategy

OWN = """
from dataclasses import dataclass
from bench import Keep, Strategy

@dataclass(frozen=True)
class Flat:
    level: float = 0.5
    def factors(self, steps):
        return [self.level] * steps

strategy = Strategy(title="Mine", start=Keep(), schedule=Flat(), horizon=0.3)
"""


def test_naive_differs_from_scratch_in_its_start_alone():
    scratch, naive = (load_strategy(find_strategy(name)).strategy for name in ("scratch", "naive"))
    assert isinstance(scratch.start, Fresh)
    assert isinstance(naive.start, Keep)
    assert replace(naive, start=scratch.start, title=scratch.title) == scratch


@pytest.mark.parametrize(
    ("name", "aspects"),
    [
        ("four-aspects", {"start", "regularizer", "selection", "schedule"}),
        ("optimized", {"schedule", "freezing", "head"}),
    ],
)
def test_a_baseline_changes_the_aspects_that_it_says(name: str, aspects: set[str]):
    naive, mine = (load_strategy(find_strategy(each)).strategy for each in ("naive", name))
    assert {aspect for aspect in ASPECTS if getattr(mine, aspect) != getattr(naive, aspect)} == aspects
    assert mine.horizon < naive.horizon


def test_a_users_file_may_define_its_own_piece(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    mine = load_strategy(file)
    assert mine.name == "mine"
    assert mine.describe()["schedule"] == {"type": "Flat", "level": 0.5}
    file.write_text(OWN.replace("[self.level]", "[self.level / 2]"))
    assert load_strategy(file).hash() != mine.hash()


def test_the_hash_is_of_what_is_learned_not_of_name_title_or_notes():
    first = Entrant("a", Strategy("A", Keep(), OneCycle(0.2)))
    second = Entrant("b", Strategy("B", Keep(), OneCycle(0.2), tuned_on={"digits-7-3": 4}))
    third = Entrant("a", Strategy("A", Keep(), OneCycle(0.2), horizon=0.5))
    assert first.hash() == second.hash() != third.hash()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1", r"mine\.py: strategy is None, expected a Strategy"),
        ("import nowhere_at_all", r"mine\.py: cannot be loaded: ModuleNotFoundError"),
        ("strategy = (", r"mine\.py: cannot be loaded: SyntaxError"),
        ("from bench import OneCycle\nOneCycle(2.0)", r"mine\.py: OneCycle: warmup 2\.0, expected in 0\.\.1"),
        (
            "from bench import *\nstrategy = Strategy('t', start=OneCycle(0.1), schedule=OneCycle(0.1))",
            r"mine\.py: Strategy: start is OneCycle",
        ),
        (
            "from bench import *\nstrategy = Strategy('t', start=Keep(), schedule=OneCycle(0.1), horizon=0)",
            r"mine\.py: Strategy: horizon 0, expected above 0",
        ),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: str, complaint: str):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(StrategyError, match=complaint) as caught:
        load_strategy(file)
    assert "\n" not in str(caught.value)
