"""How training steps reach the device: operator by operator, or recorded once as a CUDA graph and replayed by one launch each.

A small network's step on a GPU is several hundred kernels, and starting them takes longer than running them. A CUDA graph starts
all of them at once: https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from bench.errors import DeviceError, StrategyError, TrialError

# Operator by operator, or as a CUDA graph.
StepMode = Literal["eager", "graph"]
StepChoice = Literal["auto", "eager", "graph"]
STEP_MODES: tuple[StepMode, ...] = get_args(StepMode)

# (inputs, labels, indices) of a batch, on the device. Returns nothing: what a step finds out, it adds up on the device.
Step = Callable[[Tensor, Tensor, Tensor], None]


class Recorder(Protocol):
    """Records what an action does on the device."""

    def __call__(self, action: Callable[[], None]) -> Callable[[], None]:
        """Return what does the same again, reading and writing the same memory. Whether the action itself is run is open."""
        ...


class CudaRecorder:
    """Records CUDA graphs, which share one pool of memory: they must be replayed one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, action: Callable[[], None]) -> Callable[[], None]:
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(self._device)
        with torch.cuda.device(self._device):
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # libraries allocate on the first call on another stream
                action()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph, pool=self._pool):
                action()
        return graph.replay


class RecordedStep:
    """A step that is recorded when it is built. Each batch is copied to where the recording reads."""

    def __init__(self, step: Step, batch: Sequence[Tensor], record: Recorder) -> None:
        """batch: (inputs, labels, indices) of any values; those to come must have the same shapes.

        Raises TrialError if the step cannot be recorded, as with control flow that depends on values.
        """
        inputs, labels, indices = self._buffers = [each.clone() for each in batch]
        try:
            self._replay = record(lambda: step(inputs, labels, indices))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, StrategyError) as cause:  # it has run before, so recording is what is to blame
            reason = (str(cause).splitlines() or ["no reason given"])[0]
            raise TrialError(
                f"a step cannot be recorded as a CUDA graph ({reason}), expected a model and a strategy that never wait for the "
                "device. Run it with --step eager."
            ) from cause

    def __call__(self, inputs: Tensor, labels: Tensor, indices: Tensor) -> None:
        for buffer, given in zip(self._buffers, (inputs, labels, indices), strict=True):
            buffer.copy_(given)
        self._replay()


def choose_step(asked: StepChoice, device: torch.device) -> StepMode:
    """Return how steps run for "auto" (as a graph on a GPU), "eager" or "graph". Raises DeviceError."""
    if asked == "auto":
        return "graph" if device.type == "cuda" else "eager"
    if asked not in STEP_MODES:
        raise DeviceError(f"--step {asked!r}: unknown, expected auto, {' or '.join(STEP_MODES)}. Choose one of these.")
    if asked == "graph" and device.type != "cuda":
        raise DeviceError(
            f"--step graph: the device is {device}, expected a GPU, since graphs are CUDA's. "
            "Choose --step eager, or --device cuda."
        )
    return asked


def recorder_for(mode: StepMode, device: torch.device) -> Recorder | None:
    """Return what records steps in this mode; None if they run operator by operator."""
    return CudaRecorder(device) if mode == "graph" else None
