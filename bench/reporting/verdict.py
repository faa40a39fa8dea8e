"""What was saved, in sentences: the first lines of a leaderboard."""

from __future__ import annotations

import pandas as pd

from bench.analysis.studies.savings import Saving, savings
from bench.reporting.numbers import COST_NAMES, counted, frontier_text

_MOST = 3  # sentences: with more, the table says it better


def verdict_lines(ranking: pd.DataFrame, over_horizons: pd.DataFrame) -> tuple[str, ...]:
    """Return a sentence for each strategy that saved something, the best first and at most three; or that nothing was saved.

    ranking, over_horizons: as for bench.analysis.studies.savings.savings. No line where there is nothing but scratch.
    """
    found = savings(ranking, over_horizons)
    first = ranking.iloc[0]
    won = [each for each in found if each.won]
    if won:
        where = _where("published_source" in ranking, first["share"])
        lines = [_won(each, first["currency"], where) for each in won[:_MOST]]
        more = len(won) - _MOST
        return (*lines, f"{more} more saved something, see the table") if more > 0 else tuple(lines)
    return (f"nothing saved: {'; '.join(map(_lost, found[:_MOST]))}",) if found else ()


def best_saving(ranking: pd.DataFrame, over_horizons: pd.DataFrame) -> tuple[str, str] | None:
    """Return the strategy of the first sentence, and its speedup such as "2.43 (2.03 to > 2.50)"; None for scratch alone."""
    found = savings(ranking, over_horizons)
    return (found[0].strategy, frontier_text(vars(found[0]))) if found else None


def _where(published: bool, share: float) -> str:
    if published:
        return "the published accuracy" if share == 1 else f"{share:g} of the published accuracy"
    return "equal accuracy" if share == 1 else f"{share:g} of its accuracy"


def _won(saving: Saving, currency: str, where: str) -> str:
    """Return "optimized: 2.43 times cheaper than retraining at equal accuracy (95 % interval 2.03 to 2.71, 3 seeds)"."""
    more = "more than " if saving.relation == ">" else ""
    unit = "" if currency == "flops" else f" in {COST_NAMES[currency]}"
    cheaper = f"{more}{saving.value:.2f} times cheaper{unit} than retraining at {where}"
    text = f"{saving.strategy}: {cheaper} ({_facts(saving)})"
    if saving.attributable is None or f"{saving.attributable:.2f}" == f"{saving.value:.2f}":
        return text
    return f"{text}; {saving.attributable:.2f} times against scratch at its own cheapest length"


def _facts(saving: Saving) -> str:
    """Return the 95 % interval, or why there is none, and the number of seeds."""
    seeds, low, high = counted(saving.n, "seed"), saving.low, saving.high
    if low is None or high is None:
        why = saving.note.removeprefix("none: ")
        return f"{seeds}; no interval: {why}" if why else seeds
    begin, end = "less than " * saving.low_open, "more than " * saving.high_open
    one = ", which includes 1" if round(low, 2) <= 1 <= high else ""
    return f"95 % interval {begin}{low:.2f} to {end}{high:.2f}{one}, {seeds}"


def _lost(saving: Saving) -> str:
    """Return how far one strategy is from saving anything."""
    seeds = counted(saving.n, "seed")
    if saving.relation == "undetermined":
        return f"{saving.strategy} and scratch both miss the target ({seeds})"
    if saving.relation == "<":
        length = f"{saving.horizon:g} of scratch's length"
        return f"{saving.strategy} ends {_points(saving.short)} short at {length} ({seeds})"
    if round(saving.value, 2) == 1:
        return f"{saving.strategy} reaches the target at scratch's whole cost ({seeds})"
    return f"{saving.strategy} costs {1 / saving.value:.2f} times as much as retraining ({seeds})"


def _points(short: float) -> str:
    """Return a distance in percentage points: one decimal, or as many as it takes to be more than nothing."""
    points = 100 * short
    digits = next((digits for digits in (1, 2) if round(points, digits)), 3)
    return f"{points:.{digits}f} points"
