"""Sending a run to another process, with strategies whose code lies in files of the user's own."""

from __future__ import annotations

import io
import pickle
import sys
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StrategyError
from bench.strategies.strategy import in_a_line, load_strategy, module_name, source_of

if TYPE_CHECKING:
    from bench.execution.local import LocalRun


def pack(run: LocalRun) -> bytes:
    """Return what `unpack` makes the same run from. Raises StrategyError if a strategy cannot be sent."""
    origins = {module_name(each.origin): each.origin for each in run.entrants if each.origin}
    content = io.BytesIO()
    try:
        _Pickler(content, origins).dump((run.entrants, run.again))
        pickle.loads(content.getvalue())
    except (pickle.PicklingError, AttributeError, TypeError) as cause:
        raise _cannot_be_sent(cause) from cause
    return content.getvalue()


def unpack(packed: bytes) -> partial[LocalRun]:
    """Return what makes the run, given threads and jobs. Loads the files of strategies, and checks that they are unchanged.

    Raises StrategyError.
    """
    try:
        entrants, again = pickle.loads(packed)
    except (AttributeError, ImportError) as cause:  # a class of a notebook's cell, for example
        raise _cannot_be_sent(cause) from cause
    for entrant in entrants:
        if source_of(entrant.strategy, entrant.plain or entrant) != entrant.source:
            raise StrategyError(f"{entrant.name}: its code has changed since the run began. Run the command again.")
    return again


class _Pickler(pickle.Pickler):
    """Sends a class that a strategy's file defines as the file and its name: there is no module to import it from."""

    def __init__(self, file: io.BytesIO, origins: dict[str, Path]) -> None:
        super().__init__(file)
        self._origins = origins

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and obj.__module__ in self._origins:
            return _class_in, (self._origins[obj.__module__], obj.__qualname__)
        return NotImplemented


def _class_in(path: Path, name: str) -> type:
    if module_name(path) not in sys.modules:
        load_strategy(path)
    return attrgetter(name)(sys.modules[module_name(path)])


def _cannot_be_sent(cause: Exception) -> StrategyError:
    return StrategyError(
        f"--jobs: a strategy cannot be sent to another process ({in_a_line(cause)}). Define its pieces in a file, or use "
        "--jobs 1."
    )
