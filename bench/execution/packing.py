"""Sending a run to another process, with the code of strategies from files of the user's own as it was read here."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING

from bench.errors import StrategyError
from bench.strategies.strategy import in_a_line, own_code

if TYPE_CHECKING:
    from bench.execution.local import LocalRun


def pack(run: LocalRun) -> bytes:
    """Return what `unpack` makes the same run from. Raises StrategyError if a strategy cannot be sent."""
    # The code comes first: it makes the modules that the strategies' pieces are then looked up in.
    codes = [each.code for each in run.entrants]
    try:
        packed = pickle.dumps((codes, run.entrants, run.again))
        pickle.loads(packed)
    except (pickle.PicklingError, AttributeError, TypeError) as cause:
        raise _cannot_be_sent(cause) from cause
    return packed


def unpack(packed: bytes) -> partial[LocalRun]:
    """Return what makes the run, given threads and jobs. Runs the code of strategies as it was read when the run began.

    Raises StrategyError, also where pieces come from no strategy's file and their code has changed since.
    """
    try:
        _, entrants, again = pickle.loads(packed)
    except (AttributeError, ImportError) as cause:  # a class of a notebook's cell, for example
        raise _cannot_be_sent(cause) from cause
    for entrant in entrants:
        found = own_code(entrant.strategy, entrant.plain or entrant)
        if (found["source"], found["modules"]) != (entrant.source, entrant.modules):
            raise StrategyError(f"{entrant.name}: its code has changed since the run began. Run the command again.")
    return again


def _cannot_be_sent(cause: Exception) -> StrategyError:
    return StrategyError(
        f"--jobs: a strategy cannot be sent to another process ({in_a_line(cause)}). Define its pieces in a file, or use "
        "--jobs 1."
    )
