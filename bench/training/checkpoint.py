"""Saving and loading tensors so that a kill at any moment leaves the last checkpoint intact, and damage is seen.

A trial's are written by a thread from a copy, while it trains on: a large one takes longer than many steps.

A file is what torch.save writes, with the SHA-256 of these bytes as the comment of its zip archive: torch reads it as it is.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from bench.files import make_folder, remove, set_aside, write_atomically

_LOG = logging.getLogger(__name__)
_MARK = b"sha256:"
_COMMENT_BYTES = len(_MARK) + 64


def save_checkpoint(path: Path, content: Mapping[str, Any], *, keep: bool = False) -> None:
    """Write plain values and tensors, atomically. keep: the previous checkpoint as well. Raises WriteError."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    plain = buffer.getvalue()
    # The end of a zip archive is the length of its comment, 0 so far, and the comment.
    comment = _MARK + hashlib.sha256(plain).hexdigest().encode()
    sealed = plain[:-2] + len(comment).to_bytes(2, "little") + comment
    make_folder(path.parent)
    if keep and path.is_file():
        with suppress(OSError):  # it is only a precaution
            path.replace(_previous(path))
    write_atomically(path, sealed)


class CheckpointWriter:
    """Writes a trial's checkpoints on a thread of its own, one after the other, and keeps the one before the last.

    A context manager, which waits for the thread when it is left, however that is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._last: Future[None] | None = None

    def save(self, content: Mapping[str, Any]) -> None:
        """Copy plain values and tensors, and begin to write them. Waits for the one before, and raises what it raised."""
        self.wait()
        self._last = self._thread.submit(save_checkpoint, self._path, copied(dict(content)), keep=True)

    def check(self) -> None:
        """Raise WriteError if the last one could not be written. Does not wait."""
        if self._last is not None and self._last.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the last one is written. Raises WriteError if it could not be."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown()


def copied(value: Any) -> Any:
    """Return a copy, on the CPU, of tensors and plain values in dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        same = copy.copy(value)  # a state dict has more than its items: the versions of its modules
        same.update((key, copied(each)) for key, each in value.items())
        return same
    return type(value)(map(copied, value)) if isinstance(value, list | tuple) else value


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Read what `save_checkpoint` wrote; None if there is no file, or if it is damaged. Runs no code from the file."""
    try:
        return _read(path, device)
    except (FileNotFoundError, _DamagedError):
        return None


def usable_checkpoints(path: Path, device: torch.device | str = "cpu") -> Iterator[dict[str, Any]]:
    """Yield the last checkpoint and the one before it, as far as they are there and whole; a damaged one is put aside."""
    for place in (path, _previous(path)):
        saved = load_or_set_aside(place, device)
        if saved is not None:
            yield saved


def load_or_set_aside(path: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Do what load_checkpoint does; rename a file that is damaged, and say so in one line."""
    try:
        return _read(path, device)
    except FileNotFoundError:
        return None
    except _DamagedError as cause:
        put_aside(path, str(cause))
        return None


def put_aside(path: Path, why: str) -> None:
    """Rename a file that cannot be used, and say so in one line; what it held is made anew."""
    aside = set_aside(path)
    where = f"put aside as {aside.name}" if aside else "left where it is"
    _LOG.warning("bench: %s: %s; %s, and made anew", path, why, where)


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint and the one before it, if they exist. Raises WriteError."""
    for place in (path, _previous(path)):
        remove(place)


class _DamagedError(Exception):
    """A file that is not what was written; the message says how, in a few words."""


def _read(path: Path, device: torch.device | str) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise _DamagedError(f"cannot be read ({cause.strerror})") from cause
    if not content:
        raise _DamagedError("empty")
    comment = content[-_COMMENT_BYTES:]
    if not comment.startswith(_MARK):
        raise _DamagedError("cut short, or without the SHA-256 that bench writes")
    plain = content[: -_COMMENT_BYTES - 2] + b"\0\0"
    if hashlib.sha256(plain).hexdigest().encode() != comment[len(_MARK) :]:
        raise _DamagedError("its content does not have the SHA-256 that it was written with")
    try:
        saved = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as cause:  # torch raises whatever its readers do
        raise _DamagedError("not a checkpoint") from cause
    if not isinstance(saved, dict):
        raise _DamagedError("not a checkpoint of bench")
    return saved


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over all names and tensors of a state dict, sorted by name."""
    running = hashlib.sha256()
    for name in sorted(weights):
        running.update(name.encode())
        running.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return running.hexdigest()
