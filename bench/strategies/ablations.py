"""A strategy taken apart: variants without one of its pieces, and with one of them alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bench.errors import StrategyError
from bench.strategies.averaging import NoAveraging
from bench.strategies.freezing import NoFreezing
from bench.strategies.head import RandomHead
from bench.strategies.notation import show_value
from bench.strategies.objective import CrossEntropy
from bench.strategies.regularizer import NoRegularizer
from bench.strategies.schedule import OneCycle
from bench.strategies.selection import Uniform
from bench.strategies.start import Keep
from bench.strategies.strategy import ASPECTS, Entrant, Strategy
from bench.strategies.teacher import NoTeacher
from bench.strategies.variants import vary

# The pieces of the shipped strategy naive, besides its start; tests/strategies/test_ablations.py.
_PLAIN: dict[str, Any] = {
    "regularizer": NoRegularizer(),
    "selection": Uniform(),
    "schedule": OneCycle(warmup=0.2),
    "freezing": NoFreezing(),
    "head": RandomHead(),
    "averaging": NoAveraging(),
    "teacher": NoTeacher(),
    "objective": CrossEntropy(),
}

Change = Literal["left out", "alone"]


@dataclass(frozen=True)
class Ablated:
    """A strategy with one piece left out, or with one piece alone. aspect: the piece's. piece: in words."""

    entrant: Entrant
    aspect: str
    change: Change
    piece: str


def ablations(entrant: Entrant) -> list[Ablated]:
    """Return the variants of a strategy that show what its pieces are worth: each left out, then each alone.

    A piece is an aspect in which the strategy differs from plain continuing, which is the shipped strategy naive. Left out, that
    aspect is as there; alone, all the others are. A strategy that does not continue from the base keeps its start throughout. A
    piece alone that is the same as another one left out, as of two pieces, is listed once, as left out; a strategy of one piece
    is that piece alone. All variants have the strategy's own horizon.
    Raises StrategyError if no aspect differs.
    """
    plain = plain_pieces(entrant.strategy)
    pieces = {
        name: getattr(entrant.strategy, name) for name in ASPECTS if getattr(entrant.strategy, name) != plain[name]
    }
    if not pieces:
        raise StrategyError(
            f"{entrant.name}: has no piece to leave out, expected an aspect in which it differs from naive. "
            "Choose another strategy."
        )
    found = []
    for name, piece in pieces.items():
        found.append(Ablated(vary(entrant, {name: plain[name]}), name, "left out", show_value(piece)))
    for name, piece in pieces.items():
        others = {other: plain[other] for other in pieces if other != name}
        found.append(Ablated(vary(entrant, others), name, "alone", show_value(piece)))
    hashes, kept = {entrant.hash()}, []
    for each in found:
        if each.entrant.hash() not in hashes:
            hashes.add(each.entrant.hash())
            kept.append(each)
    return kept


def plain_pieces(strategy: Strategy) -> dict[str, Any]:
    """Return the piece of each aspect that stands for leaving the strategy's own out."""
    return {"start": Keep() if strategy.start.needs_base else strategy.start, **_PLAIN}
