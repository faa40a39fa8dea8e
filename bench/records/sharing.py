"""Whether a trial had its device and machine to itself: otherwise its seconds and joules are of more than the trial."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.records.schema import Provenance, Shared

# Of the time of the processors that a trial may use, what other processes may take: on a GPU, only a host without processors to
# spare slows it down.
BUSY_SHARE = 0.05
BUSY_HOST_SHARE = 0.5
# The system counts in hundredths of a second on each processor; in a short trial, less than this is noise.
LEAST_SECONDS = 0.5
_MARK = "; shared"


def shared_by(
    origin: Provenance, train_seconds: float, other_cpu_seconds: float | None, neighbours: int
) -> Shared | None:
    """Return with whom a trial shared what it ran on, or None if it was alone.

    other_cpu_seconds: of everything else while training, None if unknown. neighbours: other processes on its GPU.
    """
    on_cpu = origin.device_type == "cpu"
    busy = None
    if other_cpu_seconds is not None and train_seconds > 0:
        busy = other_cpu_seconds / (origin.cpus * train_seconds)
    was_busy = busy is not None and busy > (BUSY_SHARE if on_cpu else BUSY_HOST_SHARE)
    long_enough = (other_cpu_seconds or 0) > LEAST_SECONDS
    if (on_cpu and origin.jobs > 1) or neighbours or (was_busy and long_enough):
        from bench.records.schema import Shared  # loads pydantic: 0.1 s, and leaderboards do without

        return Shared(jobs=origin.jobs, busy_share=busy, neighbours=neighbours)
    return None


def marked(machine: str, shared: Shared | None) -> str:
    """Return a machine as text, as Provenance.machine has it, so that `comparable` sees that it was shared."""
    return machine + _MARK if shared else machine


def is_shared(machine: str) -> bool:
    """Return whether `marked` marked it."""
    return machine.endswith(_MARK)


def comparable(machines: Collection[str]) -> bool:
    """Return whether seconds and joules that were measured on these may be compared: on one kind, and shared with nobody."""
    return len(set(machines)) <= 1 and not any(map(is_shared, machines))
