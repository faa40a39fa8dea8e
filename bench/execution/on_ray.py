"""The executor `ray`: a task for each job, on a cluster that is there, or on a local one.

Where a node does not see the folders of results and cache, by a file that is left there for it, no job works in them: see apart.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from bench.errors import BenchError, DeviceError
from bench.execution.apart import Home, Parcel, Probe, leave_probe, work_apart
from bench.execution.jobs import Ended, Job, Place, work_elsewhere
from bench.execution.listener import Listener
from bench.execution.told import tell_ended
from bench.extras import extra_package
from bench.interrupts import interruptible

# What --with takes.
OPTIONS: dict[str, tuple[type, str]] = {
    "address": (str, ""),
    "cpus": (float, "num_cpus"),
    "gpus": (float, "num_gpus"),
    "memory_gb": (float, "memory"),
}
_MOST_SUBMITTED = 10_000  # Ray holds what waits in memory
_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 60.0  # for every node's answer; a process starts there for it
_MOST_APART = 1000  # the record of each is locked
_MOST_KEPT = 16  # models that Ray keeps for jobs to come
_NAMES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}


class Ray:
    """Hands jobs to Ray as tasks; Ray decides where they run, by the CPUs, GPUs and memory that each asks for."""

    _probe: Probe | None = None
    _home: Home | None = None  # where jobs run apart

    def __init__(
        self,
        place: Place,
        count: int | None,
        options: Mapping[str, Any],
        listener: Listener,
        tell: Callable[[str], object] = lambda line: None,
    ) -> None:
        """count: how many tasks run at once at most; None for as many as Ray has room for. options: as OPTIONS has them.

        address: of a cluster; without one, a cluster is started here, and ends with the run. tell: is given a line that says
        whether the nodes see the folders.
        Raises BenchError if Ray is not installed, and DeviceError if there is no cluster at the address.
        """
        self._ray = extra_package(("ray",), "ray", "--executor ray")
        self._place, self._listener, self._tell = place, listener, tell
        self._count, self._most = count, count or _MOST_APART
        address = options.get("address")
        self._given = address is not None
        self._started = not self._ray.is_initialized()
        if self._started:
            _require_somebody_at(address)
            try:
                self._ray.init(
                    address=address or "local", log_to_driver=False, logging_level="ERROR", configure_logging=False
                )
            except (ConnectionError, RuntimeError, ValueError) as cause:  # nobody there, or of another version
                raise _no_cluster(address, cause) from cause
        asked = {name: options[key] for key, (_, name) in OPTIONS.items() if key in options and name}
        if "memory" in asked:
            asked["memory"] = int(asked["memory"] * 2**30)
        asked.setdefault("num_cpus", place.threads or 1)
        asked.setdefault("num_gpus", 1 if place.device.startswith("cuda") else 0)
        self._asked = asked
        self._require_room()
        self._task = self._ray.remote(max_retries=0, **asked)(_task)
        self._task_apart = self._ray.remote(max_retries=0, **asked)(_task_apart)
        self._running: dict[Any, Job] = {}
        self._ended: list[Ended] = []
        self._sent: dict[tuple[str, ...], Any] = {}

    def _nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that have what a task asks for."""
        return [
            node
            for node in self._ray.nodes()
            if node["Alive"] and all(node["Resources"].get(_NAMES[name], 0) >= n for name, n in self._asked.items())
        ]

    def _require_room(self) -> None:
        """Raise DeviceError where no node has what a task asks for: it would wait for ever."""
        if not self._nodes():
            said = ", ".join(f"{_NAMES[name]} {value:g}" for name, value in self._asked.items())
            self.cancel()
            raise DeviceError(
                f"--executor ray: no node of the cluster has {said}, as each job asks for. Change --with."
            )

    @property
    def room(self) -> int:
        return self._most - len(self._running)

    def submit(self, jobs: Sequence[Job]) -> None:
        if self._probe is None:
            self._look()
        assert self._probe is not None
        place = asdict(self._place)
        for job in jobs:
            if self._home is None:
                self._running[self._task.remote(job.plain(), place, self._probe)] = job
            elif (ended := self._home.claim(job)) is not None:
                self._ended.append(ended)
            else:
                self._send(self._home, job, place)

    def _look(self) -> None:
        """Find out whether every node sees the folders, and say so, unless there is only this machine."""
        self._probe = leave_probe(self._place)
        if self._started and not self._given:
            self._most = self._count or _MOST_SUBMITTED
            return
        on = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        task, nodes = self._ray.remote(max_retries=0, num_cpus=0)(_sees), self._nodes()
        asked = [task.options(scheduling_strategy=on(each["NodeID"], soft=False)).remote(self._probe) for each in nodes]
        answered = self._ray.wait(asked, num_returns=len(asked), timeout=_LOOK_SECONDS)[0] if asked else []
        blind = len(nodes) - sum(map(self._saw, answered))
        which = f"{self._place.results} and {self._place.cache}"
        if not blind:
            self._most = self._count or _MOST_SUBMITTED
            self._tell(f"Ray: all nodes ({len(nodes)}) see {which}, and work there")
            return
        self._home = Home(self._place)
        self._tell(
            f"Ray: {blind} of {len(nodes)} nodes do not see {which}: records and models are sent; a trial whose node dies starts "
            "over"
        )

    def _saw(self, answer: Any) -> bool:
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayError:
            return False

    def _send(self, home: Home, job: Job, place: dict[str, Any]) -> None:
        try:
            if job.needs not in self._sent:  # most trials of a seed start from one model
                if len(self._sent) >= _MOST_KEPT:
                    del self._sent[next(iter(self._sent))]
                self._sent[job.needs] = self._ray.put(home.needs(job))
        except BenchError as cause:
            home.let_go(job)
            self._ended.append(Ended(job.id, "failed", str(cause)))
            return
        self._running[self._task_apart.remote(job.plain(), place, self._sent[job.needs])] = job

    def poll(self) -> list[Ended]:
        ended, self._ended = self._ended, []
        if not self._running and not ended:
            time.sleep(_POLL_SECONDS)
        if self._running:
            waiting = list(self._running)
            self._ray.wait(waiting, num_returns=1, timeout=0 if ended else _POLL_SECONDS)
            done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
            ended += [self._end_of(each, self._running.pop(each)) for each in done]
        for each in ended:
            tell_ended(self._listener, each, self._place)
        return ended

    def _end_of(self, reference: Any, job: Job) -> Ended:
        try:
            found = self._ray.get(reference)
            if self._home is None:
                return Ended(**found)
            ended, left = found
            return self._home.accept(job, Ended(**ended), left)
        except self._ray.exceptions.RayError as cause:  # its process or node died, or a bug ended it
            if self._home is not None:
                self._home.let_go(job)
            lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
            said = lines[-1] if isinstance(cause, self._ray.exceptions.RayTaskError) else lines[0]
            return Ended(job.id, "failed", f"{type(cause).__name__}: {said[:300]}")

    def cancel(self) -> None:
        running: dict[Any, Job] = getattr(self, "_running", {})
        for each in running:
            with suppress(Exception):  # it may have ended just now
                self._ray.cancel(each)
        if running:
            self._ray.wait(list(running), num_returns=len(running), timeout=30)
        for job in running.values():
            if self._home is not None:
                self._home.let_go(job)
        if self._probe is not None:
            self._probe.remove()
        self._running = {}
        if self._started:
            self._ray.shutdown()


