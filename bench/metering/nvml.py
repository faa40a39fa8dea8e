"""One GPU, queried through NVML. Every query is answered, or fails with a reason that a record can hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

_Answer = TypeVar("_Answer")

# Bits of NVML's clock event reasons that slow a busy GPU down. Idle (1) and the user's own clock settings (2) do not count.
_SLOWED_BY = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
}


class UnmeasuredError(Exception):
    """A quantity that cannot be measured here; the message briefly says why."""


@dataclass(frozen=True)
class GpuFacts:
    """What does not change during a trial. Clocks in MHz, power in watts; None if the driver does not report it."""

    name: str
    driver: str
    max_sm_clock_mhz: int | None
    max_memory_clock_mhz: int | None
    power_limit_watts: float | None
    mig: bool


@dataclass(frozen=True)
class GpuSample:
    """What the GPU is doing at one moment. None if the driver does not report it.

    utilization: share of the last sampling period in which any kernel ran. slowed_by: why clocks are reduced.
    """

    utilization: float | None
    sm_clock_mhz: int | None
    temperature_celsius: int | None
    power_watts: float | None
    slowed_by: tuple[str, ...] | None


class Gpu:
    """One GPU. Created by `open_gpu`."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def facts(self) -> GpuFacts:
        """Return the fixed properties. Raises UnmeasuredError if the name or the driver's version cannot be read."""
        limit = _optional(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(self._handle))
        return GpuFacts(
            name=_ask("the GPU's name", lambda: _text(pynvml.nvmlDeviceGetName(self._handle))),
            driver=_ask("the driver's version", lambda: _text(pynvml.nvmlSystemGetDriverVersion())),
            max_sm_clock_mhz=_optional(lambda: pynvml.nvmlDeviceGetMaxClockInfo(self._handle, pynvml.NVML_CLOCK_SM)),
            max_memory_clock_mhz=_optional(
                lambda: pynvml.nvmlDeviceGetMaxClockInfo(self._handle, pynvml.NVML_CLOCK_MEM)
            ),
            power_limit_watts=None if limit is None else limit / 1000,
            mig=self.sliced(),
        )

    def sliced(self) -> bool:
        """Return whether the GPU is split into MIG slices: its counters then cover all of them."""
        mode = _optional(lambda: pynvml.nvmlDeviceGetMigMode(self._handle))
        return mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE

    def total_joules(self) -> float:
        """Return the energy used since the driver was loaded. Raises UnmeasuredError."""
        return _ask("energy", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000

    def power_watts(self) -> float:
        """Return the power drawn now: instantaneous if the driver reports it, else its average. Raises UnmeasuredError."""
        instant = _optional(lambda: _field(self._handle, pynvml.NVML_FI_DEV_POWER_INSTANT))
        milliwatts = (
            instant if instant is not None else _ask("power", lambda: pynvml.nvmlDeviceGetPowerUsage(self._handle))
        )
        return milliwatts / 1000

    def foreign_processes(self) -> int:
        """Return how many other processes compute on the GPU. Raises UnmeasuredError.

        In a container our own process may be listed under a PID that we do not know; one process with an unknown PID is then
        assumed to be ours.
        """
        listed = _ask("processes", lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        numbers = {process.pid for process in listed}
        return len(numbers - {os.getpid()}) if os.getpid() in numbers else max(0, len(numbers) - 1)

    def sample(self) -> GpuSample:
        """Return what the GPU is doing now."""
        utilization = _optional(lambda: int(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu))
        reasons = _optional(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))
        if reasons is None:  # its name before driver 535
            reasons = _optional(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle))
        try:
            power = self.power_watts()
        except UnmeasuredError:
            power = None
        return GpuSample(
            utilization=None if utilization is None else utilization / 100,
            sm_clock_mhz=_optional(lambda: pynvml.nvmlDeviceGetClockInfo(self._handle, pynvml.NVML_CLOCK_SM)),
            temperature_celsius=_optional(
                lambda: pynvml.nvmlDeviceGetTemperature(self._handle, pynvml.NVML_TEMPERATURE_GPU)
            ),
            power_watts=power,
            slowed_by=None if reasons is None else tuple(name for bit, name in _SLOWED_BY.items() if reasons & bit),
        )


@contextmanager
def open_gpu(uuid: str) -> Iterator[Gpu]:
    """Yield the GPU with a UUID as CUDA names it, with or without the prefix "GPU-". Raises UnmeasuredError.

    By UUID, not by number: CUDA_VISIBLE_DEVICES renumbers CUDA's devices, but not NVML's.
    """
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    _ask("any GPU", pynvml.nvmlInit)
    try:
        slice_ = _optional(lambda: pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{bare}".encode()))
        if slice_ is not None:
            raise UnmeasuredError("a MIG slice has no energy counter of its own")
        yield Gpu(_ask("this GPU", lambda: pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{bare}".encode())))
    finally:
        _optional(pynvml.nvmlShutdown)


def _ask(what: str, question: Callable[[], _Answer]) -> _Answer:
    try:
        return question()
    except pynvml.NVMLError as cause:
        raise UnmeasuredError(f"NVML does not report {what}: {cause}") from cause


def _optional(question: Callable[[], _Answer]) -> _Answer | None:
    try:
        return question()
    except pynvml.NVMLError:
        return None


def _field(handle: Any, field: int) -> int:
    """Return one NVML field value, raising its own error where it has one."""
    value = pynvml.nvmlDeviceGetFieldValues(handle, [field])[0]
    if value.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(value.nvmlReturn)
    return int(value.value.uiVal)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
