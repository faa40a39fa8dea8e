from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.records.provenance import COPIED_FROM, code_digest, code_state

COMMIT = "c" * 40


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A small tree that was copied without .git."""
    for name in ("bench/a.py", "bench/data/b.py", "scenarios/c.toml", "baselines/d.py", "pyproject.toml", "results/e"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / COPIED_FROM).write_text(json.dumps({"commit": COMMIT, "digest": code_digest(tmp_path)}))
    return tmp_path


def test_an_unchanged_copy_is_its_commit(copied: Path):
    assert code_state(copied) == (COMMIT, False)
    (copied / "results" / "e").write_text("a run's own record")
    cached = copied / "bench" / "__pycache__"
    cached.mkdir()
    (cached / "a.cpython-312.pyc").write_bytes(b"compiled")
    assert code_state(copied) == (COMMIT, False)


def test_one_changed_byte_is_a_modification(copied: Path):
    (copied / "bench" / "data" / "b.py").write_text("bench/data/b.pY")
    assert code_state(copied) == (COMMIT, True)


def test_an_added_file_is_a_modification(copied: Path):
    (copied / "scenarios" / "more.toml").write_text("")
    assert code_state(copied) == (COMMIT, True)


def test_a_missing_file_is_a_modification(copied: Path):
    (copied / "pyproject.toml").unlink()
    assert code_state(copied) == (COMMIT, True)


def test_a_renamed_file_is_a_modification(copied: Path):
    (copied / "bench" / "a.py").rename(copied / "bench" / "aa.py")  # the same place in the order
    assert code_state(copied) == (COMMIT, True)


@pytest.mark.parametrize("content", [None, "torn {", "[]", '{"commit": "c"}'])
def test_a_copy_that_does_not_say_its_commit_is_unknown(copied: Path, content: str | None):
    (copied / COPIED_FROM).unlink()
    if content is not None:
        (copied / COPIED_FROM).write_text(content)
    assert code_state(copied) == (None, None)


def test_in_a_checkout_git_is_asked(copied: Path):
    def git(*words: str) -> str:
        owner = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        return subprocess.run(
            ["git", "-C", str(copied), *owner, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "all")
    assert code_state(copied) == (git("rev-parse", "HEAD"), False)
    shutil.rmtree(copied / "baselines")
    assert code_state(copied) == (git("rev-parse", "HEAD"), True)
