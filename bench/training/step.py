"""How training steps reach the device: operator by operator, compiled, or recorded once as a CUDA graph and replayed.

A small network's step on a GPU is several hundred kernels, and starting them takes longer than running them. A CUDA graph starts
all of them at once: https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar, get_args

import torch
from torch import Tensor

from bench.errors import DeviceError, StrategyError, TrialError

# Kernel by kernel, or as a CUDA graph.
StepMode = Literal["eager", "graph"]
StepChoice = Literal["auto", "eager", "compiled", "graph", "graph+compiled"]
STEP_CHOICES: tuple[StepChoice, ...] = get_args(StepChoice)
# What torch.compile calls on the CPU, unless the variable CXX names another.
_COMPILER = "clang++" if sys.platform == "darwin" else "g++"

# What a step that cannot run can go without.
StepPart = Literal["graph", "compiled"]
Result = TypeVar("Result")


class StepError(TrialError):
    """A step that cannot be compiled or recorded. reason: why, as its cause said it."""

    def __init__(self, part: StepPart, reason: str, message: str) -> None:
        super().__init__(message)
        self.part: StepPart = part
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return StepError, (self.part, self.reason, str(self))


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

        Raises StepError if the step cannot be recorded, as with control flow that depends on values.
        """
        inputs, labels, indices = self._buffers = [each.clone() for each in batch]
        try:
            self._replay = record(lambda: step(inputs, labels, indices))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, StrategyError) as cause:  # it has run before, so recording is what is to blame
            reason = (str(cause).splitlines() or ["no reason given"])[0]
            raise StepError(
                "graph",
                reason,
                f"a step cannot be recorded as a CUDA graph ({reason}), expected a model and a strategy that never wait for the "
                "device. Run it with --step eager.",
            ) from cause

    def __call__(self, inputs: Tensor, labels: Tensor, indices: Tensor) -> None:
        for buffer, given in zip(self._buffers, (inputs, labels, indices), strict=True):
            buffer.copy_(given)
        self._replay()


@dataclass(frozen=True)
class StepWay:
    """How steps run: compiled by torch.compile or not, kernel by kernel or as a graph.

    automatic: whether --step was left to bench, so that what cannot run is left out. reason: what was left out, and why.
    """

    mode: StepMode
    compiled: bool = False
    automatic: bool = False
    reason: str | None = None

    @property
    def name(self) -> str:
        """Return what --step calls it."""
        parts = [part for part, has in (("graph", self.mode == "graph"), ("compiled", self.compiled)) if has]
        return "+".join(parts) or "eager"

    def without(self, part: StepPart, reason: str) -> StepWay:
        """Return the same without a part that cannot run."""
        said = f"no {'CUDA graph' if part == 'graph' else 'torch.compile'}: {reason}"
        reason = said if self.reason is None else f"{self.reason}; {said}"
        return replace(self, reason=reason, **({"mode": "eager"} if part == "graph" else {"compiled": False}))


def choose_step(
    asked: StepChoice, device: torch.device, compiled: bool | None = None, scenario_compiles: bool = False
) -> StepWay:
    """Return how steps run. asked: "auto" is a graph on a GPU, compiled if asked for, and otherwise as the scenario says.

    compiled: --compile or --no-compile; None: neither. Raises DeviceError for what cannot run here, unless it is only the
    scenario that wants to be compiled: without a compiler, "auto" then goes without.
    """
    if asked not in STEP_CHOICES:
        raise DeviceError(f"--step {asked!r}: unknown, expected one of {', '.join(STEP_CHOICES)}. Choose one of these.")
    if asked == "auto":
        way = StepWay(
            "graph" if device.type == "cuda" else "eager",
            scenario_compiles if compiled is None else compiled,
            automatic=True,
        )
    else:
        way = StepWay("graph" if "graph" in asked else "eager", "compiled" in asked)
        if compiled is not None and compiled != way.compiled:
            option, instead = ("--compile", "compiled") if compiled else ("--no-compile", way.mode)
            if compiled and way.mode == "graph":
                instead = "graph+compiled"
            raise DeviceError(
                f"--step {asked}: found together with {option}, expected {instead}. Leave one of them out."
            )
    if way.mode == "graph" and device.type != "cuda":
        instead = "compiled" if way.compiled else "eager"
        raise DeviceError(
            f"--step {asked}: the device is {device}, expected a GPU, since graphs are CUDA's. "
            f"Choose --step {instead}, or --device cuda."
        )
    if way.compiled and (lacking := lacking_compiler(device)):
        if way.automatic and compiled is None:
            return way.without("compiled", lacking)
        option = "--compile" if way.automatic else f"--step {asked}"
        instead = "auto" if way.automatic else way.mode
        raise DeviceError(f"{option}: {lacking}, which torch.compile needs. Install it, or choose --step {instead}.")
    return way


def settle(way: StepWay, attempt: Callable[[StepWay], Result]) -> Result:
    """Return what `attempt` returns for this way or, where --step was left to bench, for what is left of it that runs.

    Raises the attempt's StepError otherwise.
    """
    while True:
        try:
            return attempt(way)
        except StepError as cause:
            if not way.automatic:
                raise
            part, reason = cause.part, cause.reason  # without its traceback, which holds a whole learner
        way = way.without(part, reason)


def lacking_compiler(device: torch.device) -> str | None:
    """Return what torch.compile would miss on this device, or None."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "found no package triton"
    compiler = next(iter(shlex.split(os.environ.get("CXX", ""))), _COMPILER)
    return None if shutil.which(compiler) else f"found no C++ compiler {compiler}"


def is_compilers(cause: BaseException) -> bool:
    """Return whether an exception is torch.compile's, without importing its slow-loading modules."""
    module = sys.modules.get("torch._dynamo.exc")
    return module is not None and isinstance(cause, module.TorchDynamoException)


def recorder_for(mode: StepMode, device: torch.device) -> Recorder | None:
    """Return what records steps in this mode; None if they run kernel by kernel."""
    return CudaRecorder(device) if mode == "graph" else None
