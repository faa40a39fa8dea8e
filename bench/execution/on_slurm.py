"""The executor `slurm`: job arrays by submitit. A trial whose time ends saves a checkpoint, is queued again, and goes on."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.errors import DeviceError
from bench.execution.jobs import Ended, Job, Place, work_elsewhere
from bench.execution.listener import Listener
from bench.execution.told import tell_ended
from bench.extras import extra_package
from bench.interrupts import SIGNALS, Interrupted, interruptible

# What --with takes, and how submitit calls it.
OPTIONS: dict[str, tuple[type, str]] = {
    "cluster": (str, ""),
    "time": (int, "timeout_min"),
    "timeouts": (int, ""),
    "cpus": (int, "cpus_per_task"),
    "gpus": (int, "gpus_per_node"),
    "memory_gb": (float, "mem_gb"),
    "partition": (str, "slurm_partition"),
    "account": (str, "slurm_account"),
    "qos": (str, "slurm_qos"),
    "constraint": (str, "slurm_constraint"),
}
CLUSTERS = ("slurm", "local", "debug")
_MINUTES, _TIMEOUTS = 60, 10
_LARGEST_ARRAY = 1000  # Slurm's own limit, MaxArraySize, is 1001 unless a cluster has raised it
_POLL_SECONDS, _POLL_SECONDS_EACH = 0.5, 0.002  # a look at a job is a look at the file system
# Before a job's time ends, for its last step and its checkpoint.
_SIGNAL_SECONDS = 120
# Without accounting, sacct knows of no end, and a job that was killed without a word leaves no result. squeue lists a job until
# it has ended, also while it is queued again; one that is not listed any more has so long until its result must be seen here.
_LOOK_SECONDS, _GONE_SECONDS = 30.0, 120.0
_LOG_LEVEL = "SUBMITIT_LOG_LEVEL"


def _submitit() -> Any:
    """Import submitit, and keep it from setting up logging, which closes every handler that this process has."""
    before = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = "NOCONFIG"
    try:
        return extra_package(("submitit",), "slurm", "--executor slurm")
    finally:
        os.environ.pop(_LOG_LEVEL)
        if before is not None:  # tasks inherit it
            os.environ[_LOG_LEVEL] = before


class Slurm:
    """Submits jobs as arrays of tasks, each with a process of its own; Slurm decides when and where they run."""

    room = _LARGEST_ARRAY

    def __init__(self, place: Place, count: int | None, options: Mapping[str, Any], listener: Listener) -> None:
        """count: how many tasks run at once at most; None for as many as Slurm allows. options: as OPTIONS has them.

        cluster: "slurm", or submitit's own stand-ins for one, "local" in processes here and "debug" in this one.
        Raises BenchError if submitit or Slurm is not there.
        """
        submitit = _submitit()
        cluster = options.get("cluster", "slurm")
        if cluster not in CLUSTERS:
            raise DeviceError(f"--with cluster={cluster}: expected one of {', '.join(CLUSTERS)}. Change it.")
        if cluster == "slurm" and not all(map(shutil.which, ("sbatch", "srun", "sacct"))):
            raise DeviceError(
                "--executor slurm: no sbatch, srun and sacct found here, expected a machine that submits to a Slurm cluster. Run "
                "it there, or use --executor local."
            )
        self._place, self._listener = place, listener
        self._cluster = cluster
        folder = Path(place.cache) / "slurm"
        timeouts = {} if cluster == "debug" else {f"{cluster}_max_num_timeout": options.get("timeouts", _TIMEOUTS)}
        self._executor = submitit.AutoExecutor(folder=str(folder / "%j"), cluster=cluster, **timeouts)
        asked = {name: options[key] for key, (_, name) in OPTIONS.items() if key in options and name}
        if place.device.startswith("cuda"):
            asked.setdefault("gpus_per_node", 1)
        self._executor.update_parameters(
            **{
                "name": "bench",
                "timeout_min": _MINUTES,
                "cpus_per_task": place.threads or 1,
                "slurm_signal_delay_s": _SIGNAL_SECONDS,
                **({"slurm_array_parallelism": count} if count else {}),
                **asked,
            }
        )
        self._failures = submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError
        self._running: list[tuple[Job, Any]] = []
        self._looked, self._gone = -math.inf, dict[str, float]()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Raises DeviceError if Slurm refuses them."""
        try:
            with self._executor.batch():
                found = [self._executor.submit(Task(job.plain(), asdict(self._place))) for job in jobs]
        except self._failures as cause:
            said = " ".join(str(cause).split())
            said = said[said.find("sbatch: error:") :] if "sbatch: error:" in said else said
            raise DeviceError(f"--executor slurm: Slurm refused the jobs: {said[:300]}. Change --with.") from cause
        self._running += list(zip(jobs, found, strict=True))

    def poll(self) -> list[Ended]:
        if self._cluster != "debug":
            time.sleep(max(_POLL_SECONDS, _POLL_SECONDS_EACH * len(self._running)))
        ended, running = [], []
        lost = self._lost()
        for job, submitted in self._running:
            if submitted.done():
                ended.append(self._end_of(job, submitted))
            elif submitted.job_id in lost:
                reason = f"Slurm ended it without a word, and it left no result for {_GONE_SECONDS:g} s"
                ended.append(Ended(job.id, "failed", f"{reason}; see {submitted.paths.stderr}"))
            else:
                running.append((job, submitted))
        self._running = running
        for job_end in ended:
            tell_ended(self._listener, job_end, self._place)
        return ended

    def _lost(self) -> set[str]:
        """Return Slurm's numbers of the jobs that have not been listed for too long."""
        if self._cluster != "slurm" or not self._running or time.monotonic() - self._looked < _LOOK_SECONDS:
            return set()
        self._looked = time.monotonic()
        words = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
        try:
            listed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_LOOK_SECONDS).stdout
        except (OSError, subprocess.SubprocessError):  # nobody there to ask: that says nothing of a job
            return set()
        missing = {each.job_id for _, each in self._running} - set(listed.split())
        self._gone = {id: self._gone.get(id, self._looked) for id in missing}
        return {id for id, since in self._gone.items() if self._looked - since >= _GONE_SECONDS}

    def _end_of(self, job: Job, submitted: Any) -> Ended:
        try:
            return Ended(**submitted.result())
        except self._failures as cause:
            lines = [line.strip() for line in str(cause).splitlines() if line.strip(" -")]
            reason = next((line for line in reversed(lines) if "Error" in line or "Not requeued" in line), lines[0])
            return Ended(job.id, "failed", f"{reason}; see {submitted.paths.stderr}")

    def cancel(self) -> None:
        for _, submitted in self._running:
            with suppress(Exception):  # it may have ended just now
                submitted.cancel(check=False)
        self._running = []


