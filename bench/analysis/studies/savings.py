"""What each strategy saved, best first: the numbers of the sentence that a leaderboard begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.analysis.speedup.speedup import Relation
from bench.catalog import REFERENCE


@dataclass(frozen=True)
class Saving:
    """One strategy's speedup over scratch: over its horizons where it has a frontier, else inside its one run.

    value, relation: as in frontiers or, inside one run, in Speedup. low, high: 95 % interval, None if there is none; low_open,
    high_open: whether that end lies outside the horizons that were run. note: how the interval was made, or why there is none.
    n: seeds. horizon: the longest that was run. short: target minus the mean accuracy at its end. attributable: as in
    frontiers, None where it is not known.
    """

    strategy: str
    value: float
    relation: Relation
    low: float | None
    high: float | None
    low_open: bool
    high_open: bool
    note: str
    n: int
    horizon: float
    short: float
    attributable: float | None

    @property
    def won(self) -> bool:
        """Whether it held the target at less than scratch's cost, by more than a table's two decimals hide."""
        return self.relation in ("=", ">") and round(self.value, 2) > 1

    @property
    def shown(self) -> bool:
        """Whether the whole interval lies above 1; an open lower end may lie anywhere below."""
        return self.low is not None and round(self.low, 2) > 1 and not self.low_open


def savings(ranking: pd.DataFrame, over_horizons: pd.DataFrame) -> list[Saving]:
    """Return what each strategy saved, without scratch and strategies that cannot be compared; the best first.

    ranking: as returned by leaderboard, of one update. over_horizons: as returned by frontiers, in the same currency and at the
    same share of the target.
    The best are those whose frontier has an interval that lies above 1, by speedup: a frontier is the leading result where there
    is one. Then come the others that won, and then those that did not, both in the order of the leaderboard, in which a strategy
    that missed the target on one seed never leads one that reached it on all.
    """
    currency = ranking["currency"].iloc[0]
    frontier = {row["strategy"]: row for row in over_horizons.to_dict("records")}
    compared = ranking[(ranking["strategy"] != REFERENCE) & (ranking["n"] > 0)]
    runs: dict[str, list[Any]] = {}
    for row in compared.to_dict("records"):  # all at once: a frame for each strategy would take far longer
        if isinstance(row[f"relation_{currency}"], str):
            runs.setdefault(str(row["strategy"]), []).append(row)
    found = [_saving(strategy, its, frontier.get(strategy), currency) for strategy, its in runs.items()]
    leading = [each for each in found if each.strategy in frontier and each.won and each.shown]
    led = {each.strategy for each in leading}
    others = [each for each in found if each.strategy not in led]
    return [
        *sorted(leading, key=lambda each: -each.value),
        *(each for each in others if each.won),
        *(each for each in others if not each.won),
    ]


def _saving(strategy: str, runs: Sequence[Any], frontier: Any, currency: str) -> Saving:
    """Return one strategy's saving. runs: its rows of the leaderboard, by rank; frontier: its row, or None."""
    longest = max(runs, key=lambda row: row["horizon"])
    # Horizons without a common frontier, such as those on different seeds: the run that ranks first.
    names = ("value", "relation", "low", "high", "note")
    row = frontier or {name: runs[0][f"{name}_{currency}"] for name in names} | {"n": runs[0]["n"]}
    return Saving(
        strategy=strategy,
        value=float(row["value"]),
        relation=row["relation"],
        low=_known(row["low"]),
        high=_known(row["high"]),
        low_open=bool(row.get("low_open", False)),
        high_open=bool(row.get("high_open", False)),
        note=str(row["note"] or ""),
        n=int(row["n"]),
        horizon=float(longest["horizon"]),
        short=float(longest["target"] - longest["validation_accuracy"]),
        attributable=_known(row.get("attributable")),
    )


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
