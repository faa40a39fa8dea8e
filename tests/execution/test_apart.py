from __future__ import annotations

import errno
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench.catalog import shipped_folder
from bench.execution import on_ray
from bench.execution.apart import Home, Parcel, leave_probe, work_apart
from bench.execution.jobs import Ended, Graph, Job, Place, graph_of
from bench.execution.sweep import Left, drive
from bench.locks import locked
from bench.strategies.strategy import load_strategy
from tests.execution.test_jobs import learned, place_of, run_at
from tests.execution.test_local import BASELINES, Log

NAIVE = [load_strategy(shipped_folder("baselines") / "naive.py")]


class Apart:
    """An executor whose jobs run in this process, one at a time, and do not see the place's folders."""

    room = 1

    def __init__(self, place: Place) -> None:
        self.home, self._place = Home(place), place
        self._ended: list[Ended] = []
        self.sent: dict[str, Parcel] = {}
        self.left: dict[str, Parcel] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            ended = self.home.claim(job)
            if ended is None:
                self.sent[job.id] = self.home.needs(job)
                nowhere = replace(self._place, results="/nowhere/results", cache="/nowhere/cache")
                plain = json.loads(json.dumps(job.plain()))
                found, self.left[job.id] = work_apart(plain, asdict(nowhere), self.sent[job.id])
                ended = self.home.accept(job, Ended(**found), self.changed(job, self.left[job.id]))
            self._ended.append(ended)

    def changed(self, job: Job, left: Parcel) -> Parcel:
        return left

    def poll(self) -> list[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def cancel(self) -> None:
        pass


def graph_at(folder: Path, name: str = "digits-7-3", entrants=BASELINES[:2]) -> Graph:
    return graph_of([(run_at(folder, entrants, name=name), None)], (0,))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_a_job_needs_is_sent_and_what_it_leaves_is_written_as_a_run_here_writes_it(tmp_path: Path):
    graph, executor = graph_at(tmp_path / "apart", "digits-4-2-2-2", NAIVE), Apart(place_of(tmp_path / "apart"))
    drive(graph, executor, Log(), retries=0).require_all_ran(len(graph.due))
    run_at(tmp_path / "whole", NAIVE, name="digits-4-2-2-2").run(Log())
    assert learned(tmp_path / "apart" / "results") == learned(tmp_path / "whole" / "results")
    assert len(learned(tmp_path / "apart" / "results")) == 3
    kept = {name for name in files(tmp_path / "apart") if "/checkpoints/" not in name}
    assert kept == {name for name in files(tmp_path / "whole") if "/checkpoints/" not in name}
    sent = [sorted(name.rpartition("/")[2] for name in parcel) for parcel in executor.sent.values()]
    with_records = ["evals.jsonl", "trial.json"]
    assert sent == [[], ["base.pt", *with_records], [*with_records, "update-1.pt"], [*with_records, "update-2.pt"]]
    assert graph_at(tmp_path / "apart", "digits-4-2-2-2", NAIVE).due == ()  # a run here finds all of it


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("trial.json", "came back damaged: results/short/scratch/1/seed-0/trial.json: not a trial's record"),
        ("evals.jsonl", "came back damaged: some of it is missing, or was changed on its way"),
        ("base.pt", "came back damaged: some of it is missing, or was changed on its way"),
    ],
)
def test_what_comes_back_damaged_is_not_written_and_its_job_has_failed(tmp_path: Path, file: str, said: str):
    class Damaging(Apart):
        def changed(self, job: Job, left: Parcel) -> Parcel:
            asked = job.kind == "base model" if file == "base.pt" else job.id.startswith("short/scratch/")
            hit = {name: each[:-9] for name, each in left.items() if asked and name.endswith(file)}
            return left | hit

    graph, executor = graph_at(tmp_path), Damaging(place_of(tmp_path))
    left = drive(graph, executor, Log(), retries=0)
    ((id, reason),) = left.failed.items()
    assert said in reason
    assert "\n" not in reason
    if file == "base.pt":
        assert left.waiting
        assert not [name for name in files(tmp_path) if "/bases/" in name]
    else:
        assert not (tmp_path / "results" / id).exists()
    assert not [name for name in files(tmp_path) if "arrived" in name or name.endswith(".lock")]


