from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.records.provenance import command_line
from tests.cli.test_main import bench, folders, refused  # noqa: F401

_TWO = ["--strategy", "scratch", "--strategy", "naive", "--seeds", "0"]


@pytest.fixture
def other(tiny: Path) -> Path:
    path = tiny.with_name("other.toml")
    path.write_text(tiny.read_text().replace('name = "tiny"', 'name = "other"'))
    return path


def test_several_scenarios_are_planned_run_and_ranked(tiny: Path, other: Path, folders: list[str], tmp_path: Path):  # noqa: F811
    asked = ["--scenario", tiny, "--scenario", other, *_TWO, *folders]
    planned = bench("plan", *asked, "--jobs", "2", "--json", tmp_path / "graph.json")
    assert planned.exit_code == 0, planned.output
    rows = [line.split() for line in planned.stdout.splitlines()]
    assert [row[-6:-3] for row in rows if row[0] in ("tiny", "other", "all")] == [
        ["1", "1", "0"],
        ["1", "0", "1"],
        ["2", "0", "2"],
        ["1", "1", "0"],
        ["1", "0", "1"],
        ["2", "0", "2"],
        ["8", "2", "6"],
    ]
    assert "Critical path: 2 jobs, " in planned.stdout
    assert "With 2 at a time: at least " in planned.stdout
    jobs = json.loads((tmp_path / "graph.json").read_text())["jobs"]
    assert [job["id"] for job in jobs if job["kind"] == "trial"][-1] == "other/naive/1/seed-0"
    assert not (tmp_path / "results").exists()
    result = bench("run", *asked, "--jobs", "2")
    assert result.exit_code == 0, result.output
    assert "4 trials: 4 to run, 0 finished already" in result.stderr
    for name in ("tiny", "other"):
        assert f"records: {tmp_path / 'results' / name}" in result.stdout
        assert f"{name}/naive/1/seed-0: validation" in result.stderr
    assert result.stdout.count("Target: ") == 2
    record = json.loads((tmp_path / "results" / "tiny" / "naive" / "1" / "seed-0" / "trial.json").read_text())
    assert (record["provenance"]["jobs"], record["provenance"]["threads"]) == (2, 1)
    assert record["provenance"]["command"] == command_line()  # the command that was typed, not a worker's
    for options in ((), ("--jobs", "2")):  # the records are those of any run
        alone = bench("run", "--scenario", tiny, *_TWO, *folders, *options)
        assert "2 trials: 0 to run, 2 finished already" in alone.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--executor", "local", "--with", "time=3"], "--with time=3: --executor local takes none. Change it."),
        (["--executor", "slurm", "--with", "tim=3"], "--executor slurm takes some of cluster=..., time=..., timeouts="),
        (["--executor", "slurm", "--with", "time=soon"], "--with time=soon: expected a whole number after time=."),
        (
            ["--executor", "ray", "--with", "cpus=-1"],
            "--with cpus=-1: expected a number above 0, or a name, after cpus=.",
        ),
        (["--executor", "ray", "--with", "address="], "expected a number above 0, or a name, after address=."),
        (["--executor", "ray", "--log", "wandb"], "--log: --executor ray tells no evaluations, expected local. Remove"),
        (["--executor", "slurm"], "bench: --executor slurm: n"),  # needs the extra; or no sbatch found here
        (["--interleave", "--jobs", "2"], "--interleave: is for one scenario and one trial at a time"),
        (["--interleave", "--executor", "local"], "--interleave: is for one scenario and one trial at a time"),
        (["--with", "time=3"], "--with: is for --executor. Remove it, or name an executor."),
        (["--retries", "3"], "--retries: is for --executor. Remove it, or name an executor."),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    options: list[str],
    complaint: str,
    tiny: Path,
    folders: list[str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("PATH", "")  # no sbatch
    assert complaint in refused(bench("run", "--scenario", tiny, *_TWO, *folders, *options))
    assert not (tmp_path / "results").exists()


def test_a_scenario_that_is_asked_for_twice_is_refused(tiny: Path, folders: list[str], tmp_path: Path):  # noqa: F811
    line = refused(bench("run", "--scenario", tiny, "--scenario", tiny, *_TWO, *folders))
    assert line.startswith("bench: --scenario: two scenarios are called tiny.")
    assert not (tmp_path / "results").exists()
