"""What the CPUs spent: this process's seconds, other processes' seconds, and package energy. Each is a PhaseMeter."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the clock needs torch, meters do not
    from bench.metering.clock import Phase

_POWERCAP = Path("/sys/class/powercap")
# More than a socket draws: a counter that could fill up within a segment at this power may have wrapped unnoticed.
_MOST_WATTS = 1000.0


class CpuSeconds:
    """CPU seconds by phase: this process's own, over all its threads, and everything else's on the CPUs that it may use.

    others: None if the system does not report them. Linux does; they include time stolen by a virtual machine's host.
    """

    name = "cpu_seconds"

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._own: dict[str, float] = {}
        self._others: dict[str, float] | None = {}
        self._begun: tuple[float, float | None] = (0.0, None)

    def own(self, phase: Phase) -> float:
        """Return this process's CPU seconds in a phase."""
        return self._own.get(phase, 0.0)

    def others(self, phase: Phase) -> float | None:
        """Return everything else's CPU seconds in a phase, or None if they are unknown."""
        return None if self._others is None else self._others.get(phase, 0.0)

    def begin(self, phase: Phase) -> None:
        self._begun = (time.process_time(), self._busy())

    def end(self, phase: Phase) -> None:
        (own_before, busy_before), busy = self._begun, self._busy()
        own = time.process_time() - own_before
        self._own[phase] = self.own(phase) + own
        if self._others is None or busy is None or busy_before is None:
            self._others = None
        else:
            # The system counts in hundredths of a second, so a quiet machine may come out below zero.
            self._others[phase] = self._others.get(phase, 0.0) + max(0.0, busy - busy_before - own)

    def state(self) -> dict[str, Any]:
        return {"own": dict(self._own), "others": None if self._others is None else dict(self._others)}

    def restore(self, state: dict[str, Any] | None) -> None:
        assert state is not None  # every trial has this meter
        self._own = _added(self._own, state["own"])
        earlier: dict[str, float] | None = state["others"]
        self._others = None if self._others is None or earlier is None else _added(self._others, earlier)

    def _busy(self) -> float | None:
        """Return how many seconds the CPUs that this process may use have been busy since the machine started."""
        own = {f"cpu{number}" for number in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
        total = 0
        try:
            for line in self._stat.read_text().splitlines():
                name, *fields = line.split()
                if name in own:
                    user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, fields[:8])
                    total += user + nice + system + irq + softirq + stolen
        except (OSError, ValueError):
            return None
        return total / os.sysconf("SC_CLK_TCK") if total else None


class PackageEnergy:
    """Joules of the CPU packages by phase, for all processes together, from RAPL's counters.

    After a reading fails the meter is void: every total is None, and `reason` says why.
    """

    name = "cpu_energy"

    def __init__(self, powercap: Path = _POWERCAP, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._joules: dict[str, float] = {}
        self._begun: tuple[float, list[int]] | None = None
        self.reason: str | None = None
        try:
            self._zones = _packages(powercap)
            self._full = [int((zone / "max_energy_range_uj").read_text()) for zone in self._zones]
            self._read()
        except OSError as cause:
            self._void(cause)
        if self.reason is None and not self._zones:
            self.reason = "this machine has no RAPL counter"

    def joules(self, phase: Phase) -> float | None:
        """Return a phase's total, or None if the meter is void."""
        return None if self.reason else self._joules.get(phase, 0.0)

    def begin(self, phase: Phase) -> None:
        self._begun = None
        if self.reason or phase not in ("train", "evaluate"):
            return
        try:
            self._begun = (self._now(), self._read())
        except OSError as cause:
            self._void(cause)

    def end(self, phase: Phase) -> None:
        if self.reason or self._begun is None:
            return
        moment, before = self._begun
        try:
            after = self._read()
        except OSError as cause:
            self._void(cause)
            return
        if (self._now() - moment) * _MOST_WATTS > min(self._full) / 1e6:
            self.reason = "a segment was so long that RAPL's counter may have wrapped more than once"
            return
        # A full counter starts again from zero.
        spent = [(late - early) % (full + 1) for early, late, full in zip(before, after, self._full, strict=True)]
        self._joules[phase] = self._joules.get(phase, 0.0) + sum(spent) / 1e6

    def state(self) -> dict[str, Any]:
        return {"joules": dict(self._joules), "reason": self.reason}

    def restore(self, state: dict[str, Any] | None) -> None:
        assert state is not None  # every trial has this meter
        self._joules = _added(self._joules, state["joules"])
        self.reason = state["reason"] or self.reason

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]

    def _void(self, cause: OSError) -> None:
        self.reason = self.reason or f"RAPL's counter cannot be read: {cause.strerror}"


def _packages(powercap: Path) -> list[Path]:
    """Return the zones of whole CPU packages; zones inside them (cores, memory) would be counted twice."""
    zones = sorted(powercap.glob("intel-rapl:*"))
    return [zone for zone in zones if (zone / "name").read_text().startswith("package")]


def _added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {phase: one.get(phase, 0.0) + other.get(phase, 0.0) for phase in {*one, *other}}
