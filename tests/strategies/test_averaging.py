from __future__ import annotations

import pytest

from bench import Keep, NoAveraging, OneCycle, Strategy, TailDecay, TailMean
from bench.errors import StrategyError
from bench.strategies.strategy import Entrant
from bench.strategies.variants import load_variant


def after(rates: list[float], values: list[float]) -> float:
    """Return the average after the steps, by the protocol's definition. values: the weight after each."""
    average = 0.0
    for number, (rate, value) in enumerate(zip(rates, values, strict=True)):
        first = rate > 0 and not any(rates[:number])
        average += (1.0 if first else rate) * (value - average)
    return average


def test_the_mean_of_the_tail_by_hand():
    rates = TailMean(0.4).rates(10)
    assert rates == pytest.approx([0, 0, 0, 0, 0, 0, 1, 1 / 2, 1 / 3, 1 / 4])
    assert after(rates, [99.0] * 6 + [1.0, 2.0, 3.0, 6.0]) == pytest.approx((1 + 2 + 3 + 6) / 4)


def test_the_moving_average_of_the_tail_by_hand():
    rates = TailDecay(0.9, share=0.3).rates(10)
    assert rates == pytest.approx([0] * 7 + [1, 0.1, 0.1])
    assert after(rates, [99.0] * 7 + [1.0, 2.0, 4.0]) == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 4)


def test_a_short_trial_averages_its_last_step_alone():
    assert TailMean(0.01).rates(3) == TailDecay(0.9, 0.01).rates(3) == [0, 0, 1]
    assert NoAveraging().rates(3) == [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TailMean(0.0), r"TailMean: share 0.0, expected above 0 and at most 1. Use NoAveraging\(\) for none."),
        (lambda: TailMean(1.1), "TailMean: share 1.1"),
        (lambda: TailDecay(1.0), "TailDecay: decay 1.0, expected at least 0 and below 1. Change it."),
        (lambda: TailDecay(-0.1), "TailDecay: decay -0.1"),
        (lambda: TailDecay(0.9, 0.0), "TailDecay: share 0.0"),
        (lambda: TailDecay(float("nan")), "TailDecay: decay nan"),
    ],
)
def test_bad_values_are_refused(make, said: str):
    with pytest.raises(StrategyError, match=said):
        make()


def test_no_averaging_is_neither_described_nor_hashed():
    plain, said, mean = (
        Entrant("mine", Strategy("Mine", Keep(), OneCycle(0.1), **given))
        for given in ({}, {"averaging": NoAveraging()}, {"averaging": TailMean()})
    )
    assert plain.hash() == said.hash() != mean.hash()
    assert "averaging" not in said.describe()
    assert mean.describe()["averaging"] == {"type": "TailMean", "share": 0.2}


def test_it_is_set_on_the_command_line():
    entrant = load_variant("naive[averaging=TailDecay(decay=0.95)]")
    assert entrant.strategy.averaging == TailDecay(0.95)
    assert load_variant("naive[averaging=TailMean,averaging.share=0.5]").strategy.averaging == TailMean(0.5)
    with pytest.raises(
        StrategyError, match=r"averaging=TailMaen: no such piece of this aspect. Did you mean TailMean\?"
    ):
        load_variant("naive[averaging=TailMaen]")
