"""Saying that records were left out, because they cannot be read, wherever something was made from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from bench.records.collect import Records, Unreadable
from bench.reporting.layout import Cells

_NAMED = 3


def incomplete_note(unreadable: Sequence[Unreadable]) -> str:
    """Return one sentence that says how many records were left out, and which; empty where none was."""
    if not unreadable:
        return ""
    names = [each.where for each in unreadable[:_NAMED]]
    more = f" and {len(unreadable) - _NAMED} more" if len(unreadable) > _NAMED else ""
    return f"{incomplete_count(len(unreadable))} ({', '.join(names)}{more}). bench check says why."


def incomplete_count(count: int) -> str:
    """Say how many records were left out."""
    return f"Incomplete: {'1 record' if count == 1 else f'{count} records'} left out, which cannot be read"


def noted(cells: Cells, *parts: Records) -> Cells:
    """Return a table in words with that sentence below it."""
    note = incomplete_note([each for part in parts for each in part.unreadable])
    return replace(cells, notes=(*cells.notes, note)) if note else cells


def marked(rows: pd.DataFrame, *parts: Records) -> pd.DataFrame:
    """Return a table with a column `left_out`, the number of records that cannot be read; unchanged where there is none."""
    count = sum(len(part.unreadable) for part in parts)
    return rows.assign(left_out=count) if count else rows