class Task:
    """What runs on the cluster: one job, of plain values. It is pickled by name."""

    def __init__(self, job: dict[str, Any], place: dict[str, Any]) -> None:
        self.job = job
        self.place = place

    def __call__(self) -> dict[str, Any]:
        """Run the job. A signal ends its step and saves a checkpoint; submitit's handler is called then, and not in the step."""
        numbers = [number for number in (signal.SIGUSR1, signal.SIGUSR2) if callable(signal.getsignal(number))]
        handlers = {number: signal.getsignal(number) for number in numbers}
        try:
            with interruptible((*SIGNALS, *numbers)):
                return work_elsewhere(self.job, self.place)
        except Interrupted as cause:
            handler = handlers.get(signal.Signals(cause.number))
            if callable(handler):
                try:
                    handler(cause.number, None)  # queues it again, and ends this process
                except subprocess.CalledProcessError as ended:
                    if ended.returncode != -signal.SIGTERM:
                        raise
                    # Slurm ends all of a job that it has queued again, sometimes before scontrol has said that it did.
                    raise SystemExit(128 + signal.SIGTERM) from ended
            raise

    def checkpoint(self) -> Any:
        """Return what submitit submits again."""
        submitit = _submitit()
        return submitit.helpers.DelayedSubmission(self)
