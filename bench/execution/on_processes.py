"""The executor `local`: processes on this machine, each with a thread of its own on the CPU, or with a GPU of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait

import torch

from bench.errors import DeviceError
from bench.execution.jobs import Ended, Job, Place
from bench.execution.listener import Listener
from bench.execution.worker import STOP, serve
from bench.interrupts import spawning

_POLL_SECONDS = 0.5


class Processes:
    """Runs up to `count` jobs at a time. A process in which a job failed is replaced, and so what it held is given back."""

    def __init__(self, place: Place, count: int, listener: Listener) -> None:
        """Raises DeviceError for more processes than there are GPUs, if it is these that train."""
        self._listener = listener
        self._free = _places(place, count)
        self._idle: list[_Process] = []
        self._busy: list[_Process] = []

    @property
    def room(self) -> int:
        return len(self._free) + len(self._idle)

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            process = self._idle.pop() if self._idle else _Process(self._free.pop())
            self._busy.append(process)
            process.begin(job)

    def poll(self) -> list[Ended]:
        if not self._busy:
            time.sleep(_POLL_SECONDS)
        heard = wait([process.connection for process in self._busy], timeout=_POLL_SECONDS) if self._busy else []
        found = []
        for process in [process for process in self._busy if process.connection in heard]:
            ended = process.receive(self._listener)
            if ended is not None:
                found.append(ended)
                self._busy.remove(process)
                if ended.outcome == "failed":
                    process.end()
                    self._free.append(process.place)
                else:
                    self._idle.append(process)
        return found

    def cancel(self) -> None:
        processes = [*self._busy, *self._idle]
        for process in processes:
            process.stop()
        for process in processes:
            process.end()
        self._busy, self._idle = [], []


class _Process:
    """One process, as its parent sees it."""

    def __init__(self, place: Place) -> None:
        # Spawned, not forked: this process has torch's threads.
        context = multiprocessing.get_context("spawn")
        self.place = place
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, place))
        self._job: Job | None = None
        with spawning():
            self._process.start()
        theirs.close()  # so that the connection ends with the process

    def begin(self, job: Job) -> None:
        self._job = job
        with suppress(OSError):  # a process that has ended is noticed when it is listened to
            self.connection.send(job.plain())

    def receive(self, listener: Listener) -> Ended | None:
        """Pass on what the process tells a listener; return how its job ended, once it has."""
        assert self._job is not None
        try:
            name, told = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            killed = ", perhaps for lack of memory" if code < 0 else ""
            listener.ended(self._job.id, None)
            return Ended(self._job.id, "failed", f"its process ended unexpectedly (exit code {code}){killed}")
        if name == "done":
            return told[0]
        getattr(listener, name)(*told)
        return None

    def stop(self) -> None:
        if self._process.pid is not None and self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, STOP)

    def end(self) -> None:
        self.stop()
        self._process.join()
        self.connection.close()


def _places(place: Place, count: int) -> list[Place]:
    """Return where each process runs: all on the CPU, on one thread unless the place says more, or each on its own GPU."""
    if torch.device(place.device).type == "cpu":
        return [replace(place, threads=place.threads or 1, jobs=count)] * count
    there = torch.cuda.device_count()
    if count > there:
        raise DeviceError(
            f"--jobs {count}: {there} CUDA devices found, expected one for each job, since trials that share a GPU falsify each "
            f"other's seconds. Use --jobs {there}, or --device cpu."
        )
    if count == 1:
        return [replace(place, jobs=1)]
    return [replace(place, device=f"cuda:{number}", jobs=count) for number in reversed(range(count))]
