"""A lock is a file beside what it protects; a dead owner holds nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bench import locks
from bench.cli.main import main
from bench.errors import RecordError, TakenError
from bench.locks import locked
from tests.data.trees import class_folders

_HOLD = """
import sys, time
from pathlib import Path
from bench.locks import locked
from tests.data.trees import class_folders
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path: Path, **environment: str) -> subprocess.Popen:
    """Return a process that holds a lock."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **environment})
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def change(path: Path, **facts: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "seed-0.lock"


def test_a_lock_is_the_same_whatever_the_folder_for_temporary_files(lock: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    process = holder(lock, TMPDIR=str(tmp_path / "elsewhere"))
    try:
        with (
            pytest.raises(TakenError, match=rf"seed-0.lock: process {process.pid} on .* is at work on it"),
            locked(lock),
        ):
            pass
        assert lock.stat().st_mode & 0o444 == 0o444  # for other users
        assert process.poll() is None
    finally:
        process.kill()
    # Dead, but not reaped: it waits for its parent.
    time.sleep(0.2)
    with locked(lock):
        pass
    process.wait()
    assert not lock.exists()


def test_a_lock_whose_owner_was_killed_is_free(lock: Path):
    process = holder(lock)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lock.exists()
    with locked(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


@pytest.mark.parametrize("facts", [{"start": "1"}, {"boot": "another"}, {"pid": 2**22 + 1}])
def test_a_process_of_the_same_number_is_not_the_owner(lock: Path, facts: dict[str, object]):
    with locked(lock):
        mine = lock.read_text()
    lock.write_text(mine)
    with pytest.raises(TakenError), locked(lock):
        pass
    change(lock, **facts)
    with locked(lock):
        pass


def test_a_lock_of_another_machine_is_free_once_it_is_not_touched_any_more(lock: Path):
    with locked(lock):
        mine = lock.read_text()
    lock.write_text(mine)
    change(lock, host="another pid:[1]", pid=1, boot="another")
    os.utime(lock, (time.time() - locks.STALE_SECONDS + 60,) * 2)
    with pytest.raises(TakenError, match="process 1 on another is at work"), locked(lock):
        pass
    os.utime(lock, (time.time() - locks.STALE_SECONDS - 1,) * 2)
    with locked(lock):
        pass


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_machine_whose_clock_is_wrong_does_not_take_the_living_of_another_for_dead(
    lock: Path, monkeypatch: pytest.MonkeyPatch, hours: int
):
    """The server of a shared folder stamps its files; a machine's own clock may say anything."""
    with locked(lock):
        mine = lock.read_text()
    lock.write_text(mine)
    change(lock, host="another pid:[1]", pid=1, boot="another")
    now = time.time
    monkeypatch.setattr(locks.time, "time", lambda: now() + 3600 * hours)
    with pytest.raises(TakenError, match="process 1 on another is at work"), locked(lock):
        pass
    os.utime(lock, (now() - locks.STALE_SECONDS - 1,) * 2)
    with locked(lock):
        pass


def test_a_held_lock_is_touched(lock: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    with locked(lock):
        os.utime(lock, (0, 0))
        time.sleep(0.3)
        assert time.time() - lock.stat().st_mtime < 10


def test_a_lock_that_names_nobody_is_free_after_a_moment(lock: Path):
    lock.write_bytes(b"")
    with pytest.raises(TakenError, match="another process is at work"), locked(lock):
        pass
    os.utime(lock, (0, 0))
    with locked(lock):
        pass


def test_who_was_taken_for_dead_leaves_the_lock_of_the_next(lock: Path):
    with locked(lock):
        change(lock, pid=1)
    assert json.loads(lock.read_text())["pid"] == 1


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(RecordError, match=r"seed-0.lock: cannot be locked \(.*\), expected a folder"),
        locked(tmp_path / "file" / "seed-0.lock"),
    ):
        pass


def test_a_file_system_without_locks_is_refused_unless_nobody_else_writes(lock: Path, monkeypatch: pytest.MonkeyPatch):
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", none)
    with (
        pytest.raises(RecordError, match=r"its file system has no locks \(No locks available\).*give --single-writer"),
        locked(lock),
    ):
        pass
    assert not lock.exists()
    monkeypatch.setenv(locks.SINGLE_WRITER, "1")
    with locked(lock):
        assert lock.exists()


def test_a_folder_on_nfs_which_cannot_be_opened_for_writing_is_no_file_system_without_locks(
    lock: Path, monkeypatch: pytest.MonkeyPatch
):
    def bad(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(locks.fcntl, "flock", bad)
    with locked(lock):
        assert lock.exists()


def test_the_option_lasts_as_long_as_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tree, seen = class_folders(tmp_path / "tree", ("ant",), each=1), []
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: seen.append(os.environ.get(locks.SINGLE_WRITER)))
    command = ["data", "prepare", "--folder", str(tree), "--size", "8", "--data-root", str(tmp_path)]
    assert CliRunner().invoke(main, [*command, "--single-writer"]).exit_code == 0
    assert seen == ["1"]
    assert locks.SINGLE_WRITER not in os.environ


def test_a_clock_that_was_set_back_leaves_no_lock_of_the_dead(lock: Path):
    lock.write_bytes(b"")  # of a writer that was killed just then, an hour before the clock was set back
    os.utime(lock, (time.time() + 3600,) * 2)
    with locked(lock):
        pass


def test_one_thread_touches_all_locks_of_a_process_and_of_a_fork_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with locked(tmp_path / "one.lock"):
        threads = threading.active_count()
        with locked(tmp_path / "two.lock"):
            assert threading.active_count() == threads
            assert locks._heart().paths >= {tmp_path / "one.lock", tmp_path / "two.lock"}
    assert not locks._heart().paths
    before = locks._heart()
    ended = SimpleNamespace(thread=SimpleNamespace(is_alive=lambda: False))  # as a fork finds the parent's
    monkeypatch.setattr(locks, "_hearts", [ended])
    with locked(tmp_path / "one.lock"):
        assert locks._heart() not in (before, ended)
        assert locks._heart().paths == {tmp_path / "one.lock"}
