from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from bench.cli.main import main

ARGUMENTS = ["leaderboard", "--published", "--scenario", "fashion-mnist-7-3", "--results", "nowhere"]


def printed(charset: str) -> bytes:
    found = CliRunner(charset=charset, env={"COLUMNS": "120"}).invoke(main, ARGUMENTS, prog_name="bench")
    assert found.exit_code == 0
    return found.stdout_bytes


@pytest.mark.parametrize("charset", ["ascii", "latin-1"])
def test_a_terminal_gets_what_it_can_show_and_columns_stay_aligned(charset: str):
    rich, poor = printed("utf-8").decode(), printed(charset).decode(charset)
    assert "0.9312 ± 0.0007" in rich
    assert ("0.9312 +- 0.0007" if charset == "ascii" else "0.9312 ± 0.0007") in poor
    rows = [line for line in poor.splitlines() if "(published)  " in line]
    assert len(rows) >= 3
    assert len({row.index("0.9") for row in rows}) == 1


def test_a_process_with_an_ascii_output_writes_ascii():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    found = subprocess.run(
        [sys.executable, "-m", "bench", *ARGUMENTS], capture_output=True, env=environment, check=True
    )
    assert found.stderr == b""
    assert found.stdout.isascii()
    assert b"+- 0.0007" in found.stdout


def test_a_name_that_is_no_text_is_no_traceback():
    found = CliRunner().invoke(main, ["leaderboard", "--results", "r\udce9sum\udce9"], prog_name="bench")
    assert found.exit_code == 2
    assert found.stderr.startswith("bench: r?sum?: no such results folder")
