"""A strategy as texts: what another machine makes the same strategy from, without any of its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.code import code_from
from bench.errors import BenchError, StrategyError
from bench.strategies.notation import split_reference
from bench.strategies.strategy import Entrant, Strategy, in_a_line, named
from bench.strategies.variants import vary


def as_text(entrant: Entrant) -> dict[str, Any]:
    """Return a strategy as plain values: names, its code as texts, and its hash, by which `from_text` knows it again.

    plain: the name of the strategy that it is a variant of. Raises StrategyError for one that was made in Python.
    """
    plain = entrant.plain or entrant
    if plain.code is None:
        raise StrategyError(
            f"{entrant.name}: was made in Python, so that there is no text that another process could make it from. Write it "
            "as a file, or run it without --executor."
        )
    return {
        "name": entrant.name,
        "plain": plain.name,
        "horizon": entrant.strategy.horizon,
        "hash": entrant.hash(),
        "code": plain.code.plain(),
        "tuning": dict(entrant.tuning) if entrant.tuning else None,
    }


def from_text(said: Mapping[str, Any]) -> Entrant:
    """Return the strategy that `as_text` described. Runs its code, as it was read there.

    Raises StrategyError if it cannot be made here, or is another one, as where bench itself is of another version.
    """
    name, plain = said["name"], said["plain"]
    try:
        code, module = code_from(said["code"])
        attribute = "strategy" if code.own or plain == code.path.stem else plain.removeprefix(f"{code.path.stem}.")
        strategy = getattr(module, attribute)
        assert isinstance(strategy, Strategy)
        found = named(strategy, plain, code, said["tuning"])
        found = vary(found, split_reference(name)[1]) if name != plain else found
        found = found.at(said["horizon"])
    except BenchError:
        raise
    except (Exception, SystemExit) as cause:  # anything that a user's code raises is for the user to fix
        raise StrategyError(
            f"{name}: cannot be made here: {in_a_line(cause)}. Install here what it imports there."
        ) from cause
    if (found.name, found.hash()) != (name, said["hash"]):
        raise StrategyError(
            f"{name}: is another strategy here (hash {found.hash()}, expected {said['hash']}, as planned). Install the same "
            "version of bench on every machine."
        )
    return found
