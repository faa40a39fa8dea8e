from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from bench.cli.main import main


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
