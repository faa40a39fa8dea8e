"""What an executor adds to a trial: how long a job takes that has nothing to do, from being submitted to being heard of.

    python -m tests.benchmarks.overhead                      # local, and Ray if it is installed
    python -m tests.benchmarks.overhead --executor local --jobs 1000

One job at a time, in a process that has been started, and has read the images. `scheduled` jobs return at once, and so cost what
sending them does; `finished` ones are a trial that is there already: its strategy is made from its text, its lock taken, and its
record read and verified, as before and after any trial.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from bench.api.plans import place_for
from bench.catalog import find_scenario
from bench.execution.executors import ExecutorName, open_executor
from bench.execution.jobs import Ended, Graph, Job, Place, graph_of, run_one
from bench.execution.listener import Silent
from bench.execution.local import LocalRun
from bench.execution.sweep import Executor, drive
from bench.scenario import load_scenario
from bench.strategies.variants import load_variant
from tests.conftest import shorten


class Timed:
    """Passes everything on to an executor, and keeps how long each job took."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._began: dict[str, float] = {}
        self.seconds: list[float] = []

    @property
    def room(self) -> int:
        return 0 if self._began else min(1, self._inner.room)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._began |= {job.id: time.perf_counter() for job in jobs}
        self._inner.submit(jobs)

    def poll(self) -> list[Ended]:
        ended = self._inner.poll()
        self.seconds += [time.perf_counter() - self._began.pop(each.id) for each in ended]
        return ended

    def cancel(self) -> None:
        self._inner.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--executor", choices=("local", "ray"), action="append")
    parser.add_argument("--jobs", type=int, default=300)
    asked = parser.parse_args()
    names: list[ExecutorName] = asked.executor or ["local", *(["ray"] if find_spec("ray") else [])]
    with tempfile.TemporaryDirectory() as folder:
        place = place_for(
            Path(folder) / "results",
            device="cpu",
            data_root=folder,
            cache=Path(folder) / "cache",
            compiled=None,
            step="auto",
            threads=1,
            images="auto",
        )
        finished = _finished(place)
        scheduled = replace(finished, kind="preparation", strategy=None, seed=None)
        print("| executor | job | median | 95 % of them |\n| --- | --- | ---: | ---: |")
        for name in names:
            for what, job in (("scheduled", scheduled), ("finished", finished)):
                seconds = sorted(_times(name, place, job, asked.jobs))
                most = seconds[int(0.95 * len(seconds))]
                print(
                    f"| `{name}` | {what} | {1000 * statistics.median(seconds):.1f} ms | {1000 * most:.1f} ms |",
                    flush=True,
                )


def _finished(place: Place) -> Job:
    """Run a short trial, and return its job."""
    scenario = shorten(load_scenario(find_scenario("digits-7-3")), points=20, epochs=1)
    folders = {name: Path(getattr(place, name)) for name in ("data_root", "results", "cache")}
    run = LocalRun(scenario, [load_variant("scratch")], [0], device="cpu", threads=1, **folders)
    (job,) = graph_of([(run, None)], (0,)).due
    assert run_one(job, place) is None
    return replace(job, needs=())


def _times(name: ExecutorName, place: Place, job: Job, count: int) -> list[float]:
    """Return how long each of `count` copies of a job took, after a first one, for which a process had to start."""
    jobs = tuple(replace(job, id=f"{job.id}-{number}", flops=number) for number in range(count + 1))
    timed = Timed(open_executor(name, place, 1, {}, Silent()))
    drive(Graph(jobs), timed, Silent(), retries=0).require_all_ran(len(jobs))
    return timed.seconds[1:]


if __name__ == "__main__":
    main()
