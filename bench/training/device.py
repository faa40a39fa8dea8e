"""The device that a run trains on."""

from __future__ import annotations

import logging
import resource
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import torch

from bench.errors import DeviceError
from bench.processors import usable_processors

_LOG = logging.getLogger(__name__)


def choose_device(asked: str) -> torch.device:
    """Return the device for "auto" (CUDA if available), "cpu", "cuda" or "cuda:N". Raises DeviceError."""
    if asked == "auto":
        there, reason = _count_gpus()
        if reason:
            _LOG.warning(
                "bench: CUDA does not start (%s): the CPU is used. Name it with --device cpu, or fix the driver", reason
            )
        return torch.device("cuda:0" if there else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise DeviceError(f"--device {asked!r}: unknown, expected auto, cpu, cuda or cuda:N. Choose one of these.")
    if device.type == "cpu":
        return device
    count, reason = _count_gpus()
    if (device.index or 0) >= count:
        why = f" ({reason})" if reason else ""
        raise DeviceError(f"--device {asked}: {count} CUDA devices found{why}. Choose cpu, or fix the driver.")
    return torch.device("cuda", device.index or 0)


def _count_gpus() -> tuple[int, str | None]:
    """Return how many GPUs CUDA finds, and what it says if it does not start, as with a driver that does not fit its library."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    said = " ".join(str(told[0].message).split()) if told else None
    return count, None if count else said and said.partition(" (Triggered internally")[0].rstrip(".")


def check_jobs(jobs: int, device: torch.device) -> None:
    """Raise DeviceError if several trials are to share a GPU: the seconds and joules of each would be those of all."""
    there = torch.cuda.device_count() if device.type == "cuda" else jobs
    if jobs > max(1, there):
        raise DeviceError(
            f"--jobs {jobs}: {there} CUDA devices found, expected one for each job, since trials that share a GPU falsify each "
            f"other's seconds. Use --jobs {max(1, there)}, or --device cpu."
        )


def device_name(device: torch.device) -> str:
    """Return "cpu", or the GPU's model name."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def fix_threads(count: int | None) -> None:
    """Use `count` threads on the CPU; None for as many as PyTorch's default, but no more than this process may use.

    Which cores they run on is up to the system, or to whoever starts the process (taskset).
    """
    torch.set_num_threads(count or min(torch.get_num_threads(), usable_processors()))


def begin_peak_memory(device: torch.device) -> None:
    """Forget the most memory that was allocated on a GPU so far or, on Linux, this process's largest size.

    Source: clear_refs in proc(5).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or not allowed: the largest size so far stays
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Return the most bytes allocated on a GPU since begin_peak_memory; on the CPU, this process's largest size.

    On Linux since begin_peak_memory, elsewhere since the process began.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


def gpu_uuid(device: torch.device) -> str | None:
    """Return the UUID that identifies the GPU in NVML, or None for the CPU."""
    return None if device.type == "cpu" else str(torch.cuda.get_device_properties(device).uuid)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context for a precision, "fp32" or "bf16"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
