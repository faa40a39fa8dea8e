"""One trial on several devices: each rank, a process that torchrun started, trains on its share of every batch.

Rank 0 has the trial: its record, locks, checkpoints, progress. The others have a learner each, and do with it what rank 0 does
with its own (see bench.execution.follow). All learners hold the same weights, and draw the same batches and augmentation.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from traceback import clear_frames
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm

from bench.errors import BenchError, DeviceError, LostRankError, RanksError, StrategyError, TrialError
from bench.strategies.objective import CrossEntropy
from bench.strategies.strategy import Entrant
from bench.torchrun import Launch

Backend = Literal["gloo", "nccl"]
BatchNorm = Literal["local", "synchronized"]

# How long ranks wait for each other within a step, and for rank 0 to begin a trial, which may wait for another run's.
_STEP_WAIT, _TRIAL_WAIT = timedelta(minutes=30), timedelta(days=7)
_REASON = "bench: why a rank ended"

Order = tuple[str, tuple[Any, ...]]
P = ParamSpec("P")
R = TypeVar("R")


class World:
    """All ranks of a run: here, this process alone, for which nothing of this costs anything.

    rank: this process's number. size: how many there are. backend: what adds up gradients; None for one rank.
    first_here: whether no rank on the same machine has a lower number.
    """

    rank = 0
    size = 1
    backend: Backend | None = None
    first_here = True
    _within = False  # whether this rank is in the midst of what all do, or failed there

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks: bit for bit the same on all."""

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of rank 0."""

    def gather(self, value: Any) -> list[Any]:
        """Return the value that each rank gives, by rank."""
        return [value]

    def any(self, flag: bool) -> bool:
        """Return whether any rank gives True."""
        return flag

    def tell(self, order: Order | None) -> None:
        """Tell the other ranks what to do; None: to end."""

    def use(self, device: torch.device) -> None:
        """Add up what lies on this device. Every rank must call it, with a device of one kind."""

    def share(self, count: int) -> slice:
        """Return this rank's share of `count` things. Shares differ by one at most; none is empty if there is one for each."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def collect(self, tensors: Sequence[Tensor]) -> None:
        """Add up on rank 0 what each rank has added up for itself, and begin anew elsewhere."""
        self.sum(tensors)
        self.keep_on_first(tensors)

    def keep_on_first(self, tensors: Sequence[Tensor]) -> None:
        """Set to zero, except on rank 0, what is added up over the ranks."""
        if self.rank:
            for each in tensors:
                each.zero_()

    def doing(self, name: str, *arguments: Any) -> Context[None]:
        """Return a context for what all ranks do: rank 0 tells the others to. After an exception inside, none can go on."""
        return nullcontext() if self.size == 1 else self._doing(name, *arguments)

    @contextmanager
    def _doing(self, name: str, *arguments: Any) -> Iterator[None]:
        if self._within:
            raise LostRankError(
                "an earlier trial failed on several ranks, which ended there. Run the same command again."
            )
        if self.rank == 0:
            self.tell((name, _on_cpu(arguments)))
        self._within = True
        yield
        self._within = False

    @property
    def broken(self) -> bool:
        """Whether this rank failed in the midst of what all do, so that the others wait for it there."""
        return self._within

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Within, this is rank 0 at work; at the end, whatever it is, the others are told that there is no more."""
        try:
            yield
        finally:
            if not self._within:
                with suppress(LostRankError):  # one that has ended need not be told
                    self.tell(None)

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Within, each rank gets ready by itself. If any of them cannot, all raise: rank 0 its own reason, or another's."""
        found: BenchError | None = None
        try:
            yield
        except BenchError as cause:
            found = cause
        said = self.gather(None if found is None else str(found))
        if found is not None:
            raise found
        first = next((rank for rank, each in enumerate(said) if each is not None), None)
        if first is not None:
            raise RanksError(f"rank {first}: {said[first]}")

    def require_same(self, what: Mapping[str, object]) -> None:
        """Raise RanksError if ranks differ in what must be the same for all: its name, and the value here."""
        found = self.gather(dict(what))
        for name, value in found[0].items():
            other = next((rank for rank, each in enumerate(found) if each[name] != value), None)
            if other is not None:
                raise RanksError(
                    f"{name}: rank {other} has {found[other][name]}, expected {value}, as rank 0 has. Give every machine the "
                    "same files and packages."
                )

    def require_same_weights(self, model: nn.Module, step: int) -> None:
        """Raise TrialError if the ranks' weights or buffers differ in any bit."""
        if self.size == 1:
            return
        bits = [_bits(each) for each in model.state_dict().values()]
        found = self.gather(torch.stack(bits).tolist())
        other = next((rank for rank, each in enumerate(found) if each != found[0]), None)
        if other is not None:
            raise TrialError(
                f"rank {other} has other weights than rank 0 after step {step}, expected the same to the bit. Use ranks of one "
                "kind of device, or one."
            )

    def add_up(self, phase: Trained, share: float, statistics: bool) -> None:
        """Turn gradients of this rank's part of the loss into the whole loss's, and let batch norm's statistics be the mean.

        share: of the batch, that this rank has. statistics: whether they are of each rank's share; otherwise they are the same.
        """
        norms = [each for each in phase.trained.modules() if isinstance(each, _BatchNorm) and each.training]
        kept = [each for norm in norms for each in (norm.running_mean, norm.running_var) if each is not None]
        means = kept if statistics else []
        for each in means:
            each.mul_(share)
        self.sum([*(each.grad for each in phase.parameters if each.grad is not None), *means])


