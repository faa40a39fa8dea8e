"""A Ray cluster of a head and two nodes on this machine, digits trials, and one node killed in the middle.

    python -m tests.scale.ray_nodes              # 4 trials in one epoch; prints what was compared
    python -m tests.scale.ray_nodes --seeds 30   # 60 trials
    python -m tests.scale.ray_nodes --apart      # nodes that do not see the folders of results and cache

Every trial must have one record, equal to that of the executor `local` in every learned and counted field. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.catalog import shipped_folder
from bench.execution.executors import open_executor
from bench.execution.jobs import Ended, Graph, Job, Place, graph_of
from bench.execution.listener import Silent
from bench.execution.local import LocalRun
from bench.execution.sweep import Left, drive
from bench.scenario import load_scenario
from bench.strategies.strategy import load_strategy
from tests.conftest import shorten
from tests.execution.test_jobs import learned

_NODES, _CPUS = 2, 1


class _Killing:
    """Passes everything on to an executor, and kills a node once a few jobs are done."""

    def __init__(self, inner: Any, kill: Any, after: int) -> None:
        self._inner, self._kill, self._after = inner, kill, after
        self.ended: list[Ended] = []

    @property
    def room(self) -> int:
        return self._inner.room

    def submit(self, jobs: list[Job]) -> None:
        self._inner.submit(jobs)

    def poll(self) -> list[Ended]:
        found = self._inner.poll()
        self.ended += found
        if self._kill and len(self.ended) >= self._after:
            self._kill()
            self._kill = None
            print(f"one node killed after {len(self.ended)} jobs")
        return found

    def cancel(self) -> None:
        self._inner.cancel()


def compare(seeds: int, apart: bool) -> None:
    """Run the same graph by Ray, with a node killed, and in processes; compare the records.

    apart: name the folders by way of an open file of this process, so that in others they are not there.
    """
    import ray
    from ray.cluster_utils import Cluster

    scenario = shorten(load_scenario(shipped_folder("scenarios") / "digits-7-3.toml"), points=2, epochs=1)
    entrants = [load_strategy(shipped_folder("baselines") / f"{name}.py") for name in ("scratch", "naive")]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)

        def graph_at(name: str, root: Path) -> tuple[Graph, Place]:
            folders = {each: root / name / each for each in ("results", "cache")}
            run = LocalRun(scenario, entrants, (0,), device="cpu", data_root=root, threads=1, **folders)
            place = Place(str(root), str(root), str(folders["results"]), str(folders["cache"]), device="cpu", threads=1)
            return graph_of([(run, None)], range(seeds)), place

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        nodes = [cluster.add_node(num_cpus=_CPUS) for _ in range(_NODES)]
        seen = Path(f"/proc/self/fd/{os.open(root, os.O_RDONLY)}") if apart else root
        graph, place = graph_at("ray", seen)
        print(f"{len(graph.due)} jobs; a head and {len(nodes)} nodes of {_CPUS} CPU")
        before = time.monotonic()
        try:
            inner = open_executor("ray", place, None, {"address": cluster.address}, Silent(), print)
            executor = _Killing(inner, lambda: cluster.remove_node(nodes[0], allow_graceful=False), seeds)
            left = drive(graph, executor, Silent(), retries=3)
        finally:
            ray.shutdown()
            cluster.shutdown()
        lost = [each for each in executor.ended if each.outcome != "done"]
        print(f"Ray: {time.monotonic() - before:.0f} s; ended otherwise than done, and tried again: {len(lost)}")
        for each in lost:
            print(f"  {each.id}: {each.outcome}: {each.reason}")
        assert left == Left()
        done = [each.id for each in executor.ended if each.outcome == "done"]
        assert sorted(done) == sorted(job.id for job in graph.due)
        graph, place = graph_at("local", root)
        drive(graph, open_executor("local", place, 2, {}, Silent()), Silent(), retries=0).require_all_ran(0)
        by_ray, by_processes = (learned(root / name / "results") for name in ("ray", "local"))
        assert len(by_ray) == 2 * seeds
        assert by_ray == by_processes
        print(f"{len(by_ray)} records by Ray, each once, equal to those of local in every learned and counted field")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--apart", action="store_true")
    asked = parser.parse_args()
    compare(asked.seeds, asked.apart)
