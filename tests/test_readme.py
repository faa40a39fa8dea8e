"""What the README prints is what the command prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import main

_ROOT = Path(__file__).resolve().parents[1]


def test_the_sample_table_is_the_commands_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # without records of one's own
    monkeypatch.setenv("COLUMNS", "80")
    command, _, rest = (
        (_ROOT / "README.md").read_text(encoding="utf-8").partition("bench leaderboard --published ")[2].partition("\n")
    )
    sample = rest.partition("```text\n")[2].partition("```")[0]
    ran = CliRunner().invoke(main, ["leaderboard", "--published", *command.split()])
    assert ran.exit_code == 0, ran.output
    assert sample.count("\n") > 10
    assert ran.output.startswith(sample)
