from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import StrategyError
from bench.strategies.ranges import Range, ranges_of
from bench.strategies.strategy import load_strategy
from bench.strategies.variants import load_variant

NAIVE = load_variant("naive")


def one(text: str, strategy: str = "naive") -> Range:
    (found,) = ranges_of(load_variant(strategy), [text])
    return found


def test_numbers_and_choices_are_read_as_set_and_grid_write_them():
    assert one("schedule.peak=0.3:3:log") == Range("schedule.peak", 0.3, 3.0, log=True)
    assert one("schedule.warmup=0:0.5") == Range("schedule.warmup", 0.0, 0.5)
    assert one("head.images=100:2000", "optimized") == Range("head.images", 100, 2000, whole=True)
    found = one("averaging=NoAveraging,TailMean(share=0.5)")
    assert list(found.choices or {}) == ["NoAveraging", "TailMean(share=0.5)"]
    assert [str(one(text)) for text in ("schedule.peak=0.3:3:log", "schedule.warmup=0:0.5")] == [
        "schedule.peak=0.3:3:log",
        "schedule.warmup=0:0.5",
    ]


def test_a_drawn_number_can_be_named_and_typed():
    assert one("schedule.peak=0.3:3:log").value(1.23456789) == 1.235
    assert type(one("head.images=100:2000", "optimized").value(150.0)) is int


def test_the_shipped_optimized_declares_ranges_and_a_variant_has_its_files():
    declared = ranges_of(load_variant("optimized"))
    assert [each.field for each in declared][:2] == ["schedule.peak", "schedule.warmup"]
    assert ranges_of(load_variant("optimized[horizon=0.3]")) == declared


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schedule.peak", "--range 'schedule.peak': expected FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=VALUE,"),
        ("schedule.peak=1", "expected FIELD=LOW:HIGH"),
        ("schedule.peak=1:x", "expected FIELD=LOW:HIGH"),
        ("schedule.peak=1:2:lin", "LOW below HIGH"),
        ("schedule.peak=3:1", "LOW below HIGH"),
        ("schedule.peak=1:inf", "LOW below HIGH"),
        ("schedule.peak=nan:1", "LOW below HIGH"),
        ("schedule.peak=0:1:log", "must begin above 0"),
        ("schedule.peka=1:2", "schedule.peka: no such field. Did you mean schedule.peak"),
        ("pace=1:2", "naive: pace: no such field"),
        ("schedule.warmup=0.5:2", "warmup 2.0, expected in 0..1"),
        ("averaging=TailMean,Foo", "averaging=Foo: no such piece"),
        ("averaging=TailMean,TailMean", "a value is given twice"),
        ("horizon=0.1:1", "bench frontier --find"),
        ("optimized:schedule.peak=1:2", "is for optimized, but naive is tuned"),
    ],
)
def test_what_is_no_range_is_refused_in_one_line(text: str, said: str):
    with pytest.raises(StrategyError) as refused:
        ranges_of(NAIVE, [text])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_whole_numbers_need_whole_ends_and_a_field_has_one_range():
    with pytest.raises(StrategyError, match=r"head.images is a whole number, expected whole ends"):
        one("head.images=1.5:2", "optimized")
    with pytest.raises(StrategyError, match=r"naive: schedule.peak has two ranges"):
        ranges_of(NAIVE, ["schedule.peak=1:2", "schedule.peak=1,2"])
    with pytest.raises(StrategyError, match="naive: declares no ranges, and none were given"):
        ranges_of(NAIVE)


@pytest.mark.parametrize("space", ["'schedule.peak=1:2'", "{'schedule.peak': 1}", "[1]"])
def test_a_space_that_is_none_is_refused(tmp_path: Path, space: str):
    path = tmp_path / "mine.py"
    path.write_text(
        f"from bench import Keep, OneCycle, Strategy\nstrategy = Strategy('M', Keep(), OneCycle(0.1))\nspace = {space}\n"
    )
    with pytest.raises(StrategyError, match=r"mine.py: space is .*, expected a list of texts"):
        ranges_of(load_strategy(path))
