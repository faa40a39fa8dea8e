from __future__ import annotations

import pytest

from bench import FreezeStages, Keep, Logistic, NoFreezing, OneCycle, RandomHead, Strategy
from bench.errors import StrategyError
from bench.strategies.strategy import Entrant


def test_phases_begin_at_shares_of_the_trial():
    freezing = FreezeStages(("stage1", "stage2", "nothing"), (0.0, 0.7, 0.95))
    assert list(freezing.phases(100)) == [(0, "stage1"), (70, "stage2"), (95, None)]
    assert list(NoFreezing().phases(100)) == [(0, None)]


def test_of_two_phases_that_begin_at_one_step_the_later_holds():
    assert list(FreezeStages(("stage1", "stage2"), (0.0, 0.1)).phases(3)) == [(0, "stage2")]


@pytest.mark.parametrize(
    ("through", "begin", "said"),
    [
        ((), (), "at least one"),
        (("stage1",), (0.0, 0.5), "1 stages in through and 2 shares in begin"),
        (("stage1",), (0.1,), "rise from 0"),
        (("stage1", "stage2"), (0.0, 0.0), "rise from 0"),
        (("stage1", "stage2"), (0.0, 1.0), "stay below 1"),
    ],
)
def test_phases_that_do_not_rise_are_refused(through, begin, said: str):
    with pytest.raises(StrategyError, match=said):
        FreezeStages(through, begin)


def test_an_aspect_left_out_is_neither_described_nor_hashed():
    plain = Entrant("mine", Strategy("Mine", Keep(), OneCycle(0.1)))
    said = Entrant("mine", Strategy("Mine", Keep(), OneCycle(0.1), freezing=NoFreezing(), head=RandomHead()))
    frozen = Entrant("mine", Strategy("Mine", Keep(), OneCycle(0.1), freezing=FreezeStages(("stem",))))
    fitted = Entrant("mine", Strategy("Mine", Keep(), OneCycle(0.1), head=Logistic()))
    assert plain.hash() == said.hash()
    assert "freezing" not in said.describe()
    assert len({plain.hash(), frozen.hash(), fitted.hash()}) == 3
    assert frozen.describe()["freezing"] == {
        "type": "FreezeStages",
        "through": ("stem",),
        "begin": (0.0,),
        "features": "kept",
    }
