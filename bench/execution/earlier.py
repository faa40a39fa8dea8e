"""What finished trials took, to expect it of those that are due: memory and joules, which nobody can work out beforehand."""

from __future__ import annotations

from bench.records.schema import TrialRecord


class Earlier:
    """Finished trials of one scenario on one kind of device.

    memory_bytes: the most that any of them took; None if none says.
    """

    def __init__(self, device_name: str) -> None:
        """device_name: the GPU's model name, or the processor's."""
        self._device_name = device_name
        self.memory_bytes: int | None = None
        self._joules = 0.0
        self._flops = 0

    def note(self, record: TrialRecord | None) -> None:
        """Take a record into account, if it is of a finished trial on such a device."""
        if record is None or record.summary is None:
            return
        summary, origin = record.summary, record.provenance
        on_gpu = origin.device_type == "cuda"
        if (origin.device if on_gpu else origin.cpu) != self._device_name:
            return
        if summary.peak_memory_bytes is not None:
            self.memory_bytes = max(self.memory_bytes or 0, summary.peak_memory_bytes)
        joules = summary.gpu_joules if on_gpu else summary.cpu_joules
        if joules is not None and summary.shared is None:
            self._joules += joules
            self._flops += summary.train_flops + summary.aux_flops

    def joules(self, flops: int) -> float | None:
        """Return what training takes, of the GPU or the CPU's packages, in proportion to the FLOPs; None if unknown."""
        return flops * self._joules / self._flops if self._flops else None
