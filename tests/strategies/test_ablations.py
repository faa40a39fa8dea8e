from __future__ import annotations

from dataclasses import replace

import pytest

from bench.catalog import shipped_folder
from bench.errors import StrategyError
from bench.strategies.ablations import ablations, plain_pieces
from bench.strategies.freezing import FreezeStages
from bench.strategies.regularizer import L2Init
from bench.strategies.schedule import Cosine
from bench.strategies.strategy import ASPECTS, Entrant, load_strategy, named
from bench.strategies.variants import load_variant, vary

SCRATCH, NAIVE, OPTIMIZED = (
    load_strategy(shipped_folder("baselines") / f"{name}.py") for name in ("scratch", "naive", "optimized")
)


def told(entrant: Entrant) -> list[tuple[str, str, str]]:
    return [(each.aspect, each.change, each.entrant.name) for each in ablations(entrant)]


def test_leaving_a_piece_out_means_what_naive_does():
    assert plain_pieces(OPTIMIZED.strategy) == {name: getattr(NAIVE.strategy, name) for name in ASPECTS}


def test_each_piece_is_left_out_and_each_is_alone():
    frozen = vary(NAIVE, {"freezing": FreezeStages(("stage1",)), "regularizer": L2Init(0.1), "schedule": Cosine()})
    freezing, weight, cosine = (
        "freezing=FreezeStages(through=(stage1,))",
        "regularizer=L2Init(strength=0.1)",
        "schedule=Cosine",
    )
    assert told(frozen) == [
        ("regularizer", "left out", f"naive[{cosine},{freezing}]"),
        ("schedule", "left out", f"naive[{weight},{freezing}]"),
        ("freezing", "left out", f"naive[{weight},{cosine}]"),
        ("regularizer", "alone", f"naive[{weight}]"),
        ("schedule", "alone", f"naive[{cosine}]"),
        ("freezing", "alone", f"naive[{freezing}]"),
    ]


def test_a_variant_differs_in_one_aspect_and_is_the_one_that_its_name_asks_for():
    whole = load_variant("four-aspects")
    for each in ablations(whole):
        mine = {name for name in ASPECTS if getattr(each.entrant.strategy, name) == getattr(whole.strategy, name)}
        pieces = {"start", "regularizer", "selection", "schedule"}
        assert mine & pieces == (pieces - {each.aspect} if each.change == "left out" else {each.aspect})
        assert each.entrant.strategy.horizon == 0.4
        asked = load_variant(each.entrant.name)
        assert asked.hash() == each.entrant.hash()


def test_of_two_pieces_one_alone_is_the_other_left_out_and_of_one_piece_nothing_is_alone():
    two = vary(NAIVE, {"schedule": Cosine(), "regularizer": L2Init(0.1)})
    assert [each[:2] for each in told(two)] == [("regularizer", "left out"), ("schedule", "left out")]
    assert told(vary(NAIVE, {"schedule": Cosine()})) == [("schedule", "left out", "naive")]


def test_a_strategy_that_does_not_continue_keeps_its_start():
    mine = named(replace(SCRATCH.strategy, title="Mine", schedule=Cosine(), regularizer=L2Init(0.1)), "mine")
    assert {each.entrant.strategy.start for each in ablations(mine)} == {SCRATCH.strategy.start}
    assert "start" not in {each.aspect for each in ablations(mine)}


@pytest.mark.parametrize("plain", [NAIVE, SCRATCH, vary(NAIVE, {"horizon": 0.5})])
def test_a_strategy_without_pieces_is_refused(plain: Entrant):
    with pytest.raises(StrategyError, match="has no piece to leave out"):
        ablations(plain)
