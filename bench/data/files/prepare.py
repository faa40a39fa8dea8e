"""Decoding a tree of image files once, in parallel, into a memory-mapped array that survives a kill at any moment.

What is read later is compared with the checksums that were written; a part that differs is decoded again.

A prepared tree is a folder <data-root>/prepared/<key>:

    images.npy     uint8 (files, size, size, 3), one row per file of the tree
    done.jsonl     one line per chunk of rows that is flushed to disk: its SHA-256, and which files were broken
    files.txt      per file, in row order: a digest of its bytes, one of its pixels ("-" for none), and its name
    manifest.json  written last; without it the tree is not prepared
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import tokenize
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from bench.data.files.decode import (
    CHANNELS,
    MEGAPIXELS,
    METHOD,
    METHOD_VERSION,
    RESIZED,
    Chunk,
    Decoded,
    decode_chunk,
    file_digest,
    read_file,
    start_worker,
)
from bench.data.files.folders import Listing
from bench.data.files.names import shown
from bench.data.images import MappedPixels
from bench.errors import DataError
from bench.errors import shown as shown_value
from bench.files import append_line, make_folder, read_json, remove, replacing, write_atomically, writing
from bench.interrupts import check, held, spawning
from bench.locks import locked

_LOG = logging.getLogger(__name__)
# What NumPy raises on a header that is none.
_NO_ARRAY = (OSError, ValueError, EOFError, OverflowError, SyntaxError, TypeError, tokenize.TokenError)
_CHUNK_IMAGES = 1024
_CHUNK_BYTES = 16 << 20
_SHOWN = 5
_LARGEST_MANIFEST = 1 << 30  # bytes: millions of broken files

# Called with the number of images that were just completed.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Prepared:
    """A prepared tree. listing: its files. rows: int64, those that hold an image (broken ones were skipped).

    skipped: broken file -> why. mapped: the rows of all files.
    """

    folder: Path
    listing: Listing
    size: int
    rows: np.ndarray
    skipped: dict[str, str]
    mapped: MappedPixels

    def keys(self) -> np.ndarray:
        """Return the digests of the pixels of `rows`, bytes (rows,). Raises DataError if they are missing."""
        return np.array([key for _, key in self._digests()], dtype="S32")[self.rows]

    def changed_files(self) -> list[str]:
        """Read every file again; return the names of those whose bytes are not those that were decoded."""
        changed = []
        for name, (digest, _) in zip(self.listing.files, self._digests(), strict=True):
            try:
                now = file_digest(read_file(self.listing.folder / name))
            except OSError:
                now = "-"
            if now != digest:
                changed.append(name)
        return changed

    def _digests(self) -> list[tuple[str, str]]:
        path = self.folder / "files.txt"
        try:
            lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1]
            found = [(digest, key) for digest, key, _ in (line.split(" ", 2) for line in lines)]
        except (OSError, ValueError) as cause:
            raise DataError(f"{path}: cannot be read ({cause}). Remove its folder and prepare again.") from cause
        if len(found) != len(self.listing.files):
            raise DataError(
                f"{path}: {len(found)} lines, expected {len(self.listing.files)}. Remove its folder and prepare again."
            )
        return found


def prepared_folder(
    listing: Listing, size: int, root: Path, resize: int | None = None, megapixels: int = MEGAPIXELS
) -> Path:
    """Return the folder for a tree's pixels: the same for every scenario with that tree, resolution and limit."""
    geometry = f"{size}" if resize is None else f"{size}of{resize}"
    limit = "" if megapixels == MEGAPIXELS else f"-{megapixels}mp"
    return root / "prepared" / f"{listing.digest}-{geometry}{limit}-v{METHOD_VERSION}"


def find_prepared(
    listing: Listing, size: int, root: Path, resize: int | None = None, megapixels: int = MEGAPIXELS
) -> Prepared | None:
    """Return the prepared tree, or None if it is not prepared. Reads no pixels.

    Raises DataError if a file of it is damaged.
    """
    folder = prepared_folder(listing, size, root, resize, megapixels)
    try:
        return _find(listing, size, folder)
    except _DamagedError as cause:
        raise DataError(f"{cause}. Run bench data prepare, which decodes again what it must.") from cause


