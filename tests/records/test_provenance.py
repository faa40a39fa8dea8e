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
    assert code_state(copied)[:2] == (COMMIT, False)
    (copied / "results" / "e").write_text("a run's own record")
    cached = copied / "bench" / "__pycache__"
    cached.mkdir()
    (cached / "a.cpython-312.pyc").write_bytes(b"compiled")
    assert code_state(copied)[:2] == (COMMIT, False)


def test_one_changed_byte_is_a_modification(copied: Path):
    (copied / "bench" / "data" / "b.py").write_text("bench/data/b.pY")
    assert code_state(copied)[:2] == (COMMIT, True)


def test_an_added_file_is_a_modification(copied: Path):
    (copied / "scenarios" / "more.toml").write_text("")
    assert code_state(copied)[:2] == (COMMIT, True)


def test_a_missing_file_is_a_modification(copied: Path):
    (copied / "pyproject.toml").unlink()
    assert code_state(copied)[:2] == (COMMIT, True)


def test_a_renamed_file_is_a_modification(copied: Path):
    (copied / "bench" / "a.py").rename(copied / "bench" / "aa.py")  # the same place in the order
    assert code_state(copied)[:2] == (COMMIT, True)


@pytest.mark.parametrize("content", [None, "torn {", "[]", '{"commit": "c"}'])
def test_a_copy_that_does_not_say_its_commit_is_unknown(copied: Path, content: str | None):
    (copied / COPIED_FROM).unlink()
    if content is not None:
        (copied / COPIED_FROM).write_text(content)
    found = code_state(copied)
    assert found[:2] == (None, None)
    assert found.reason == (
        "bench was not run from a checkout"
        if content is None
        else "copied-from.json is not readable as a commit and a digest"
    )


def git(folder: Path, *words: str) -> str:
    owner = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    command = ["git", "-C", str(folder), *owner, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(copied: Path) -> Path:
    """The same tree as a checkout of git."""
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"]):
        git(copied, *words)
    return copied


def test_in_a_checkout_git_is_asked(checkout: Path):
    assert code_state(checkout)[:2] == (git(checkout, "rev-parse", "HEAD"), False)
    shutil.rmtree(checkout / "baselines")
    assert code_state(checkout)[:2] == (git(checkout, "rev-parse", "HEAD"), True)


def test_the_checkout_of_another_user_is_safe_for_this_one_call(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    head = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test this
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    refused = subprocess.run(["git", "-C", str(checkout), "status"], capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr
    assert code_state(checkout) == (head, False, None)


def test_a_commit_that_is_unknown_has_a_reason(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(cause: BaseException):
        def run(*_, **__):
            raise cause

        return run

    real = subprocess.run
    for cause, reason in (
        (FileNotFoundError(), "git is not installed"),
        (subprocess.TimeoutExpired("git", 30), "git took longer than 30 s"),
        (PermissionError(13, "Permission denied"), "git cannot be run (Permission denied)"),
    ):
        monkeypatch.setattr(subprocess, "run", fail(cause))
        assert code_state(checkout) == (None, None, reason)
    head = real(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()

    def no_status(command, **options):
        return real(command, **options) if "status" not in command else fail(subprocess.TimeoutExpired("git", 30))()

    monkeypatch.setattr(subprocess, "run", no_status)
    assert code_state(checkout) == (head, None, "git took longer than 30 s")


def test_what_git_says_is_recorded_without_the_folders_path(checkout: Path):
    (checkout / ".git" / "HEAD").unlink()
    found = code_state(checkout)
    assert found.commit is None
    assert found.reason is not None
    assert found.reason.startswith("git: not a git repository")
    assert str(checkout.parent) not in found.reason


def test_git_is_asked_about_this_checkout_also_within_a_hook_of_another(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
):
    head = git(checkout, "rev-parse", "HEAD")
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert code_state(checkout) == (head, False, None)
