"""Running trials side by side, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import Any

from bench.errors import TrialError
from bench.execution.listener import Listener
from bench.execution.local import LocalRun, base_label
from bench.execution.order import Order
from bench.execution.packing import pack
from bench.execution.plan import PlannedTrial
from bench.execution.worker import STOP, work
from bench.interrupts import spawning
from bench.training.device import check_jobs


def run_side_by_side(run: LocalRun, jobs: int, listener: Listener) -> None:
    """Do what LocalRun.run does, with up to `jobs` trials at a time, and the same results as one after the other.

    Each process has the run's threads, or one if it leaves them open. The listener is told in this process. Whatever ends this
    call ends the processes, and so does a kill of this process.
    Raises what LocalRun.run does; DeviceError if the device is not the CPU; StrategyError if a strategy cannot be sent to
    another process; and TrialError at once if a process ends unexpectedly.
    """
    check_jobs(jobs, run.device)
    packed = pack(run)
    due = run.begin(listener)
    order = Order(due, run.lacking_bases())
    failed: list[str] = []
    with _workers(min(jobs, len(due)), packed, run.threads or 1, jobs) as workers:
        while True:
            for worker in workers:
                if worker.trial is None and (trial := order.next()):
                    worker.begin(trial, run)
            if all(worker.trial is None for worker in workers):
                break
            for worker in _heard(workers):
                name, told = worker.receive()
                if name == "refused":
                    raise told[0]
                if name == "done":
                    failed += [failure for failure in told if failure]
                    order.ended(worker.end())
                elif name == "taken":
                    order.postpone(worker.end())
                elif name != "ready":
                    getattr(listener, name)(*told)
                if name == "ended" and worker.trial:
                    label, record = told
                    if label == base_label(worker.trial.spec.seed) and record is not None:
                        order.base_exists(worker.trial.spec.seed)
    run.require_all_ran(failed)


class _Worker:
    """One process, as its parent sees it. trial: what it is running."""

    def __init__(self, packed: bytes, threads: int, jobs: int) -> None:
        # Spawned, not forked: this process has torch's threads.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, packed, threads, jobs))
        with spawning():
            self.process.start()
        theirs.close()  # so that the connection ends with the process
        self.trial: PlannedTrial | None = None
        self._label = "no trial yet"
        self._ready = False

    def begin(self, trial: PlannedTrial, run: LocalRun) -> None:
        self.trial, self._label = trial, run.label_of(trial)
        try:
            self.connection.send(run.trials.index(trial))
        except OSError:
            raise self._lost() from None

    def receive(self) -> tuple[str, tuple[Any, ...]]:
        try:
            name, told = self.connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        self._ready = True
        return name, told

    def end(self) -> PlannedTrial:
        """Return the trial that it was running."""
        assert self.trial is not None
        trial, self.trial = self.trial, None
        return trial

    def stop(self) -> None:
        if self.process.pid is not None and self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, STOP)

    def _lost(self) -> TrialError:
        self.process.join()
        code = f"exit code {self.process.exitcode}"
        if self._ready:
            killed = ", perhaps for lack of memory" if (self.process.exitcode or 0) < 0 else ""
            return TrialError(
                f"{self._label}: its process ended unexpectedly ({code}){killed}. The same command resumes; --jobs 1 runs "
                "everything in one process."
            )
        return TrialError(
            f"--jobs: a process ended before its first trial ({code}). If this is a script, call bench.run below "
            '`if __name__ == "__main__":`.'
        )


@contextmanager
def _workers(count: int, packed: bytes, threads: int, jobs: int) -> Iterator[list[_Worker]]:
    """Start processes, and stop them at the end: each finishes its step, and saves a checkpoint."""
    workers: list[_Worker] = []
    try:
        for _ in range(count):
            workers.append(_Worker(packed, threads, jobs))
        yield workers
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.process.join()
            worker.connection.close()


def _heard(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until any process says something, or ends, and return those that did."""
    heard = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in heard]
