"""Ranks in threads of this process, for tests that need no torch.distributed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.training.ranks import World

Result = TypeVar("Result")


class Threads(World):
    """One of several ranks, each a thread. What they exchange goes through a list, with a barrier before and after."""

    def __init__(self, rank: int, size: int, shared: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size, self.backend = rank, size, "gloo"
        self.first_here = rank == 0
        self._shared, self._barrier = shared, barrier

    def gather(self, value: Any) -> list[Any]:
        self._shared[self.rank] = value
        self._barrier.wait(60)
        found = list(self._shared)
        self._barrier.wait(60)
        return found

    def any(self, flag: bool) -> bool:
        return any(self.gather(flag))

    def sum(self, tensors: Sequence[Tensor]) -> None:
        copies = self.gather([each.detach().clone() for each in tensors])
        for number, each in enumerate(tensors):
            each.detach().copy_(torch.stack([copy[number] for copy in copies]).sum(0))

    def spread(self, tensors: Sequence[Tensor]) -> None:
        first = self.gather([each.detach().clone() for each in tensors])[0]
        for each, value in zip(tensors, first, strict=True):
            each.detach().copy_(value)


def on_threads(size: int, action: Callable[[World], Result]) -> list[Result]:
    """Return what each rank's action returns, by rank. Raises what the first of them raises."""
    shared: list[Any] = [None] * size
    found: list[Any] = [None] * size
    barrier = threading.Barrier(size)

    def run(rank: int) -> None:
        try:
            found[rank] = action(Threads(rank, size, shared, barrier))
        except BaseException as cause:
            found[rank] = cause
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    failed = [each for each in found if isinstance(each, BaseException)]
    failed.sort(key=lambda each: isinstance(each, threading.BrokenBarrierError))
    if failed:
        raise failed[0]
    return found