def test_a_record_is_locked_while_its_job_is_away_and_one_that_another_holds_is_not_sent(tmp_path: Path):
    graph, home = graph_at(tmp_path, entrants=BASELINES[:1]), Home(place_of(tmp_path))
    (job,) = graph.due
    lock = tmp_path / "results" / f"{job.id}.lock"
    with locked(lock):
        held = home.claim(job)
    assert held is not None
    assert (held.outcome, f"process {os.getpid()}" in str(held.reason)) == ("taken", True)
    assert home.claim(job) is None
    assert lock.exists()
    home.let_go(job)
    assert not lock.exists()
    run_at(tmp_path, BASELINES[:1]).run(Log())
    assert home.claim(job) == Ended(job.id, "done")
    assert not lock.exists()


def test_a_machine_without_room_for_temporary_files_fails_its_job_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    job = graph_at(tmp_path, entrants=BASELINES[:1]).due[0]
    for target, name in ((tempfile, "mkdtemp"), (Path, "write_bytes")):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, full)
            ended, left = work_apart(job.plain(), asdict(place_of(tmp_path)), {"cache/bases/base.pt": b"model"})
        assert (ended["outcome"], left) == ("failed", {})
        assert ended["reason"].startswith(f"on {platform.node()}: ")
        assert "No space left on device" in ended["reason"]


def test_a_trial_that_fails_elsewhere_leaves_its_record_here(tmp_path: Path):
    (tmp_path / "broken.py").write_text(_BROKEN)
    graph = graph_at(tmp_path / "apart", entrants=[load_strategy(tmp_path / "broken.py")])
    left = drive(graph, Apart(place_of(tmp_path / "apart")), Log(), retries=0)
    (job,) = graph.due
    assert "broken on purpose" in left.failed[job.id]
    record = json.loads((tmp_path / "apart" / "results" / job.id / "trial.json").read_text())
    assert (record["status"], "broken on purpose" in record["reason"]) == ("failed", True)


def test_a_node_that_came_later_and_sees_nothing_fails_its_job_in_one_line(tmp_path: Path):
    place, job = place_of(tmp_path), graph_at(tmp_path, entrants=BASELINES[:1]).due[0]
    probe = leave_probe(place)
    assert probe.seen()
    probe.remove()
    assert not probe.seen()
    ended = Ended(**on_ray._task(job.plain(), asdict(place), probe))
    assert ended.outcome == "failed"
    assert f"does not see {place.results} and {place.cache}, as all nodes did when the run began" in str(ended.reason)
    assert files(tmp_path) == set()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A real cluster: a head without processors, and a node with one."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'compute-to-accuracy[ray]'")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def test_nodes_of_a_real_cluster_that_see_nothing_leave_the_records_of_one_run(tmp_path: Path, cluster: Any):
    (tmp_path / "apart").mkdir()
    handle = os.open(tmp_path / "apart", os.O_RDONLY)
    mine = Path(f"/proc/self/fd/{handle}")  # no other process sees a folder there
    told: list[str] = []
    try:
        graph = graph_at(mine, entrants=NAIVE)
        place = replace(place_of(mine), folder=str(tmp_path))
        executor = on_ray.Ray(place, None, {"address": cluster.address}, Log(), told.append)
        assert drive(graph, executor, Log(), retries=0) == Left()
    finally:
        os.close(handle)
    (line,) = told
    assert line.startswith(
        f"Ray: 1 of 1 nodes do not see {mine}/results and {mine}/cache: records and models are sent; "
    )
    run_at(tmp_path / "whole", NAIVE).run(Log())
    assert learned(tmp_path / "apart" / "results") == learned(tmp_path / "whole" / "results")
    assert not [name for name in files(tmp_path / "apart") if name.rpartition("/")[2].startswith(".")]


def test_nodes_that_see_the_folders_work_in_them(tmp_path: Path, cluster: Any):
    told: list[str] = []
    executor = on_ray.Ray(place_of(tmp_path), None, {"address": cluster.address}, Log(), told.append)
    executor.submit([])
    assert executor._home is None
    assert told == [f"Ray: all nodes (1) see {tmp_path}/results and {tmp_path}/cache, and work there"]
    executor.cancel()
    assert files(tmp_path) == set()


_BROKEN = """
from dataclasses import dataclass
from typing import ClassVar

from bench import Fresh, OneCycle, Strategy


@dataclass(frozen=True)
class Breaks:
    passes: ClassVar[int] = 0
    anchor: ClassVar[None] = None

    def apply(self, parameters, anchors):
        raise RuntimeError("broken on purpose")


strategy = Strategy(title="Broken", start=Fresh(), schedule=OneCycle(warmup=0.2), regularizer=Breaks())
"""
