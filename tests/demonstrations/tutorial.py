"""Follows docs/tutorial.md to the letter in an empty folder, and writes what its commands print into the page.

    python -m tests.demonstrations.tutorial

Files are written, and commands run, as the page shows them and in its order. What a block of commands prints replaces the
text block after it, if there is one. It takes minutes; tests/docs/test_tutorial.py runs a short form.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
PAGE = _ROOT / "docs" / "tutorial.md"
# A file; or commands, with the text block after them.
_STEP = re.compile(
    r"^```python\n# (?P<file>\S+)\n(?P<code>.*?)^```$"
    r"|^(?P<commands>(?:    [^\n]*\n)+)(?P<text>\n```text\n.*?^```$)?",
    re.MULTILINE | re.DOTALL,
)
_DURATION = re.compile(r"its commands took \d+ min(, a first row of one's own \d+)?, on \d+ cores with a load of \d+")


def follow(page: str, folder: Path, run: Callable[[list[str]], str]) -> str:
    """Follow a page in a folder, and return it with what its commands printed. run: runs one command, and returns that."""

    def step(found: re.Match[str]) -> str:
        if found["file"]:
            (folder / found["file"]).write_text(f"# {found['file']}\n{found['code']}", encoding="utf-8")
            return found[0]
        printed = [run(shlex.split(line, comments=True)) for line in found["commands"].splitlines()]
        if found["text"] is None:
            return found[0]
        return (
            found["commands"] + "\n```text\n" + "\n".join(part.rstrip() for part in printed if part.strip()) + "\n```"
        )

    return _STEP.sub(step, page)


def _run_in(folder: Path, ended: list[tuple[str, float]]) -> Callable[[list[str]], str]:
    """Return what runs one command, and notes when it ended."""
    home = folder.with_name("home")
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "COLUMNS": "100", "XDG_CACHE_HOME": str(home)}

    def run(words: list[str]) -> str:
        begun = time.monotonic()
        command = [sys.executable, *words[1:]] if words[0] == "python" else [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
        ended.append((" ".join(words[:2]), time.monotonic()))
        print(f"{time.monotonic() - begun:.0f} s: {shlex.join(words)}", flush=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return done.stdout

    return run


def main() -> None:
    begun, ended = time.monotonic(), list[tuple[str, float]]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "empty"
        folder.mkdir()
        page = follow(PAGE.read_text(encoding="utf-8"), folder, _run_in(folder, ended))
    load = os.getloadavg()[2]
    row, whole = (max(1, round((at - begun) / 60)) for at in (dict(reversed(ended))["bench run"], ended[-1][1]))
    took = f"its commands took {whole} min, a first row of one's own {row}, on {os.cpu_count()} cores with a load of {load:.0f}"
    PAGE.write_text(_DURATION.sub(took, page), encoding="utf-8")


if __name__ == "__main__":
    main()