def _require_somebody_at(address: str | None) -> None:
    """Raise DeviceError if nobody listens at host:port: Ray would try for minutes before it says so."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as cause:
            raise _no_cluster(address, cause) from cause


def _no_cluster(address: str | None, cause: Exception) -> DeviceError:
    said = " ".join(str(cause).split())[:300]
    return DeviceError(
        f"--with address={address}: no Ray cluster that can be used there ({type(cause).__name__}: {said}). Start one with `ray "
        "start --head`, name another, or leave address out."
    )


def _sees(probe: Probe) -> bool:
    return probe.seen()


def _task(job: dict[str, Any], place: dict[str, Any], probe: Probe) -> dict[str, Any]:
    """Run a job in one of Ray's processes. Ray asks it to end as SIGINT does: after its step, with a checkpoint."""
    if not probe.seen():
        reason = (
            f"{platform.node()} does not see {place['results']} and {place['cache']}, as all nodes did when the run began. Run "
            "the same command again."
        )
        return asdict(Ended(job["id"], "failed", reason))
    with interruptible():
        return work_elsewhere(job, place)


def _task_apart(job: dict[str, Any], place: dict[str, Any], sent: Parcel) -> tuple[dict[str, Any], Parcel]:
    """Do what _task does where the folders are not seen; return also what the job left."""
    with interruptible():
        return work_apart(job, place, sent)
