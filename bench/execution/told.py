"""Telling a listener of jobs that ran elsewhere, from the records that they left."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bench.errors import RecordError
from bench.execution.jobs import Ended, Place
from bench.execution.listener import Listener
from bench.records.store import read_trial


def tell_ended(listener: Listener, ended: Ended, place: Place) -> None:
    """Say that a job ended: with its record, or as failed. A base model's record is not looked for, and it says nothing."""
    if ended.outcome == "failed":
        listener.ended(ended.id, None)
    elif ended.outcome == "done":
        with suppress(RecordError):
            record = read_trial(Path(place.results) / ended.id)
            if record is not None:
                listener.ended(ended.id, record)
