"""All records of a results folder in one Parquet file: derived from them, quick to read, usable without bench.

A row is an evaluation of a finished trial, in the order of the trials' paths; its columns are those of bulk.evaluations.
Text is dictionary-encoded. What is stored once per trial, finished or not, is text before the first row, in parts of some
thousand trials each: Records.trials as JSON, each column's values by its name, packed by zlib. Before each is its length, in 8
bytes, and after the last 8 zeros. Readers of Parquet pass over it, as the footer says where each column is. In the file's
metadata are:

    bench.format          version of this layout, and of the columns of Records.trials
    bench.versions        schema versions that its records may have, rules version, hash of the shipped scenarios; JSON
    bench.fingerprint     of the record files it was made from (listing.Listing)
    bench.unreadable      [folder below the results, why] of each record that is left out; JSON
    bench.count           number of trials in these files

History of the format:
1  first version.
2  selection_seconds and regularizer_flops in Records.trials.
3  feature_flops, head_flops and feature_bytes in Records.trials.
 5  may_have_seen and tuning_flops in Records.trials; records that are left out.
8  Records.trials in parts. Until then it was one text of at most 1 GiB, about 350,000 trials, in the metadata: bench.trials, in
   base64. Files of format 7 are still read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.catalog import shipped_folder
from bench.files import make_folder, parse_json, replacing
from bench.records.frames import join, stack
from bench.records.listing import Listing
from bench.records.versions import READABLE_VERSIONS, RULES_VERSION

# Increment whenever a column of Records.trials is added, dropped or changes its meaning: older files are then not used.
# A test compares these columns with this number.
FORMAT = 8
_READABLE = (b"7", b"8")
NAME = "records.parquet"

_GROUP_ROWS = 1 << 17  # in a row group: 30 MB of numbers
_DIGITS = 64  # of the digest
_MOST_BYTES = 1 << 30  # of one part of Records.trials as JSON; 10,000 trials take 30 MB
_MAGIC, _LENGTH = b"PAR1", 8  # with which a Parquet file begins; bytes of a part's length
# With 2 million rows, lz4 took 0.6 s to read and 148 MB, zstd 1.0 s and 137 MB.
_COMPRESSION = "lz4"
_REPEATED = ("step", "images", "learning_rate")  # the same in every seed's trial; other numbers never repeat


class NotUsableError(Exception):
    """A collected file that must not be used; the message says why, and continues the file's name."""


class _NotWholeError(Exception):
    """What was read turned out not to be all of it: nothing is to be written."""


def write_parquet(
    path: Path,
    contents: tuple[Iterable[str], str],
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    made_from: Listing,
    whole: Callable[[], bool],
) -> int | None:
    """Write a collected file, all or nothing, and return the number of evaluations in it.

    contents: the parts of Records.trials, and what is left out, as JSON. tables: the evaluations, each of `schema`. made_from:
    listed before any record was read, so that a record written in the meantime makes the file outdated. whole: asked once the
    tables have been read; if it says no, nothing is written and None is returned.
    Raises WriteError if it cannot be written, or if `path` is there and not a regular file.
    """
    parts, unreadable = contents
    facts = {
        "bench.format": str(FORMAT),
        "bench.versions": _versions(),
        "bench.fingerprint": made_from.fingerprint,
        "bench.unreadable": unreadable,
        "bench.count": str(len(made_from.folders)),
        "bench.digest": "0" * _DIGITS,
    }
    make_folder(path.parent)
    try:
        with replacing(path) as part:
            with part.open("wb") as file:
                written = _write(file, parts, tables, schema.with_metadata(facts))
            if not whole():
                raise _NotWholeError
            with part.open("r+b") as file:
                place = _place_of_digest(file)
                digest = _digest(file, place)
                file.seek(place)
                file.write(digest)
    except _NotWholeError:
        return None
    return written


def read_parquet(
    path: Path, records: Listing, columns: list[str]
) -> tuple[dict[str, list[object]], list[list[str]], pd.DataFrame]:
    """Return (Records.trials by column, what is left out, some columns of the evaluations, as from frames.stack) of a file.

    Raises NotUsableError if it is broken, of another version, or not made from these records as they are now.
    """
    try:
        _require_unchanged(path)
        with pq.ParquetFile(path) as file:
            facts = file.schema_arrow.metadata or {}
            _refuse_others(facts, records)
            if not set(columns) <= set(file.schema_arrow.names):
                raise NotUsableError("is from another version of bench")
            trials = join(map(_part, _parts(path, facts)))
            unreadable = parse_json(facts[b"bench.unreadable"])
            schema = pa.schema([file.schema_arrow.field(name) for name in columns])
            nothing = _only_nulls(file.metadata, columns)
            there = [name for name in columns if name not in nothing]
            groups = (file.read_row_group(place, there) for place in range(file.num_row_groups))
            return trials, unreadable, stack(schema, groups, file.metadata.num_rows, nothing)
    # Whatever Arrow, zlib and base64 raise on corrupted bytes.
    except (OSError, EOFError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException, zlib.error) as cause:
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise NotUsableError(f"cannot be read ({reason})") from cause


