"""A process that runs the trials which its parent names. Imports torch only once it can be interrupted quietly."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from bench.data.files.decode import start_worker
from bench.errors import BenchError, TakenError
from bench.interrupts import Interrupted, interruptible

# The parent sends it. The signals that end the parent may reach all its group; a worker ignores those.
STOP = signal.SIGUSR1

if TYPE_CHECKING:
    from bench.execution.jobs import Place
    from bench.records.schema import EvalRow, TrialRecord


def work(connection: Connection, packed: bytes, threads: int, jobs: int) -> None:
    """Run trials until the connection closes.

    Receives the place of a trial among the run's. Sends (name, arguments): "ready", each call of a Listener, "done" with what
    LocalRun.attempt returned, "taken" if another process runs the trial, or "refused" with a BenchError, which ends the process.
    A bug ends it with its traceback. STOP ends it as a signal ends a run: after the step, with a checkpoint.
    """
    start_worker()
    try:
        with interruptible((STOP,)):
            _work(connection, packed, threads, jobs)
    except (EOFError, Interrupted):
        pass
    except BenchError as cause:
        connection.send(("refused", (cause,)))


def _work(connection: Connection, packed: bytes, threads: int, jobs: int) -> None:
    from bench.execution.local import TAKEN_SECONDS
    from bench.execution.packing import unpack

    run = unpack(packed)(threads=threads, jobs=jobs)
    connection.send(("ready", ()))
    while True:
        trial = run.trials[connection.recv()]
        try:
            connection.send(("done", (run.attempt(trial, _Told(connection)),)))
        except TakenError:
            time.sleep(TAKEN_SECONDS)  # here, so that the parent need not know when to ask again
            connection.send(("taken", ()))


def serve(connection: Connection, place: Place) -> None:
    """Run the jobs that come as plain values, until the connection closes or one fails.

    Sends each call of a Listener, and "done" with how a job ended. A bug ends the process with its traceback. STOP ends it as it
    ends `work`.
    """
    start_worker()
    try:
        with interruptible((STOP,)):
            from bench.execution.jobs import job_of, work

            while True:
                ended = work(job_of(connection.recv()), place, _Told(connection))
                connection.send(("done", (ended,)))
                if ended.outcome == "failed":
                    return
    except (EOFError, Interrupted):
        pass


class _Told:
    """A listener that tells the parent what it hears."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        self._tell("planned", asked, due, total_steps)

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        self._tell("began", label, total_steps, done_steps)

    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None:
        self._tell("evaluated", label, row, total_steps)

    def ended(self, label: str, record: TrialRecord | None) -> None:
        self._tell("ended", label, record)

    def _tell(self, name: str, *told: object) -> None:
        try:
            self._connection.send((name, told))
        except OSError:  # the parent is gone; as an exception, it would count as the trial's failure
            os._exit(1)
