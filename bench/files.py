"""Writing files so that they stay readable if the process is killed at any moment, and so that a failure is one line.

Every file that bench writes is written here: to a temporary file in the same folder, flushed, renamed, and the folder flushed. On
failure the temporary file goes, and a WriteError names the path and what to do. Of a file, no more is read than is sensible.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import WriteError

_REMEDIES = {
    errno.ENOSPC: "Free some space, or name another folder",
    errno.EDQUOT: "Free some space, or name another folder",
    errno.EACCES: "Change its permissions, or name another folder",
    errno.EPERM: "Change its permissions, or name another folder",
    errno.EROFS: "Name a folder that can be written",
    errno.EEXIST: "A file lies where a folder is expected: name another",
    errno.ENOTDIR: "A file lies where a folder is expected: name another",
    errno.EIO: "Check the disk, or name another folder",
    errno.ENOENT: "Its folder was removed meanwhile: leave it in place, or name another",
}
# What a file system says that cannot flush a folder, or that has nothing to flush.
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


def is_address(place: str | os.PathLike[str]) -> bool:
    """Return whether a text is the address of a store, such as s3://bucket/folder, and no path."""
    return isinstance(place, str) and "://" in place


def local_folder(place: str | os.PathLike[str], option: str) -> Path:
    """Return a folder's path. Raises WriteError for an address: nothing is trained into a store. option: that names it."""
    if is_address(place):
        raise WriteError(
            f"{option} {place}: an address, expected a folder here. Write there, and then run: bench push FOLDER {place}"
        )
    return Path(place)


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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of what is written inside into a WriteError that names `path`."""
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or (str(cause).splitlines() or [type(cause).__name__])[0]
        remedy = _REMEDIES.get(cause.errno or 0, "Name another folder")
        raise WriteError(f"{path}: cannot be written ({reason}). {remedy}, and run the command again.") from cause


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, with the same ending, that replaces `path` once it is written.

    A reader sees either the old content or the new, never a part of it. A link is followed.
    Raises WriteError, also if `path` is a folder, a device or a pipe; the old content then stays.
    """
    with writing(path):
        path = path.resolve() if path.is_symlink() else path
        if path.exists() and not path.is_file():
            raise WriteError(f"{path}: not a regular file, and never replaced by one. Name another file.")
        part = path.with_name(f".{path.stem[:100]}.{_writer()}.part{path.suffix}")
        try:
            yield part
            _flush(part, os.O_RDWR)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        _flush(path.parent, os.O_RDONLY)
        _remove_leftovers(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content, or make the file; see replacing."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text, in UTF-8, with the line endings that it has; see replacing."""
    write_atomically(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Append one line, and flush it to disk. Raises WriteError; no part of the line then stays."""
    with writing(path):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            before, content = os.fstat(handle).st_size, (line + "\n").encode()
            try:
                while content:
                    content = content[os.write(handle, content) :]
                os.fsync(handle)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, unless they exist. Raises WriteError."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Delete a file, or a folder and all in it, if it exists. Raises WriteError."""
    with writing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file, so that it is in nobody's way, and return its new path; None if that is not possible."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except OSError:
        return None
    return aside


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    except OSError as cause:
        if cause.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)


@cache
def _here() -> str:
    """Return four hex digits for this machine and process namespace: containers count processes by themselves."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:4]


def _writer() -> str:
    return f"{_here()}-{os.getpid()}"


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose writers were killed."""
    with suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.stem[:100])}.{_here()}-*.part{glob.escape(path.suffix)}"):
            pid = left.name.removesuffix(f".part{path.suffix}").rpartition("-")[2]
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                left.unlink()
            except (ValueError, OverflowError, PermissionError):
                continue
