"""Records as two tables that anybody can read, with a README beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import RecordError
from bench.files import make_folder, replacing, write_text

TRIALS, EVALUATIONS, README = "trials.parquet", "evaluations.parquet", "README.md"


def write_tables(
    folder: Path,
    trials: pd.DataFrame,
    evaluations: pd.DataFrame,
    readme: Callable[[pd.DataFrame, pd.DataFrame], str],
) -> list[Path]:
    """Write both tables as Parquet, and what `readme` says of them as they are written; return the files.

    What is a dictionary or a list in a cell becomes JSON; what is empty stays empty.
    Raises RecordError where there is no trial, and WriteError.
    """
    if trials.empty:
        raise RecordError(f"{folder}: no trials to write, expected at least one. Run: bench run")
    make_folder(folder)
    tables = {TRIALS: _plain(trials), EVALUATIONS: _plain(evaluations)}
    for name, table in tables.items():
        with replacing(folder / name) as part:
            table.to_parquet(part, index=False)
    write_text(folder / README, readme(*tables.values()))
    return [folder / name for name in (*tables, README)]


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns are numbers, truth values or text, each of one type."""
    return pd.DataFrame({name: _column(frame[name]) for name in frame.columns})


def _column(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(str)
    if getattr(values.dtype, "kind", "O") in "iufb":
        return values
    kept = values.dropna()
    if not len(kept):
        return pd.Series([None] * len(values), index=values.index, dtype=object)
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in kept):
        return pd.to_numeric(values)
    return values.map(_text, na_action="ignore").astype(object).where(values.notna(), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
