"""Which strategies are drawn, and how they are distinguished: by colour, dashes and marker, so in grey, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.catalog import REFERENCE

MOST_DRAWN = 12
Key = tuple[str, float]  # strategy, horizon


@dataclass(frozen=True)
class Ink:
    """How one strategy at one horizon is drawn.

    dashes, marker: in matplotlib's form; scratch has no marker. The dot and the x are not used as markers: on a curve they mean
    "held the target" and "missed it".
    """

    colour: str
    dashes: Any
    marker: str


# After seaborn's "colorblind" (Okabe and Ito 2008), its palest dropped or darkened to be visible on white; neighbours differ in
# lightness. No two share a marker; dashes repeat after six.
_COLOURS = [
    "#1a1a1a",  # scratch
    "#0173b2",
    "#de8f05",
    "#5b3a8c",
    "#029e73",
    "#7a4b12",
    "#56b4e9",
    "#d55e00",
    "#b2a300",
    "#8f0f3d",
    "#cc78bc",
    "#6e6e6e",
]
_DASHES = ["-", (0, (5, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 2.5))]
_MARKERS = ["", "s", "^", "D", "v", "P", "<", "*", "p", ">", "h", "d"]
INKS = tuple(Ink(colour, _DASHES[place % len(_DASHES)], _MARKERS[place]) for place, colour in enumerate(_COLOURS))


def drawn(ranking: pd.DataFrame) -> list[Key]:
    """Return which strategies of a leaderboard are drawn: scratch, then the best of the others, in the order of their names.

    ranking: as returned by bench.analysis.ranking.leaderboard, the best first. At most MOST_DRAWN: more would look alike.
    """
    ranked: list[Key] = list(zip(ranking["strategy"], ranking["horizon"].astype(float), strict=True))
    first = [key for key in ranked if key == (REFERENCE, 1.0)]
    others = [key for key in ranked if key not in first]
    return first + sorted(others[: MOST_DRAWN - len(first)], key=_in_order)


def drawn_whole(ranking: pd.DataFrame) -> list[Key]:
    """Return every horizon of the strategies that are drawn: a frontier without one of them would be another one."""
    there = {strategy for strategy, _ in drawn(ranking)}
    keys = zip(ranking["strategy"], ranking["horizon"].astype(float), strict=True)
    return sorted((key for key in keys if key[0] in there), key=_in_order)


def inks_of(ranking: pd.DataFrame) -> dict[Key, Ink]:
    """Return the ink of every strategy of a leaderboard that is drawn: the same in all of its figures."""
    keys = drawn(ranking)
    start = 0 if (REFERENCE, 1.0) in keys else 1  # scratch's ink is reserved
    return {key: INKS[(start + place) % len(INKS)] for place, key in enumerate(keys)}


def titles_of(ranking: pd.DataFrame) -> dict[Key, str]:
    """Return each strategy's title, followed by its name if two share a title."""
    rows = ranking[["strategy", "horizon", "title"]].drop_duplicates()
    twice = rows.duplicated(["title", "horizon"], keep=False)
    named = rows["title"].where(~twice, rows["title"] + " [" + rows["strategy"] + "]")
    return dict(zip(zip(rows["strategy"], rows["horizon"].astype(float), strict=True), named, strict=True))


def names_of(ranking: pd.DataFrame) -> dict[Key, str]:
    """Return each strategy's name in a legend: its title and horizon."""
    return {key: f"{title}, horizon {key[1]:g}" for key, title in titles_of(ranking).items()}


def _in_order(key: Key) -> tuple[bool, str, float]:
    return key[0] != REFERENCE, *key
