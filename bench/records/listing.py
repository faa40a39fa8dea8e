"""Which files hold the records under a folder of results, and whether they still are as they were."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.errors import RecordError

TRIAL, EVALS = "trial.json", "evals.jsonl"
# Below the results: scenario, strategy and horizon are named freely, seeds and updates are not.
_PREFIXES = ("", "", "", "seed-", "update-")
_FIRST_TRIAL = _PREFIXES.index("seed-") + 1  # how deep a folder may hold a trial


@dataclass(frozen=True)
class Listing:
    """Every trial that was begun under a folder of results.

    folders: in the order of their paths, seed 2 before seed 10, as text: 10,000 Path objects took as long as listing them.
    fingerprint: SHA-256 over each record file's path below the results, its size and when it was written (to the nanosecond): of
    equal fingerprints, nothing was added, changed or taken away. newest: when the last of these files was written, in nanoseconds
    since 1970; 0 where there is none.
    """

    folders: tuple[str, ...]
    fingerprint: str
    newest: int


def list_records(results: Path) -> Listing:
    """List the trials under `results` without opening a record: 10,000 in a quarter of a second.

    Raises RecordError where a folder cannot be listed: a trial that is left out silently would change a table.
    """
    digest, newest, folders, top = hashlib.sha256(), 0, [], len(os.fspath(results))
    for folder, files in _trials(os.fspath(results), 0):
        folders.append(folder)
        below = folder[top:].lstrip(os.sep).replace(os.sep, "/")
        for entry in files:
            with suppress(FileNotFoundError):  # taken away meanwhile: another listing
                status = entry.stat()
                newest = max(newest, status.st_mtime_ns)
                line = f"{below}\0{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
    return Listing(tuple(folders), digest.hexdigest(), newest)


def _order(entry: os.DirEntry[str]) -> tuple[str, int, str]:
    """Return what entries are sorted by: their names, but seeds and updates by their numbers."""
    start, _, number = entry.name.partition("-")
    return (start, int(number), entry.name) if number.isdecimal() else (entry.name, -1, "")


def _trials(folder: str, depth: int) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield (folder, its record files by name) of every trial in and below a folder, in the order of their paths."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=_order)
    except (FileNotFoundError, NotADirectoryError):  # taken away meanwhile
        return
    except OSError as cause:
        raise RecordError(f"{folder}: cannot be listed ({cause.strerror}). Mend its permissions.") from cause
    if depth >= _FIRST_TRIAL:
        files = [entry for entry in entries if entry.name in (TRIAL, EVALS)]
        if any(entry.name == TRIAL for entry in files):
            yield folder, files
    if depth < len(_PREFIXES):
        for entry in entries:
            if entry.name.startswith(_PREFIXES[depth]) and entry.is_dir():
                yield from _trials(entry.path, depth + 1)
