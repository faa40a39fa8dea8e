"""Writing files so that they stay readable if the process is killed at any moment; reading no more of them than is sensible."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any


def read_at_most(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises OSError for a larger one, and for a pipe or device, which might never end, besides what cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a folder" if stat.S_ISDIR(mode) else "not a regular file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return content


def read_json(path: Path, most: int) -> Any:
    """Return the plain values of a JSON file of at most `most` bytes, in UTF-8 with or without a byte order mark.

    Raises OSError as read_at_most does, and ValueError for what is no JSON.
    """
    return parse_json(read_at_most(path, most))


def parse_json(content: bytes) -> Any:
    """Return the plain values of a JSON text. Raises ValueError, also for one that is nested too deeply."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees either the old content or the new, never a part of it."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write, and flush it to disk."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (line + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)
