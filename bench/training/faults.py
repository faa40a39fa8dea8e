"""What ends a trial but is no bug: a device that has too little memory, or that does not answer any more."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator

import torch

from bench.errors import BenchError, DeadDeviceError, TrialError

# How allocators say it that raise a plain RuntimeError: PyTorch's on the CPU, and CUDA itself.
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|CUDA error: out of memory", re.IGNORECASE)
# Errors after which CUDA refuses everything until the process ends; Xid is what the driver calls them.
_DEAD = re.compile(
    r"illegal memory access|device-side assert|unspecified launch failure|misaligned address|illegal instruction"
    r"|invalid program counter|hardware stack error|uncorrectable|launch timed out|\bXid\b|GPU (is|has been) lost",
    re.IGNORECASE,
)


def explained(cause: BaseException, batch_size: int) -> BenchError | None:
    """Return an error that says what happened and what to do, or None for any other cause.

    TrialError: the trial ran out of memory; others may still run. DeadDeviceError: nothing can run on the device any more.
    """
    for each in _chain(cause):
        if isinstance(each, DeadDeviceError):
            return each
        said = (str(each).splitlines() or [""])[0]
        if isinstance(each, RuntimeError) and _DEAD.search(str(each)):
            return DeadDeviceError(
                f"the device does not work any more ({said}): the run ends here. Look into the system's log for Xid messages, "
                "then run the same command again, which resumes."
            )
        if isinstance(each, MemoryError | torch.OutOfMemoryError) or (
            isinstance(each, RuntimeError) and _NO_MEMORY.search(str(each))
        ):
            return TrialError(
                f"out of memory at batch size {batch_size} ({said[:200] or type(each).__name__}). Lower training.batch_size in "
                "the scenario, use --images streamed, or free memory that other programs hold."
            )
    return None


def release_memory(device: torch.device) -> None:
    """Give back what a trial held, whose parts refer to each other, so that Python alone would find them much later.

    After a failure, call it once nothing refers to the exception, whose frames hold tensors.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _chain(cause: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from."""
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
