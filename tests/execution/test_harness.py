from __future__ import annotations

import json
import sys
from pathlib import Path

from click.testing import CliRunner

from bench.cli.main import main
from bench.execution.harness import usage_of


def test_made_up_trials_are_planned_collected_and_ranked(tmp_path: Path):
    words = ["speed", "--harness", "--trials", "30", "--evaluations", "10", "--results", str(tmp_path)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    [path] = (tmp_path / "speed" / "harness").iterdir()
    written = json.loads(path.read_text())
    assert (written["trials"], written["evaluations"]) == (30, 10)
    assert [piece["name"] for piece in written["pieces"]] == ["plan", "collect", "leaderboard"]
    assert all(piece["seconds"] > 0 for piece in written["pieces"])
    assert "30 trials of 10 evaluations" in done.stdout


def test_the_memory_of_a_command_is_not_that_of_the_process_which_measures_it():
    held = bytearray(b"x") * (200 << 20)
    used = usage_of([sys.executable, "-S", "-c", "print('said')"])
    assert len(held) == 200 << 20
    assert used.megabytes < 100
    assert (used.code, used.stdout) == (0, "said\n")
