"""Dropout and the like draw only from PyTorch's global generators: while a trial trains, these use its own stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.streams import stream_seed


class LentGenerators:
    """The global generators of the CPU and the trial's GPU, lent to the trial while it trains and restored in between.

    The stream continues from one lending to the next, so it does not matter where a trial was evaluated or interrupted.
    """

    def __init__(self, device: torch.device, seed: int, *names: str | int) -> None:
        self._device = device
        devices = [torch.device("cpu"), *([device] if device.type == "cuda" else [])]
        self._states = [torch.Generator(each).manual_seed(stream_seed(seed, *names)).get_state() for each in devices]

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Make what runs inside draw from the stream."""
        before = self._read()
        self._write(self._states)
        try:
            yield
        finally:
            self._states = self._read()
            self._write(before)

    def state(self) -> list[Tensor]:
        """Return the position in the stream."""
        return self._states

    def restore(self, states: Sequence[Tensor]) -> None:
        """Go to a position that `state` returned."""
        self._states = [state.cpu() for state in states]

    def _read(self) -> list[Tensor]:
        gpu = [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else []
        return [torch.get_rng_state(), *gpu]

    def _write(self, states: Sequence[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self._device)