class Trained(Protocol):
    """What of a phase is trained."""

    @property
    def trained(self) -> nn.Module: ...

    @property
    def parameters(self) -> Sequence[nn.Parameter]: ...


ALONE = World()


class Ranks(World):
    """The processes that torchrun started, over torch.distributed: gloo and, between GPUs, nccl for gradients."""

    def __init__(self, found: Launch) -> None:
        """Wait for the others. Raises RanksError if they do not come."""
        self.rank, self.size = found.rank, found.size
        self.first_here = found.local_rank == 0
        self._launch = found
        if not dist.is_available():
            raise RanksError(
                "this PyTorch has no torch.distributed, which several ranks need. Install another, or use one."
            )
        try:
            self._store = next(iter(rendezvous("env://")))[0]
            dist.init_process_group(
                "gloo", store=self._store, rank=self.rank, world_size=self.size, timeout=_TRIAL_WAIT
            )
            self._near = self._sums = _group("gloo")
        except (RuntimeError, ValueError, OSError) as cause:
            raise RanksError(
                f"rank {self.rank} of {self.size} does not reach the others ({_line(cause)}), expected torchrun to start them "
                "all. See its --rdzv-endpoint."
            ) from cause
        self.backend = "gloo"

    def device(self, asked: str) -> str:
        """Return the device of this rank; see choose_device. Raises DeviceError where there is none for it."""
        if asked not in ("auto", "cpu", "cuda"):
            raise DeviceError(
                f"--device {asked}: found together with torchrun, expected auto, cpu or cuda, since each rank takes a GPU of its "
                "own. Choose one of these."
            )
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if asked == "cpu" or (asked == "auto" and not there):
            return "cpu"
        if not there:
            raise DeviceError(f"--device {asked}: 0 CUDA devices found. Choose cpu, or fix the driver.")
        if self._launch.local_size > there:
            raise DeviceError(
                f"torchrun: found {self._launch.local_size} ranks and {there} GPU{'s' if there > 1 else ''} on this machine, "
                f"expected one for each. Give --nproc-per-node {there}, or --device cpu."
            )
        return f"cuda:{self._launch.local_rank}"

    def use(self, device: torch.device) -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device)
            with self._heard():
                self._sums = _group("nccl")
            self.backend = "nccl"

    def sum(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([each.detach().reshape(-1) for each in tensors])  # in one go: each costs a message
        with self._heard():
            dist.all_reduce(flat, group=self._sums)
        _unpack(flat, tensors)

    def spread(self, tensors: Sequence[Tensor]) -> None:
        for each in tensors:
            held = each.detach().contiguous()
            with self._heard():
                dist.broadcast(held, 0, group=self._sums)
            each.detach().copy_(held)

    def gather(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        with self._heard():
            dist.all_gather_object(found, value, group=self._near)
        return found

    def any(self, flag: bool) -> bool:
        found = torch.tensor(int(flag))
        with self._heard():
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self._near)
        return bool(found)

    def tell(self, order: Order | None) -> None:
        with self._heard():
            dist.broadcast_object_list([order], 0)

    def hear(self) -> Order | None:
        """Return what rank 0 tells this one to do; None: to end."""
        found: list[Order | None] = [None]
        with self._heard():
            dist.broadcast_object_list(found, 0)
        return found[0]

    def report(self, cause: BaseException) -> None:
        """Leave the reason why this rank ends where rank 0 finds it."""
        if not isinstance(cause, LostRankError):
            with suppress(RuntimeError):
                self._store.set(
                    _REASON, f"rank {self.rank}: {' '.join(str(cause).split()).rstrip('.') or type(cause).__name__}"
                )

    def close(self) -> None:
        """Leave the others, at the very end.

        Threads of gloo end with the last reference to a group. Left to the interpreter's end, they abort the process ("terminate
        called without an active exception"), as in https://github.com/pytorch/pytorch/issues/190489.
        """
        del self._near, self._sums
        with suppress(RuntimeError):
            dist.destroy_process_group()

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Raise LostRankError if a rank has ended, or does not answer."""
        try:
            yield
        except RuntimeError as cause:
            clear_frames(cause.__traceback__)  # they hold the group, which close could not end otherwise
            said = _line(cause)
            with suppress(RuntimeError):
                if self._store.check([_REASON]):
                    said = self._store.get(_REASON).decode()
            raise LostRankError(
                f"a rank has ended or does not answer ({said}). The same command resumes from the last checkpoint."
            ) from cause


@dataclass(frozen=True)
class Measured:
    """What a rank's meters say of a trial: `known`, as Meters.known returns it. first_here: see World."""

    known: dict[str, Any]
    first_here: bool


def total(found: Sequence[Measured], mine: dict[str, Any]) -> dict[str, Any]:
    """Return the first rank's `mine`, with what adds up as the sum over the ranks; None where one of them does not know it.

    A GPU's joules, and a process's CPU seconds, are each rank's. What a whole machine spent is what its first rank says: in
    joules, with everything else there; in other processes' CPU seconds, without what the other ranks there spent.
    """
    own = sum(each.known["cpu_seconds"] or 0.0 for each in found if not each.first_here)
    firsts = [each.known for each in found if each.first_here]
    others = _sum(each["other_cpu_seconds"] for each in firsts)
    every = {
        name: _sum(each.known[name] for each in found) for name in ("gpu_joules", "evaluate_gpu_joules", "cpu_seconds")
    }
    reasons = (each.known["gpu_joules_reason"] for each in found)
    sums = {
        **every,
        "cpu_joules": _sum(each["cpu_joules"] for each in firsts),
        "other_cpu_seconds": None if others is None else max(0.0, others - own),
        "gpu_joules_reason": next((reason for reason in reasons if reason), None),
    }
    return {name: sums.get(name, value) for name, value in mine.items()}


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


class _OnRanks(Protocol):
    _world: World


Self = TypeVar("Self", bound=_OnRanks)


def on_every_rank(method: Callable[Concatenate[Self, P], R]) -> Callable[Concatenate[Self, P], R]:
    """Let rank 0, when it calls a method of its learner, tell the others to call it of theirs."""

    @functools.wraps(method)
    def everywhere(self: Self, *arguments: P.args, **named: P.kwargs) -> R:
        with self._world.doing(method.__name__, *arguments, *named.values()):
            return method(self, *arguments, **named)

    return everywhere


def require_shares(entrant: Entrant) -> None:
    """Raise StrategyError for a strategy whose step on a share of a batch says nothing about the step on the whole."""
    strategy, why = entrant.strategy, None
    if strategy.objective != CrossEntropy():
        why = f"objective.{type(strategy.objective).__name__} may depend on a batch as a whole"
    elif getattr(strategy.selection, "needs_loss", False):
        why = f"selection.{type(strategy.selection).__name__} asks for each image's loss, which one rank alone knows"
    if why is not None:
        raise StrategyError(
            f"{entrant.name}: {why}, expected what can be added up over several ranks. Run it on one device, without torchrun."
        )


@contextmanager
def unchanged(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Raise RanksError if a training step inside draws random numbers, or changes buffers other than batch norm's.

    Ranks would draw the same for different images, and each would keep buffers of its own share.
    """
    buffers = dict(model.named_buffers())
    of_norms = {id(each) for norm in model.modules() if isinstance(norm, _BatchNorm) for each in norm.buffers()}
    before = {name: each.clone() for name, each in buffers.items() if id(each) not in of_norms}
    drawn = _generators(device)
    yield
    if not all(map(torch.equal, drawn, _generators(device))):
        raise RanksError(
            f"{type(model).__name__}: a training step draws random numbers, as dropout does, expected none on several ranks, "
            "where they would not be those of one device. Run it on one device, without torchrun."
        )
    other = next((name for name, each in before.items() if not torch.equal(each, buffers[name])), None)
    if other is not None:
        raise RanksError(
            f"{type(model).__name__}: a training step changes the buffer {other}, expected on several ranks only batch norm's to "
            "change. Run it on one device, without torchrun."
        )


def synchronize_norms(model: nn.Module, world: World) -> None:
    """Let batch norm's layers normalize by statistics of the whole batch, on all ranks. Raises RanksError for one of a kind of
    its own.

    PyTorch's SyncBatchNorm does it on GPUs alone.
    """
    for name, norm in model.named_modules():
        if not isinstance(norm, _BatchNorm):
            continue
        if type(norm).forward is not _BatchNorm.forward:
            raise RanksError(
                f"training.batch_norm: synchronized, but {name} is a {type(norm).__name__}, expected PyTorch's own batch norm. "
                "Set it to local."
            )
        norm.forward = functools.partial(_normalized, norm, world)  # pyright: ignore


def _normalized(norm: _BatchNorm, world: World, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    norm._check_input_dim(x)
    over, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
    exact = x.float()
    count = exact.new_full((1,), x.numel() / x.shape[1])
    sums = _Sum.apply(torch.cat([exact.sum(over), count]), world)
    mean, total = sums[:-1] / sums[-1], sums[-1].detach()
    centred = exact - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(over), world) / total
    if norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked += 1
            weight = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
            norm.running_mean.lerp_(mean.detach().to(norm.running_mean.dtype), weight)
            norm.running_var.lerp_((variance.detach() * total / (total - 1)).to(norm.running_var.dtype), weight)
    found = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        found = found * norm.weight.view(shape) + norm.bias.view(shape)
    return found.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over the ranks. Whatever each rank makes of it has a gradient, and those are summed too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, world: World) -> Tensor:
        ctx.world = world
        found = x.clone()
        world.sum([found])
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        found = gradient.clone()
        ctx.world.sum([found])
        return found, None


def _group(backend: Backend) -> dist.ProcessGroup:
    """Return a group of all ranks that do not wait long for each other."""
    found = dist.new_group(backend=backend, timeout=_STEP_WAIT)
    assert isinstance(found, dist.ProcessGroup)  # what is none is for ranks outside of it
    return found


def _unpack(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for each, part in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
        each.detach().copy_(part.view(each.shape))


def _bits(values: Tensor) -> Tensor:
    """Return a sum of the bits of values: whatever the order of adding, and the device, the same for the same values."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    return values.detach().contiguous().view(whole).long().sum()


def _generators(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _on_cpu(value: Any) -> Any:
    """Return plain values with their tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.cpu()
    if type(value) is dict:
        return {key: _on_cpu(each) for key, each in value.items()}
    return type(value)(map(_on_cpu, value)) if type(value) in (list, tuple) else value


def _line(cause: BaseException) -> str:
    """Return what an exception says in its first sentence, without the place in the source that gloo puts before."""
    said = re.sub(r"^\[\S+\] ", "", (str(cause).splitlines() or [""])[0])
    return said.split(". ")[0][:200] or type(cause).__name__