def load_prepared(
    listing: Listing, size: int, root: Path, resize: int | None = None, megapixels: int = MEGAPIXELS
) -> Prepared | None:
    """Do what find_prepared does, and compare every pixel with its checksum, once in a process.

    Raises DataError if any differs.
    """
    prepared = find_prepared(listing, size, root, resize, megapixels)
    if prepared is not None:
        try:
            _verify(prepared)
        except _DamagedError as cause:
            raise DataError(f"{cause}. Run bench data prepare, which decodes again what it must.") from cause
    return prepared


class _DamagedError(Exception):
    """A file of a prepared tree that is not as it was written; the message says which and how."""


def _find(listing: Listing, size: int, folder: Path) -> Prepared | None:
    try:
        manifest = _read_manifest(folder)
    except FileNotFoundError:
        return None
    path, expected = folder / "images.npy", (len(listing.files), size, size, CHANNELS)
    try:
        _data_offset(path, expected)
        pixels = np.load(path, mmap_mode="r")
    except _NO_ARRAY as cause:
        raise _DamagedError(f"{path}: not an array of uint8 {expected}, as it was written") from cause
    if len(manifest.sha256) != sum(1 for _ in chunk_rows(len(listing.files), size)):
        raise _DamagedError(
            f"{folder / 'manifest.json'}: sha256: {len(manifest.sha256)} chunks, expected those of {len(listing.files)} files"
        )
    rows = np.array([row for row, name in enumerate(listing.files) if name not in manifest.skipped], dtype=np.int64)
    _check_classes(listing, rows)
    return Prepared(folder, listing, size, rows, manifest.skipped, MappedPixels(pixels, manifest.digest))


def _verify(prepared: Prepared) -> None:
    """Raise _DamagedError if pixels or files.txt are not as they were written."""
    folder = prepared.folder
    states = tuple((folder / name).stat() for name in ("images.npy", "files.txt", "manifest.json"))
    known = tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)
    if _verified.get(folder) == known:
        return
    manifest = _read_manifest(folder)
    for (first, end), expected in zip(
        chunk_rows(len(prepared.listing.files), prepared.size), manifest.sha256, strict=True
    ):
        if hashlib.sha256(prepared.mapped.pixels[first:end].tobytes()).hexdigest() != expected:
            raise _DamagedError(
                f"{folder / 'images.npy'}: images {first}..{end - 1} have changed since they were written"
            )
    expected = manifest.files_sha256
    if expected is not None and hashlib.sha256((folder / "files.txt").read_bytes()).hexdigest() != expected:
        raise _DamagedError(f"{folder / 'files.txt'}: does not have the SHA-256 that it was written with")
    _verified[folder] = known


# Prepared folder -> the state of its files when they were last compared with their checksums.
_verified: dict[Path, tuple[tuple[int, int, int], ...]] = {}


