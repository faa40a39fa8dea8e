from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import main
from tests.cli.test_main import QUICK
from tests.records.made_up import finished


@pytest.fixture
def results(tmp_path: Path) -> Path:
    results = tmp_path / "results"
    for seed in range(3):
        finished(results, [0.3, 0.5, 0.7, 0.8], seed=seed)
        finished(results, [0.6, 0.85, 0.9], strategy="short", horizon=0.75, seed=seed)
    return results


def bench(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def readers(results: Path) -> list[list[object]]:
    return [
        ["leaderboard", "--format", "csv", "--results", results],
        ["compare", "scratch", "short", "--scenario", "made-up", "--results", results],
        ["report", "--results", results, "--reports", results.parent / "reports", *QUICK],
    ]


def test_collecting_says_what_it_wrote(results: Path):
    done = bench("collect", "--results", results)
    assert done.exit_code == 0
    assert done.stdout == f"{results}/records.parquet: 6 trials, 21 evaluations, {done.stdout.split()[-2]} MB\n"


def test_commands_say_the_same_from_a_collected_file(results: Path, monkeypatch: pytest.MonkeyPatch):
    directly = [bench(*words).stdout for words in readers(results)]
    assert all(directly)
    bench("collect", "--results", results)

    def never(folder: Path) -> None:
        raise AssertionError(folder)

    monkeypatch.setattr("bench.records.rows.read_trial", never)
    for words, expected in zip(readers(results), directly, strict=True):
        done = bench(*words)
        assert (done.exit_code, done.stderr, done.stdout) == (0, "", expected)


def test_a_file_that_is_not_used_is_told_in_one_line_on_stderr(results: Path):
    bench("collect", "--results", results)
    finished(results, [0.6, 0.85, 0.9], strategy="short", horizon=0.75, seed=3)
    for words in readers(results):
        done = bench(*words)
        assert done.exit_code == 0
        (note,) = done.stderr.splitlines()
        assert note.startswith(f"bench: {results}/records.parquet is outdated (made from 6 trials")
        assert note.endswith(f"Run: bench collect --results {results}")
        assert "bench:" not in done.stdout


def test_mistakes_are_one_line_and_exit_code_2(results: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for words, expected in (
        (["--results", tmp_path / "nowhere"], "no such results folder"),
        (["--results", tmp_path / "empty"], "no trials"),
        (["--results", results, "--output", tmp_path / "file" / "x.parquet"], "cannot be written"),
    ):
        done = bench("collect", *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_neither_collecting_nor_ranking_needs_torch(results: Path):
    for command in ("collect", "leaderboard"):
        code = f"""
import sys
from bench.cli.main import main
main([{command!r}, "--results", {str(results)!r}], standalone_mode=False)
print([name for name in ("torch", "matplotlib", "scipy.stats") if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"
