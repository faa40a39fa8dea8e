"""A process that runs the jobs which its parent sends. Imports torch only once it can be interrupted quietly."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from bench.data.files.decode import start_worker
from bench.interrupts import Interrupted, interruptible

# The parent sends it. The signals that end the parent may reach all its group; a worker ignores those.
STOP = signal.SIGUSR1

if TYPE_CHECKING:
    from bench.records.schema import EvalRow, TrialRecord


def serve(connection: Connection, place: dict[str, Any]) -> None:
    """Run the jobs that come as plain values, until the connection closes or one fails.

    place: the fields of a Place. Sends (name, arguments): "ready" once, each call of a Listener, and "done" with how a job ended.
    A bug ends the process with its traceback. STOP ends it as a signal ends a run: after the step, with a checkpoint.
    """
    start_worker()
    try:
        with interruptible((STOP,)):
            from bench.execution.jobs import Place, job_of, work

            here = Place(**place)
            connection.send(("ready", ()))
            while True:
                ended = work(job_of(connection.recv()), here, _Told(connection))
                connection.send(("done", (ended,)))
                if ended.outcome == "failed":
                    return
    except (EOFError, BrokenPipeError, Interrupted):  # the parent is gone, or asks to stop
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
