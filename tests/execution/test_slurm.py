from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.errors import BenchError, DeviceError
from bench.execution import on_slurm
from bench.execution.jobs import Ended, graph_of
from bench.execution.on_slurm import Slurm
from bench.execution.sweep import drive
from bench.records.store import read_trial
from bench.strategies.strategy import load_strategy
from tests.execution.test_jobs import learned, place_of, run_at
from tests.execution.test_local import BASELINES, Log
from tests.held import Gate

ROOT = Path(__file__).resolve().parents[2]

# Not pytest.importorskip, which would import it as it likes to be: with logging set up.
needs_submitit = pytest.mark.skipif(
    find_spec("submitit") is None, reason="submitit is not installed: pip install 'compute-to-accuracy[slurm]'"
)


@needs_submitit
def test_submitit_leaves_the_logging_of_others_alone(tmp_path: Path):
    code = "import logging; from bench.execution.on_slurm import _submitit; mine = logging.FileHandler('mine.log');"
    code += "_submitit(); import submitit; assert mine.stream is not None"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_without_submitit_or_slurm_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = place_of(tmp_path / "here")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        BenchError, match=r"^--executor slurm: needs the extra slurm, which is not installed. Run: pip in"
    ):
        Slurm(place, None, {}, Log())
    monkeypatch.setitem(sys.modules, "submitit", ModuleType("submitit"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeviceError, match=r"^--executor slurm: no sbatch, srun and sacct found here"):
        Slurm(place, None, {}, Log())
    with pytest.raises(DeviceError, match=r"^--with cluster=other: expected one of slurm, local, debug"):
        Slurm(place, None, {"cluster": "other"}, Log())


@needs_submitit
def test_a_task_of_submitit_learns_what_one_run_learns(tmp_path: Path):
    graph = graph_of([(run_at(tmp_path / "apart", BASELINES[:2]), None)], (0,))
    executor = Slurm(place_of(tmp_path / "apart"), None, {"cluster": "debug"}, Log())
    drive(graph, executor, Log(), retries=0).require_all_ran(3)
    run_at(tmp_path / "whole", BASELINES[:2]).run(Log())
    assert learned(tmp_path / "apart" / "results") == learned(tmp_path / "whole" / "results")


@needs_submitit
def test_a_task_whose_time_ends_is_queued_again_and_resumes(tmp_path: Path):
    gate = Gate(tmp_path, after=10)
    entrants = [load_strategy(gate.strategy)]
    graph = graph_of([(run_at(tmp_path / "apart", entrants), None)], (0,))
    executor = Slurm(place_of(tmp_path / "apart"), None, {"cluster": "local", "time": 5}, Log())
    executor.submit(graph.due)
    ended: list[Ended] = []

    def alive() -> bool:
        ended.extend(executor.poll())
        return not ended

    try:
        gate.wait(1, alive)
        (task,) = (int(each.name) for each in gate.folder.iterdir())
        os.kill(task, signal.SIGUSR2)  # as Slurm does when the time is nearly over
        while Path(f"/proc/{task}").exists():
            assert alive()
        gate.open()
        while alive():
            pass
    finally:
        executor.cancel()
    assert [each.outcome for each in ended] == ["done"]
    record = read_trial(tmp_path / "apart" / "results" / graph.due[0].id)
    assert record is not None
    assert record.summary is not None
    assert record.summary.sittings == 2
    run_at(tmp_path / "whole", entrants).run(Log())
    assert learned(tmp_path / "apart" / "results") == learned(tmp_path / "whole" / "results")


@pytest.mark.parametrize(("code", "raised"), [(-signal.SIGTERM, SystemExit), (1, subprocess.CalledProcessError)])
def test_a_job_that_slurm_ends_while_it_is_queued_again_has_not_failed(
    code: int, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
):
    """A real Slurm ended scontrol, too, with the job: as a result, that would have been the job's failure."""

    def queue_again(number: int, frame: object) -> None:
        raise subprocess.CalledProcessError(code, ["scontrol", "requeue", "1"])

    monkeypatch.setattr(on_slurm, "work_elsewhere", lambda job, place: os.kill(os.getpid(), signal.SIGUSR2))
    before = signal.signal(signal.SIGUSR2, queue_again)
    try:
        with pytest.raises(raised):
            on_slurm.Task({}, {})()
    finally:
        signal.signal(signal.SIGUSR2, before)


@needs_submitit
def test_what_slurm_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """sbatch as Slurm has it, for a partition that is not there."""
    for name in ("srun", "sacct", "sbatch"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "#!/bin/sh\necho 'sbatch: error: invalid partition specified: nowhere' >&2\n"
            "echo 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2\nexit 1\n"
        )
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    graph = graph_of([(run_at(tmp_path / "apart", BASELINES[:1]), None)], (0,))
    executor = Slurm(place_of(tmp_path / "apart"), 4, {"partition": "nowhere", "time": 30}, Log())
    with pytest.raises(
        DeviceError, match=r"^--executor slurm: Slurm refused the jobs: sbatch: error: invalid partition"
    ):
        drive(graph, executor, Log(), retries=1)
    script = next((tmp_path / "apart" / "cache" / "slurm").rglob("*.sh")).read_text()
    assert "#SBATCH --partition=nowhere" in script
    assert "#SBATCH --time=30" in script
    assert executor._running == []
    assert _options(script)["cpus-per-task"] == "1"


@needs_submitit
def test_a_job_that_slurm_no_longer_lists_and_that_left_no_result_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without accounting, sacct knows nothing. squeue lists 77_0 while it waits, runs, or is queued again."""
    listed = tmp_path / "listed"
    said = {
        "sbatch": "echo Submitted batch job 77",
        "sacct": "echo 'JobID|State|NodeList'",
        "srun": "",
        "squeue": f"cat {listed}",
    }
    for name, does in said.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    now = [0.0]
    monkeypatch.setattr(on_slurm.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(on_slurm.time, "sleep", lambda seconds: None)
    graph = graph_of([(run_at(tmp_path / "apart", BASELINES[:2]), None)], (0,))
    executor, log = Slurm(place_of(tmp_path / "apart"), None, {}, Log()), Log()
    executor._listener = log
    executor.submit(graph.due[:2])

    def poll_at(seconds: float, ids: str | None) -> list[Ended]:
        listed.unlink(missing_ok=True)  # squeue then fails
        if ids is not None:
            listed.write_text(ids)
        now[0] = seconds
        return executor.poll()

    assert poll_at(0, "77_0\n77_1\n") == []
    assert poll_at(40, "77_1\n") == []
    assert poll_at(80, None) == []
    assert poll_at(120, "77_0\n77_1\n") == []  # queued again
    assert poll_at(160, "77_1\n99\n") == []
    assert poll_at(279, "77_1\n") == []
    (ended,) = poll_at(310, "77_1\n")
    assert ended.id == graph.due[0].id
    assert str(ended.reason).startswith("Slurm ended it without a word, and it left no result for 120 s; see ")
    assert [job.id for job, _ in executor._running] == [graph.due[1].id]


def _options(script: str) -> dict[str, Any]:
    pairs = [
        line.removeprefix("#SBATCH --").partition("=") for line in script.splitlines() if line.startswith("#SBATCH")
    ]
    return {name: value for name, _, value in pairs}
