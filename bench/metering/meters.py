"""All of a trial's meters except the clock and the ledger, behind one interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.metering.cpu import CpuSeconds, PackageEnergy
from bench.metering.energy import GpuEnergy, GpuWatch
from bench.metering.nvml import Gpu, UnmeasuredError, open_gpu

if TYPE_CHECKING:  # the clock needs torch, meters do not
    from bench.metering.clock import PhaseMeter


class Meters:
    """The meters read together with the clock, which gets `all` of them; a GPU's only if there is one to query.

    gpu: None if there is none, with the reason in `gpu_reason`.
    """

    def __init__(self, gpu: Gpu | None, gpu_reason: str | None) -> None:
        self.cpu = CpuSeconds()
        self.packages = PackageEnergy()
        self.energy = GpuEnergy(gpu) if gpu else None
        self.watch = GpuWatch(gpu) if gpu else None
        if self.energy:
            self.energy.calibrate()
        self._gpu = gpu
        self._gpu_reason = gpu_reason

    @property
    def all(self) -> list[PhaseMeter]:
        """Return every meter, in reading order."""
        return [meter for meter in (self.cpu, self.packages, self.energy, self.watch) if meter is not None]

    def totals(self) -> dict[str, float | None]:
        """Return the totals for an evaluation's line."""
        return {
            "gpu_joules": self.energy.joules("train") if self.energy else None,
            "evaluate_gpu_joules": self.energy.joules("evaluate") if self.energy else None,
            "cpu_seconds": self.cpu.own("train"),
            "cpu_joules": self.packages.joules("train"),
        }

    def known(self) -> dict[str, Any]:
        """Return the totals, why a GPU's joules are None, and what everything else on the CPUs spent while training."""
        return {
            **self.totals(),
            "gpu_joules_reason": self.energy.reason if self.energy else self._gpu_reason,
            "other_cpu_seconds": self.cpu.others("train"),
        }

    def summary(self) -> dict[str, Any]:
        """Return the fields for a finished trial's summary: the totals, and how they were measured."""
        energy = self.energy
        return {
            **self.known(),
            "gpu_joules_source": energy.source if energy else None,
            "gpu_short_share": energy.short_share() if energy else None,
            "gpu_power": energy.power() if energy else None,
            "cpu_joules_reason": self.packages.reason,
            "gpu_use": self.watch.summary() if self.watch else None,
        }

    @property
    def neighbours(self) -> int:
        """How many other processes were seen on the GPU."""
        return self.energy.neighbours if self.energy else 0

    def gpu_facts(self) -> dict[str, Any] | None:
        """Return the GPU's fixed properties, or None if there is no GPU to query."""
        try:
            return asdict(self._gpu.facts()) if self._gpu else None
        except UnmeasuredError:
            return None

    def close(self) -> None:
        """Stop every thread."""
        for meter in (self.energy, self.watch):
            if meter is not None:
                meter.close()


@contextmanager
def open_meters(gpu_uuid: str | None) -> Iterator[Meters]:
    """Yield the meters of a trial on the GPU with this UUID, or on the CPU for None, and stop them at the end.

    A GPU that cannot be queried is not an error: its joules are None, with the reason.
    """
    with ExitStack() as stack:
        gpu, reason = None, "a CPU trial"
        if gpu_uuid is not None:
            try:
                gpu, reason = stack.enter_context(open_gpu(gpu_uuid)), None
            except UnmeasuredError as cause:
                reason = str(cause)
        meters = Meters(gpu, reason)
        stack.callback(meters.close)
        yield meters