def _only_nulls(facts: pq.FileMetaData, columns: list[str]) -> frozenset[str]:
    """Return those of some columns that have no value anywhere: joules on a CPU, or accuracies of parts."""
    groups = [facts.row_group(place) for place in range(facts.num_row_groups)]

    def empty(place: int) -> bool:
        chunks = (group.column(place) for group in groups)
        return all(each.is_stats_set and each.statistics.null_count == each.num_values for each in chunks)

    places = {facts.schema.column(place).name: place for place in range(facts.num_columns)} if groups else {}
    return frozenset(name for name in columns if name in places and empty(places[name]))


def _require_unchanged(path: Path) -> None:
    """Raise NotUsableError if a file does not have the digest that it was written with.

    Checksums of pages would not do: pages may be exchanged, and the footer has none.
    """
    with path.open("rb") as file:
        place = _place_of_digest(file)
        file.seek(place)
        written = file.read(_DIGITS)
        if _digest(file, place) != written:
            raise NotUsableError("was changed since it was written")


def _place_of_digest(file: BinaryIO) -> int:
    """Return where in a Parquet file the digest's digits begin. Raises ValueError if it has none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    footer = size - 8 - int.from_bytes(file.read(4), "little")
    file.seek(max(0, footer))
    # In the footer, key and value are texts with a byte for their type and one for their length before them.
    found = re.search(rb"bench\.digest..([0-9a-f]{%d})" % _DIGITS, file.read(), re.DOTALL)
    if found is None or footer < 0:
        raise ValueError("no digest")
    return footer + found.start(1)


def _digest(file: BinaryIO, place: int) -> bytes:
    """Return the BLAKE2b digest of a file, in hexadecimal digits, without those at `place`: 148 MB in 0.2 s."""
    running, left = hashlib.blake2b(digest_size=_DIGITS // 2), place
    file.seek(0)
    while chunk := file.read(min(left, 1 << 20)):
        running.update(chunk)
        left -= len(chunk)
    file.seek(place + _DIGITS)
    while chunk := file.read(1 << 20):
        running.update(chunk)
    return running.hexdigest().encode()


def _packed(part: str) -> bytes:
    return zlib.compress(part.encode())


def _parts(path: Path, facts: dict[bytes, bytes]) -> Iterator[bytes]:
    """Yield each part of Records.trials as it lies in a file."""
    if facts[b"bench.format"] == b"7":
        yield base64.b64decode(facts[b"bench.trials"], validate=True)
        return
    with path.open("rb") as file:
        file.seek(len(_MAGIC))
        while length := int.from_bytes(file.read(_LENGTH), "little"):
            yield file.read(length)


def _part(packed: bytes) -> dict[str, list[object]]:
    """Return columns of equal length. Raises ValueError for anything else, also for what is far larger than it was packed."""
    unpack = zlib.decompressobj()
    text = unpack.decompress(packed, _MOST_BYTES)
    if unpack.unconsumed_tail or not unpack.eof:
        raise ValueError("its trials are cut off, or too many")
    found = parse_json(text)
    lists = isinstance(found, dict) and all(isinstance(each, list) for each in found.values())
    if not lists or len({len(each) for each in found.values()}) > 1:
        raise ValueError("its trials are no table")
    return found


def _versions() -> str:
    """Return, as JSON, what a row of Records.trials depends on besides the records: a shipped scenario may publish a target."""
    digest = hashlib.sha256()
    for path in sorted(shipped_folder("scenarios").glob("*.toml")):
        digest.update(path.read_bytes())
    return json.dumps({"schema": READABLE_VERSIONS, "rules": RULES_VERSION, "scenarios": digest.hexdigest()})


def _refuse_others(facts: dict[bytes, bytes], records: Listing) -> None:
    if facts.get(b"bench.format") not in _READABLE or facts.get(b"bench.versions") != _versions().encode():
        raise NotUsableError("is from another version of bench")
    if facts.get(b"bench.fingerprint") != records.fingerprint.encode():
        count = facts.get(b"bench.count", b"?").decode(errors="replace")
        raise NotUsableError(
            f"is outdated (made from {count} trials; now {len(records.folders)}, or some have changed)"
        )


def _write(file: BinaryIO, parts: Iterable[str], tables: Iterable[pa.Table], schema: pa.Schema) -> int:
    text = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    how: dict[str, Any] = {
        "compression": _COMPRESSION,
        "use_dictionary": [*text, *_REPEATED],
    }
    rows, waiting, total = 0, [], 0
    sink = pa.PythonFile(file, "w")  # the writer's own: it counts what went through it
    with pq.ParquetWriter(sink, schema, **how) as writer:
        for packed in chain(map(_packed, parts), [b""]):
            sink.write(len(packed).to_bytes(_LENGTH, "little") + packed)
        for table in tables:
            waiting.append(table)
            rows, total = rows + table.num_rows, total + table.num_rows
            if rows >= _GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting))
                rows, waiting = 0, []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    return total
