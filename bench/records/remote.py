"""Records in a store such as S3, by fsspec: read from a copy here, and written so that no record is ever half there.

The copy, in the user's cache folder, holds the records and imported curves of one address. Before each use it is made the same as
the store: what is new there or has changed is fetched, what is gone is removed. A file is known to be the same by what the
store's listing says of it (its size, and its digest or time).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError, RecordError
from bench.extras import extra_package
from bench.files import append_line, make_folder, remove, write_atomically, write_text
from bench.locks import locked
from bench.places import cache_folder
from bench.records.listing import EVALS, TRIAL, list_records, require_results
from bench.records.merge import Merged, Plan, merge, plan_merge
from bench.records.store import LARGEST_EVALS

# Names below an address that are records' or curves': anything else is left alone.
_RECORD = re.compile(rf"[^/]+/[^/]+/[^/]+/seed-[^/]+/(update-[^/]+/)?({re.escape(TRIAL)}|{re.escape(EVALS)})")
_CURVES = re.compile(r"[^/]+/imported-[^/]*\.csv")
# What a listing says of a file's content, in the words of different stores: a digest, or else a time.
_DIGESTS, _TIMES = ("ETag", "etag", "md5Hash", "content_md5"), ("LastModified", "last_modified", "mtime", "created")
_TOGETHER = 256  # files on their way at once
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "DefaultCredentialsError")


def folder_of(place: str | os.PathLike[str], tell: Callable[[str], object] = lambda line: None) -> Path:
    """Return the folder in which the records of a place can be read: itself, or of an address its copy, up to date.

    tell: is told where that is. Raises RecordError if the store cannot be read, or holds no record there.
    """
    if not isinstance(place, str) or "://" not in place:
        return Path(place)
    store = Store(place)
    fetched = store.refresh()
    if not list_records(store.copy).folders:
        raise RecordError(
            f"{place}: no records there, expected some. Check the address, or run: bench push FOLDER {place}"
        )
    tell(f"{place}: {fetched:,} files fetched; read from {store.copy}")
    return store.copy


def pull(address: str, results: Path) -> list[Merged]:
    """Copy the finished trials and imported curves at an address into a folder, as merge does; raises what it raises."""
    copy = folder_of(address)
    with _named(copy, address):
        return merge([copy], results)


def push(results: Path, address: str) -> list[Merged]:
    """Copy the finished trials and imported curves of a folder to an address, as merge does; what is there, and equal, stays.

    Of each trial, trial.json goes last: what was cut off is no record, and is written again by the next push. Raises what merge
    raises, and RecordError if the store cannot be read or written.
    """
    require_results(results)
    store = Store(address)
    store.refresh()
    with _named(store.copy, address):
        plan = plan_merge([results], store.copy)
    store.put(plan)
    return plan.merged


@contextmanager
def _named(copy: Path, address: str) -> Iterator[None]:
    """Name the address in errors, and not its copy."""
    try:
        yield
    except RecordError as cause:
        raise RecordError(str(cause).replace(str(copy), address)) from cause


@dataclass(frozen=True)
class _Stamp:
    """What a listing says of a file: two equal ones are of the same content. said: None where it says too little."""

    size: int
    said: str | None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> _Stamp:
        said = next((facts[name] for name in (*_DIGESTS, *_TIMES) if facts.get(name) is not None), None)
        return cls(int(facts.get("size") or 0), None if said is None else str(said))


class Store:
    """The records at an address, and their copy here."""

    def __init__(self, address: str) -> None:
        """Raises BenchError without fsspec, or its part for this kind of address, and RecordError for no address."""
        self.address = address
        fsspec = extra_package(("fsspec",), "remote", address)
        try:
            with self._talking("opened"):
                self._files, root = fsspec.core.url_to_fs(address)
        except ImportError as cause:
            raise BenchError(
                f"{address}: needs a package that is not installed ({_words(cause)}). Install it; for s3://, run: pip install "
                "'compute-to-accuracy[remote]'"
            ) from cause
        self._root = root.rstrip("/")
        self._folder = cache_folder() / "remote" / hashlib.sha256(address.rstrip("/").encode()).hexdigest()[:16]
        self.copy = self._folder / "records"
        self._known_file = self._folder / "known.jsonl"
        # A store without folders shows a file once it is whole; elsewhere, a file is renamed when it is.
        self._renames = type(self._files).mv is not extra_package(("fsspec",), "remote", address).AbstractFileSystem.mv

    def refresh(self) -> int:
        """Make the copy the same as what is at the address, and return how many files were fetched for it.

        What was fetched before a failure stays. Raises RecordError.
        """
        make_folder(self.copy)
        with locked(self._folder / "lock", wait=True):
            there, here, known = self._listed(), self._sizes(), self._known()
            for name in here.keys() - there.keys():
                remove(self.copy / name)
            lacking = [
                name
                for name, stamp in sorted(there.items())
                if stamp.said is None or known.get(name) != stamp or here.get(name) != stamp.size
            ]
            write_text(self._known_file, _lines({name: known[name] for name in known if name in there}))
            for begin in range(0, len(lacking), _TOGETHER):
                self._fetch(lacking[begin : begin + _TOGETHER], there)
        return len(lacking)

    def put(self, plan: Plan) -> None:
        """Write the files of a plan to the store, and note that the copy has them, too. Raises RecordError."""
        trials = [(source / name, name) for name, source in plan.trials.items()]
        written = [(path, name.as_posix()) for path, name in plan.curves]
        self._put(written)
        for begin in range(0, len(trials), _TOGETHER):
            for file in (EVALS, TRIAL):
                pairs = [(folder / file, f"{name}/{file}") for folder, name in trials[begin : begin + _TOGETHER]]
                pairs = [pair for pair in pairs if pair[0].exists()]
                self._put(pairs)
                written += pairs
        if written:
            self._note(written)

    def _put(self, pairs: Sequence[tuple[Path, str]]) -> None:
        targets = [f"{self._root}/{name}" for _, name in pairs]
        with self._talking("written"):
            if not self._renames:
                self._files.put([str(path) for path, _ in pairs], targets)
                return
            for (path, _), target in zip(pairs, targets, strict=True):
                folder, _, name = target.rpartition("/")
                part = f"{folder}/.{name}.{os.urandom(6).hex()}.part"
                try:
                    self._files.makedirs(folder, exist_ok=True)
                    self._files.put_file(str(path), part)
                    self._files.mv(part, target)
                except BaseException:
                    with suppress(Exception):
                        self._files.rm(part)
                    raise

    def _note(self, pairs: Sequence[tuple[Path, str]]) -> None:
        """Put what was written into the copy, so that it need not be fetched."""
        with locked(self._folder / "lock", wait=True):
            there, noted = self._listed(), dict[str, _Stamp]()
            for path, name in pairs:
                content, stamp = path.read_bytes(), there.get(name)
                if stamp is not None and stamp.size == len(content):  # and not another's, written meanwhile
                    make_folder((self.copy / name).parent)
                    write_atomically(self.copy / name, content)
                    noted[name] = stamp
            append_line(self._known_file, _lines(noted).rstrip("\n"))

    def _listed(self) -> dict[str, _Stamp]:
        """Return what the store says of each file of records and curves, by its name below the address."""
        with self._talking("listed"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._root, detail=True)
            except FileNotFoundError:  # a folder that is not there yet
                found = {}
        below = {path[len(self._root) :].lstrip("/"): facts for path, facts in found.items()}
        return {name: _Stamp.of(facts) for name, facts in below.items() if self._is_ours(name, facts)}

    def _is_ours(self, name: str, facts: Mapping[str, Any]) -> bool:
        if not (_RECORD.fullmatch(name) or _CURVES.fullmatch(name)) or {".", ".."} & set(name.split("/")):
            return False
        if (facts.get("size") or 0) > LARGEST_EVALS:
            raise RecordError(
                f"{self.address}: {name}: larger than {LARGEST_EVALS:,} bytes: no record. Remove it there."
            )
        return True

    def _sizes(self) -> dict[str, int]:
        """Return the size of each file in the copy that came from the store, by name."""
        found = {}
        for folder, _, files in os.walk(self.copy):
            for file in files:
                path = os.path.join(folder, file)  # noqa: PTH118
                name = os.path.relpath(path, self.copy).replace(os.sep, "/")
                if _RECORD.fullmatch(name) or _CURVES.fullmatch(name):
                    found[name] = os.stat(path).st_size  # noqa: PTH116
        return found

    def _known(self) -> dict[str, _Stamp]:
        """Return what the store said of each file when it was fetched. A line that was cut off is none."""
        found = {}
        with suppress(FileNotFoundError):
            for line in self._known_file.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, TypeError):
                    name, size, said = json.loads(line)
                    found[name] = _Stamp(size, said)
        return found

    def _fetch(self, names: Sequence[str], there: Mapping[str, _Stamp]) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            parts = [Path(folder) / str(number) for number in range(len(names))]
            with self._talking("fetched"):
                self._files.get([f"{self._root}/{name}" for name in names], list(map(str, parts)))
                for name, part in zip(names, parts, strict=True):
                    if part.stat().st_size != there[name].size:
                        raise OSError(f"{name} came with {part.stat().st_size} of {there[name].size} bytes")
            for name, part in zip(names, parts, strict=True):  # evals.jsonl before trial.json, as sorted
                make_folder((self.copy / name).parent)
                part.replace(self.copy / name)
        append_line(self._known_file, _lines({name: there[name] for name in names}).rstrip("\n"))

    @contextmanager
    def _talking(self, doing: str) -> Iterator[None]:
        """Turn whatever a store's own code raises inside into one line. What is missing here, ImportError, is for others."""
        try:
            yield
        except (BenchError, ImportError):
            raise
        except Exception as cause:
            kind = type(cause).__name__
            remedy = "Check the address and the network, and run the same command again: it goes on from there"
            if isinstance(cause, PermissionError) or kind in _NO_CREDENTIALS:
                remedy = "Give credentials as the store's own tools take them, and run the same command again"
            elif isinstance(cause, FileNotFoundError):
                remedy = "Check the address: its bucket must exist"
            raise RecordError(f"{self.address}: cannot be {doing} ({kind}: {_words(cause)}). {remedy}.") from cause


def _words(cause: BaseException) -> str:
    return " ".join(str(cause).split())[:200].rstrip(".") or "no reason given"


def _lines(stamps: Mapping[str, _Stamp]) -> str:
    return "".join(json.dumps([name, stamp.size, stamp.said]) + "\n" for name, stamp in stamps.items())
