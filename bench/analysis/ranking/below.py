"""Rows below a leaderboard's own: marked, without a rank, and without a change to any other row."""

from __future__ import annotations

import pandas as pd


def put_below(
    rows: pd.DataFrame, added: pd.DataFrame, column: str, *, own: bool | str, below: bool | str
) -> pd.DataFrame:
    """Return a leaderboard with more rows below its own, which stay as they are, and a column that tells them apart.

    added: rows as leaderboard() returns them. column: its name; it is `own` in the leaderboard's rows, and `below` in the others.
    """
    under = added.reindex(columns=rows.columns).assign(rank=pd.NA, **{column: below})  # pyright: ignore[reportArgumentType]
    return joined(rows.assign(**{column: own}), under).astype({"rank": "Int64"})


def joined(above: pd.DataFrame, below: pd.DataFrame) -> pd.DataFrame:
    """Return both together, with the columns of the upper one; those that the lower one lacks are empty there."""
    return pd.concat([above, below.reindex(columns=above.columns).astype(object)], ignore_index=True).infer_objects()