def prepare(
    listing: Listing,
    size: int,
    root: Path,
    *,
    workers: int,
    resize: int | None = None,
    megapixels: int = MEGAPIXELS,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Decode what is not decoded yet, or has changed since, in `workers` processes, and return the prepared tree.

    size, resize, megapixels: as for decode_content. skip_broken: leave broken images out, keeping their names in the manifest;
    otherwise a DataError names them, once all others are decoded.
    """
    folder = prepared_folder(listing, size, root, resize, megapixels)
    there, _ = _whole(listing, size, folder)
    if there is not None:
        return there
    make_folder(folder)
    with locked(folder.with_suffix(".lock"), wait=True):
        there, why = _whole(listing, size, folder)
        if there is not None:
            return there
        if why:
            _LOG.warning("bench: %s; decoded again where it must be", why)
            remove(folder / "manifest.json")
        with writing(folder):
            chunks = [replace(each, resize=resize, megapixels=megapixels) for each in _chunks(listing, size, folder)]
            done = _decode(chunks, folder, workers, progress or (lambda images: None))
        broken = {name: why for part in done for name, why in part.broken.items()}
        if broken and not skip_broken:
            raise _refusal(listing, broken, folder)
        _close(listing, size, resize, done, broken, folder)
    prepared = find_prepared(listing, size, root, resize, megapixels)
    assert prepared is not None
    return prepared


def _whole(listing: Listing, size: int, folder: Path) -> tuple[Prepared | None, str]:
    """Return the prepared tree if every part of it is as it was written, and otherwise what is damaged, if it was there."""
    try:
        there = _find(listing, size, folder)
        if there is not None:
            _verify(there)
    except (_DamagedError, OSError) as cause:
        return None, str(cause)
    return there, ""


@dataclass(frozen=True)
class Manifest:
    """What readers need of a prepared tree's manifest.

    skipped: broken file -> why. sha256: of the chunks' pixels. digest: of these. files_sha256: of files.txt; None in those that
    were written before it had one.
    """

    skipped: dict[str, str]
    sha256: list[str]
    digest: str
    files_sha256: str | None


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a prepared tree. Raises DataError, naming its file and key, and FileNotFoundError without one."""
    try:
        return _read_manifest(folder)
    except _DamagedError as cause:
        raise DataError(f"{cause}. Run bench data prepare, which decodes again what it must.") from cause


def _read_manifest(folder: Path) -> Manifest:
    """Return a manifest. Raises FileNotFoundError without one, and _DamagedError if it is not as it was written.

    One without a checksum of its own is from before bench wrote it, and is accepted if what is needed of it is there.
    """
    path = folder / "manifest.json"
    try:
        content = read_json(path, _LARGEST_MANIFEST)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else cause
        raise _DamagedError(f"{path}: cannot be read ({reason})") from cause
    given: dict[str, Any] = content if isinstance(content, dict) else {}
    own = given.pop("manifest_sha256", None)
    values: list[Any] = [given.get(name) for name in ("skipped", "sha256", "digest", "files_sha256")]
    skipped, sums, digest, files = values
    fine = {
        "skipped": isinstance(skipped, dict) and all(isinstance(why, str) for why in skipped.values()),
        "sha256": isinstance(sums, list) and all(isinstance(each, str) for each in sums),
        "digest": isinstance(digest, str),
    }
    wrong = next((name for name, right in fine.items() if not right), None)
    if wrong is not None:
        state = "missing" if wrong not in given else f"found {shown_value(given[wrong])}"
        raise _DamagedError(f"{path}: {wrong}: {state}, expected it as prepared")
    if own is not None and own != _digest_of(given):
        raise _DamagedError(f"{path}: does not have the SHA-256 that it was written with")
    if _digest_of_sums(sums) != digest:
        raise _DamagedError(f"{path}: digest: not that of its sha256, so it was changed")
    return Manifest(skipped, sums, digest, files)


def chunk_rows(files: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (first row, end) of every chunk; depends on nothing else, so that an interrupted preparation can resume."""
    images = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (size * size * CHANNELS)))
    for start in range(0, files, images):
        yield start, min(start + images, files)


def _chunks(listing: Listing, size: int, folder: Path) -> list[Chunk]:
    """Create the array file, unless a suitable one exists, and return all chunks."""
    target, shape = folder / "images.npy", (len(listing.files), size, size, CHANNELS)
    try:
        start = _data_offset(target, shape)
    except _NO_ARRAY:
        remove(folder / "done.jsonl")  # its entries refer to another array file
        with replacing(target) as part:
            open_memmap(part, mode="w+", dtype=np.uint8, shape=shape).flush()
        start = _data_offset(target, shape)
    image_bytes = size * size * CHANNELS
    return [
        Chunk(number, listing.folder, listing.files[first:end], size, target, start + first * image_bytes)
        for number, (first, end) in enumerate(chunk_rows(len(listing.files), size))
    ]


def _data_offset(path: Path, shape: tuple[int, ...]) -> int:
    """Return where an array's data begins in its file. Raises ValueError if it has another shape or type."""
    mapped = np.load(path, mmap_mode="r")
    if not isinstance(mapped, np.memmap) or mapped.shape != shape or mapped.dtype != np.uint8:
        raise ValueError(path)
    return mapped.offset


def _decode(chunks: Sequence[Chunk], folder: Path, workers: int, progress: Progress) -> list[Decoded]:
    """Decode the chunks that are not in the journal with the pixels that they have, and return all of them, in order.

    If a signal arrives, the next chunk is finished and written down before Interrupted is raised.
    """
    journal = folder / "done.jsonl"
    journaled = {part.number: part for part in _read_journal(journal)}
    done = {}
    for chunk in chunks:
        part = journaled.get(chunk.number)
        if part is not None and part.images == len(chunk.files) and part.sha256 == _sum_of(chunk):
            done[chunk.number] = part
            progress(part.images)
    lacking = [chunk for chunk in chunks if chunk.number not in done]
    with held(), closing(_run(lacking, workers)) as decoded:
        for part in decoded:
            append_line(journal, json.dumps(asdict(part)))
            done[part.number] = part
            progress(part.images)
            if len(done) < len(chunks):
                check()
    return [done[chunk.number] for chunk in chunks]


def _sum_of(chunk: Chunk) -> str:
    """Return the SHA-256 of the pixels that a chunk has in the array file."""
    with chunk.target.open("rb") as file:
        file.seek(chunk.offset)
        return hashlib.sha256(file.read(len(chunk.files) * chunk.size**2 * CHANNELS)).hexdigest()


def _run(chunks: Sequence[Chunk], workers: int) -> Generator[Decoded, None, None]:
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield from map(decode_chunk, chunks)
        return
    # Spawned, not forked: the calling process may have torch threads. The workers import neither torch nor pandas.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=start_worker)
    try:
        with spawning():
            waiting = [pool.submit(decode_chunk, chunk) for chunk in chunks]
        for future in as_completed(waiting):
            yield future.result()
    except BrokenProcessPool as cause:
        check()
        raise DataError(
            "a decoding process was killed, perhaps for lack of memory. "
            "Prepare again with fewer --workers; finished chunks are kept."
        ) from cause
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read_journal(path: Path) -> Iterator[Decoded]:
    """Yield the finished chunks; a line that a kill left incomplete is skipped."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return
    for line in lines:
        if line.endswith(b"\n"):
            try:
                yield Decoded(**json.loads(line))
            except (ValueError, TypeError):
                continue  # an incomplete line that a later one was appended to


def _refusal(listing: Listing, broken: dict[str, str], folder: Path) -> DataError:
    lines = [f"{shown(name)}: {why}" for name, why in broken.items()]
    write_atomically(folder / "broken.txt", "".join(f"{line}\n" for line in lines).encode())
    some = "; ".join(lines[:_SHOWN])
    more = f"; and {len(broken) - _SHOWN} more, see {folder / 'broken.txt'}" if len(broken) > _SHOWN else ""
    return DataError(
        f"{listing.folder}: {len(broken)} of {len(listing.files)} images broken ({some}{more}). "
        "Fix or remove them, or skip them: bench data prepare --skip-broken."
    )


def _close(
    listing: Listing,
    size: int,
    resize: int | None,
    done: Sequence[Decoded],
    broken: dict[str, str],
    folder: Path,
) -> None:
    kept = [row for row, name in enumerate(listing.files) if name not in broken]
    _check_classes(listing, np.array(kept, dtype=np.int64))
    sums = [part.sha256 for part in done]
    digests = [(digest or "-", key or "-") for part in done for digest, key in zip(part.files, part.keys, strict=True)]
    lines = [f"{digest} {key} {shown(name)}\n" for (digest, key), name in zip(digests, listing.files, strict=True)]
    files = "".join(lines).encode()
    write_atomically(folder / "files.txt", files)
    manifest = {
        "method": METHOD if resize is None else RESIZED.format(resize=resize),
        "method_version": METHOD_VERSION,
        "size": size,
        "files": len(listing.files),
        "classes": listing.class_names,
        "skipped": broken,
        "left_out": listing.left_out,
        "passed_over": listing.passed_over,
        "sha256": sums,
        "files_sha256": hashlib.sha256(files).hexdigest(),
        "digest": _digest_of_sums(sums),
    }
    manifest["manifest_sha256"] = _digest_of(manifest)
    write_atomically(folder / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def _digest_of_sums(sums: Sequence[str]) -> str:
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def _digest_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _check_classes(listing: Listing, rows: np.ndarray) -> None:
    counts = np.bincount(listing.labels[rows], minlength=len(listing.class_names))
    if not counts.all():
        name = listing.class_names[int(np.argmin(counts))]
        raise DataError(f"{listing.folder}: every image of class {name!r} is broken. Fix them, or remove the class.")
