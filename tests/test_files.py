"""What is written is either whole or not there, and a failure is one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import files
from bench.errors import WriteError
from bench.files import append_line, make_folder, remove, replacing, write_atomically


def failing(number: int):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (
            errno.ENOSPC,
            "(No space left on device). Free some space, or name another folder, and run the command again.",
        ),
        (errno.EACCES, "(Permission denied). Change its permissions, or name another folder, and run"),
        (errno.EROFS, "(Read-only file system). Name a folder that can be written, and run"),
        (errno.EIO, "(Input/output error). Check the disk, or name another folder, and run"),
        (
            errno.ENOENT,
            "(No such file or directory). Its folder was removed meanwhile: leave it in place, or name another",
        ),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    call: str, number: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "trial.json"
    write_atomically(path, b"old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", failing(number))
    else:
        monkeypatch.setattr(Path, "replace", failing(number))
    with pytest.raises(WriteError) as caught:
        write_atomically(path, b"new")
    assert f"{path}: cannot be written {remedy}" in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["trial.json"]
    assert path.read_bytes() == b"old"


def test_a_signal_within_a_write_leaves_no_temporary_file(tmp_path: Path):
    writing = replacing(tmp_path / "a.csv")
    writing.__enter__().write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 1
    assert not writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert list(tmp_path.iterdir()) == []


def test_the_file_and_its_folder_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    write_atomically(tmp_path / "a", b"x")
    part, folder = flushed
    assert folder == str(tmp_path)
    assert Path(part).parent == tmp_path


def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, write = tmp_path / "evals.jsonl", os.write
    append_line(path, "first")

    def half(handle: int, content: bytes) -> int:
        if len(content) < 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(WriteError, match=r"evals\.jsonl: cannot be written \(No space left"):
        append_line(path, "second")
    assert path.read_text() == "first\n"
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:2]))
    append_line(path, "third")
    assert path.read_text() == "first\nthird\n"


def test_what_is_not_a_regular_file_is_never_replaced(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("folder", "pipe", "null"):
        with pytest.raises(WriteError, match="not a regular file, and never replaced by one"):
            write_atomically(tmp_path / name, b"x")
    assert Path("/dev/null").is_char_device()


def test_a_link_to_a_file_stays_a_link(tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_atomically(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"x"


def test_what_a_killed_writer_left_goes_and_what_another_is_writing_stays(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    name = f".a.{files._here()}"
    dead, alive = tmp_path / f"{name}-{done.stdout.strip()}.part.json", tmp_path / f"{name}-1.part.json"
    elsewhere = tmp_path / ".a.none-1.part.json"
    for path in (dead, alive, elsewhere):
        path.write_bytes(b"half")
    write_atomically(tmp_path / "a.json", b"x")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.json", alive, elsewhere])


def test_folders_are_made_and_removed_or_named(tmp_path: Path):
    make_folder(tmp_path / "a" / "b")
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        WriteError,
        match=r"file/b: cannot be written \(Not a directory\)\. A file lies where a folder is expected: name",
    ):
        make_folder(tmp_path / "file" / "b")
