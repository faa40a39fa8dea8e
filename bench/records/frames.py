"""Turning what is read a part at a time into one table: Arrow tables of evaluations, and columns of trials."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

TEXT = pa.dictionary(pa.int32(), pa.string())
# The columns that say which trial a row belongs to.
KEY = {"scenario": TEXT, "strategy": TEXT, "horizon": pa.float64(), "seed": pa.int64(), "update": pa.int64()}


def stack(
    schema: pa.Schema, tables: Iterable[pa.Table], rows: int, nothing: Collection[str] = frozenset()
) -> pd.DataFrame:
    """Stack tables, each of `schema`, one below the other. rows: their total number.

    nothing: columns of numbers without a value anywhere, which the tables lack; they take no memory.
    Text is categorical, integer columns have no nulls, and a null elsewhere is NaN. Each table is copied to its place and
    freed: with 2 million rows, converting one large table took twice the memory, and half a second more.
    """
    text = {field.name: [] for field in schema if pa.types.is_dictionary(field.type)}
    kinds = {field.name: field.type.to_pandas_dtype() for field in schema if field.name not in text}
    numbers = {name: np.empty(rows, kind) for name, kind in kinds.items() if name not in nothing}
    empty = {name: np.broadcast_to(kinds[name](np.nan), rows) for name in nothing}
    begun = 0
    for table in tables:
        for name, column in numbers.items():
            column[begun : begun + table.num_rows] = table[name].to_numpy()
        for name, chunks in text.items():
            chunks += table[name].chunks
        begun += table.num_rows
    words = {name: _words(chunks, schema.field(name).type) for name, chunks in text.items()}
    # Without copy=False, pandas would copy the columns into shared blocks.
    found = {**numbers, **empty, **words}
    return pd.DataFrame({name: found[name] for name in schema.names}, copy=False)


def join(parts: Iterable[dict[str, list[object]]]) -> dict[str, list[object]]:
    """Return the columns of parts, each with the same columns, one below the other. Equal texts become one object."""
    found: dict[str, list[object]] = {}
    texts: dict[str, str] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, []).extend(
                texts.setdefault(each, each) if isinstance(each, str) else each for each in values
            )
    return found


def _words(chunks: list[pa.Array], kind: pa.DataType) -> pd.Series:
    """Return text as one categorical column, its categories in order of first appearance."""
    return pa.chunked_array(chunks, kind).unify_dictionaries().combine_chunks().to_pandas()
