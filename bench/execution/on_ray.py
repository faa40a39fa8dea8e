"""The executor `ray`: a task for each job, on a cluster that is there, or on a local one."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from bench.errors import DeviceError
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


class Ray:
    """Hands jobs to Ray as tasks; Ray decides where they run, by the CPUs, GPUs and memory that each asks for."""

    def __init__(self, place: Place, count: int | None, options: Mapping[str, Any], listener: Listener) -> None:
        """count: how many tasks run at once at most; None for as many as Ray has room for. options: as OPTIONS has them.

        address: of a cluster; without one, a cluster is started here, and ends with the run.
        Raises BenchError if Ray is not installed, and DeviceError if there is no cluster at the address.
        """
        self._ray = extra_package(("ray",), "ray", "--executor ray")
        self._place, self._listener, self._count = place, listener, count or _MOST_SUBMITTED
        address = options.get("address")
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
        self._require_room(asked)
        self._task = self._ray.remote(max_retries=0, **asked)(_task)
        self._running: dict[Any, Job] = {}

    def _require_room(self, asked: Mapping[str, float]) -> None:
        """Raise DeviceError where no node has what a task asks for: it would wait for ever."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        if not any(all(node.get(names[name], 0) >= value for name, value in asked.items()) for node in nodes):
            said = ", ".join(f"{names[name]} {value:g}" for name, value in asked.items())
            self.cancel()
            raise DeviceError(
                f"--executor ray: no node of the cluster has {said}, as each job asks for. Change --with."
            )

    @property
    def room(self) -> int:
        return self._count - len(self._running)

    def submit(self, jobs: Sequence[Job]) -> None:
        place = asdict(self._place)
        self._running |= {self._task.remote(job.plain(), place): job for job in jobs}

    def poll(self) -> list[Ended]:
        if not self._running:
            time.sleep(_POLL_SECONDS)
            return []
        waiting = list(self._running)
        self._ray.wait(waiting, num_returns=1, timeout=_POLL_SECONDS)
        done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        ended = [self._end_of(each, self._running.pop(each)) for each in done]
        for each in ended:
            tell_ended(self._listener, each, self._place)
        return ended

    def _end_of(self, reference: Any, job: Job) -> Ended:
        try:
            return Ended(**self._ray.get(reference))
        except self._ray.exceptions.RayError as cause:  # its process or node died, or a bug ended it
            lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
            said = lines[-1] if isinstance(cause, self._ray.exceptions.RayTaskError) else lines[0]
            return Ended(job.id, "failed", f"{type(cause).__name__}: {said[:300]}")

    def cancel(self) -> None:
        running = getattr(self, "_running", {})
        for each in running:
            with suppress(Exception):  # it may have ended just now
                self._ray.cancel(each)
        if running:
            self._ray.wait(list(running), num_returns=len(running), timeout=30)
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


def _task(job: dict[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    """Run a job in one of Ray's processes. Ray asks it to end as SIGINT does: after its step, with a checkpoint."""
    with interruptible():
        return work_elsewhere(job, place)
