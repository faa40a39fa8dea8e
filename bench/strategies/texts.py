"""A strategy as texts: what another machine makes the same strategy from, without any of its files.

One that was made in Python has no text. A process of this machine can get it as a pickle.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Mapping
from typing import Any

from bench.code import code_from, code_that_defines
from bench.errors import BenchError, StrategyError
from bench.strategies.notation import split_reference
from bench.strategies.strategy import ASPECTS, Entrant, Strategy, in_a_line, named, own_code
from bench.strategies.variants import vary


def as_text(entrant: Entrant) -> dict[str, Any]:
    """Return a strategy as plain values: names, its code as texts, and its hash, by which `from_text` knows it again.

    plain: the name of the strategy that it is a variant of. Raises StrategyError for one that was made in Python, or that has a
    piece from there.
    """
    plain = entrant.plain or entrant
    said = _text(entrant, plain)
    try:
        if said is not None:
            from_text(said)
            return said
    except StrategyError:
        pass
    raise StrategyError(
        f"{entrant.name}: was made in Python, so that there is no text that another process could make it from. Write it "
        "as a file, or run it without --executor."
    )


def as_text_or_pickle(entrant: Entrant) -> dict[str, Any]:
    """Return what `as_text` returns, or, of a strategy that was made in Python, the same with a pickle in place of its code.

    Raises StrategyError if it cannot be pickled, as where a piece is defined in a function.
    """
    try:
        return as_text(entrant)
    except StrategyError:
        # The code of strategies' files comes first: it makes the modules that the pieces are then looked up in.
        codes = [code_that_defines(type(getattr(entrant.strategy, name))) for name in ASPECTS]
        try:
            packed = pickle.dumps((codes, entrant))
            pickle.loads(packed)
        except (pickle.PicklingError, AttributeError, TypeError) as cause:
            raise _cannot_be_sent(entrant.name, cause) from cause
    return {
        "name": entrant.name,
        "plain": entrant.name,
        "horizon": entrant.strategy.horizon,
        "hash": entrant.hash(),
        "code": None,
        "pickle": base64.b64encode(packed).decode("ascii"),
    }


def _text(entrant: Entrant, plain: Entrant) -> dict[str, Any] | None:
    if plain.code is None:
        return None
    return {
        "name": entrant.name,
        "plain": plain.name,
        "horizon": entrant.strategy.horizon,
        "hash": entrant.hash(),
        "code": plain.code.plain(),
        "tuning": dict(entrant.tuning) if entrant.tuning else None,
    }


def from_text(said: Mapping[str, Any]) -> Entrant:
    """Return the strategy that `as_text`, or `as_text_or_pickle`, described. Runs its code, as it was read there.

    Raises StrategyError if it cannot be made here, or is another one, as where bench itself is of another version.
    """
    if said["code"] is None:
        return _from_pickle(said)
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


def _from_pickle(said: Mapping[str, Any]) -> Entrant:
    try:
        _, found = pickle.loads(base64.b64decode(said["pickle"]))
    except (AttributeError, ImportError) as cause:  # a class of a notebook's cell, for example
        raise _cannot_be_sent(said["name"], cause) from cause
    read = own_code(found.strategy, found.plain or found)
    if (read["source"], read["modules"]) != (found.source, found.modules):
        raise StrategyError(f"{found.name}: its code has changed since the run began. Run the command again.")
    return found


def _cannot_be_sent(name: str, cause: Exception) -> StrategyError:
    return StrategyError(
        f"{name}: cannot be sent to another process ({in_a_line(cause)}). Define its pieces in a file, or use --jobs 1."
    )
