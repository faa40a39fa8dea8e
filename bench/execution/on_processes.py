"""The executor `local`: processes on this machine, each with a thread of its own on the CPU, or with a GPU of its own."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from multiprocessing.connection import wait

import torch

from bench.errors import TrialError
from bench.execution.jobs import Ended, Job, Place
from bench.execution.listener import Listener
from bench.execution.worker import STOP, serve
from bench.interrupts import spawning
from bench.training.device import check_jobs

_POLL_SECONDS = 0.5


class Processes:
    """Runs up to `count` jobs at a time. A process in which a job failed is replaced, and so what it held is given back."""

    def __init__(self, place: Place, count: int, listener: Listener) -> None:
        """Raises DeviceError for more processes than there are GPUs, if it is these that train."""
        self._listener = listener
        self._free = _places(place, count)
        self._idle: list[_Process] = []
        self._busy: list[_Process] = []

    def start(self, count: int) -> None:
        """Start up to so many processes before there are jobs for them: each takes seconds."""
        for _ in range(min(count, len(self._free))):
            self._idle.append(_Process(self._free.pop()))

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
        self._process = context.Process(target=serve, args=(theirs, asdict(place)))
        self._job: Job | None = None
        self._ready = self._asked = False
        with spawning():
            self._process.start()
        theirs.close()  # so that the connection ends with the process

    def begin(self, job: Job) -> None:
        self._job = job
        with suppress(OSError):  # a process that has ended is noticed when it is listened to
            self.connection.send(job.plain())

    def receive(self, listener: Listener) -> Ended | None:
        """Pass on what the process tells a listener; return how its job ended, once it has.

        Raises TrialError if the process could not begin, which no other one could either.
        """
        assert self._job is not None
        try:
            name, told = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            if not self._ready and code > 0:
                raise TrialError(
                    f"--jobs: a process ended before its first job (exit code {code}). If this is a script, call bench.run "
                    'below `if __name__ == "__main__":`.'
                ) from None
            killed = ", perhaps for lack of memory" if code < 0 else ""
            listener.ended(self._job.id, None)
            return Ended(self._job.id, "failed", f"its process ended unexpectedly (exit code {code}){killed}")
        self._ready = True
        if name == "done":
            return told[0]
        if name == "ready":
            return None
        getattr(listener, name)(*told)
        return None

    def stop(self) -> None:
        """Ask the process to end after its step; once, for the second signal would end it at once."""
        if not self._asked and self._process.pid is not None and self._process.is_alive():
            self._asked = True
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
    check_jobs(count, torch.device(place.device))
    if count == 1:
        return [replace(place, jobs=1)]
    return [replace(place, device=f"cuda:{number}", jobs=count) for number in reversed(range(count))]
