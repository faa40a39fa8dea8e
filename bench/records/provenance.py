"""Where a record came from: code, packages, machine. Without torch; bench.training.provenance adds what torch knows."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

_OPTIONAL = ("timm", "scikit-learn")
_PACKAGES = ("torch", "torchvision", "numpy", "fvcore")
# Prefixes of variable names; none of these variables holds a path.
_THREAD_VARIABLES = (
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_NUM_THREADS",
    "MKL_DYNAMIC",
    "MALLOC_ARENA_MAX",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
)
_CODE = ("bench", "scenarios", "baselines", "pyproject.toml")
_OF_ANOTHER_CHECKOUT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
_GIT_SECONDS = 30
# At the root of a tree that was copied without .git: {"commit": ..., "digest": code_digest of that commit}.
COPIED_FROM = "copied-from.json"


def packages() -> dict[str, str]:
    """Return the versions of the packages that affect a trial."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    for name in _OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


class CodeState(NamedTuple):
    """The code's commit, whether bench, scenarios or baselines differ from it, and, where either is None, why."""

    commit: str | None
    modified: bool | None
    reason: str | None = None


def code_state(root: Path | None = None) -> CodeState:
    """Return what is known of the code that runs.

    root: of the tree; None for this one. A tree without .git is compared with what COPIED_FROM says it was copied from.
    Records themselves do not count as a change, so a run does not mark its own next trial as modified.
    """
    root = root or Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return _copied_state(root)
    try:
        commit = _git(root, "rev-parse", "HEAD")
    except _UnknownError as cause:
        return CodeState(None, None, str(cause))
    try:
        return CodeState(commit, bool(_git(root, "status", "--porcelain", "--", *_CODE)))
    except _UnknownError as cause:
        return CodeState(commit, None, str(cause))


def code_digest(root: Path) -> str:
    """Return the SHA-256 over path and content of every file of the code under `root`, without compiled ones."""
    found = hashlib.sha256()
    given = (root / name for name in _CODE)
    files = [path for top in given for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        if "__pycache__" not in path.parts and path.suffix != ".pyc":
            content = path.read_bytes()
            found.update(f"{name}\0{len(content)}\0".encode())  # with the length, no two trees give the same bytes
            found.update(content)
    return found.hexdigest()


def command_line() -> str:
    """Return the command as typed, with absolute paths, including the program's own, reduced to their last part."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["bench", *words])


def cpu_name() -> str:
    """Return the processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def thread_environment() -> dict[str, str]:
    """Return those environment variables that are set and affect threads, their placement or the allocators."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(_THREAD_VARIABLES)}


def memory_gib() -> float | None:
    """Return the machine's memory in GiB, or None if the system does not report it."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def gpu_driver() -> str | None:
    """Return the NVIDIA driver's version, or None if it cannot be queried."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def load_average() -> float | None:
    """Return the system's load over the last minute, or None if it has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _copied_state(root: Path) -> CodeState:
    try:
        copied = json.loads((root / COPIED_FROM).read_text(encoding="utf-8"))
        return CodeState(str(copied["commit"]), copied["digest"] != code_digest(root))
    except FileNotFoundError:
        return CodeState(None, None, "bench was not run from a checkout")
    except (OSError, ValueError, KeyError, TypeError):
        return CodeState(None, None, f"{COPIED_FROM} is not readable as a commit and a digest")


class _UnknownError(Exception):
    """Git did not answer; the message says why, without the path of a folder."""


def _git(root: Path, *arguments: str) -> str:
    """Return what git says. The checkout counts as safe, whoever owns it: its code runs already, in this process."""
    command = ["git", "-c", f"safe.directory={root.resolve()}", "-C", str(root), *arguments]
    # As a hook sets them, these would name another checkout.
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_CHECKOUT}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, env=environment)
    except FileNotFoundError:
        raise _UnknownError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise _UnknownError(f"git took longer than {_GIT_SECONDS} s") from None
    except OSError as cause:
        raise _UnknownError(f"git cannot be run ({cause.strerror})") from None
    if done.returncode:
        said = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[0].removeprefix("fatal: ")
        raise _UnknownError("git: " + re.sub(r"/[^\s'\"]*/", "", said)[:200])
    return done.stdout.strip()
