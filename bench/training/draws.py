"""Dropout and its like draw from PyTorch's global generators only: here they are lent a stream of the trial's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.streams import stream_seed


class LentGenerators:
    """The global generators of the CPU, and of the trial's GPU, while it trains; put back in between.

    The stream goes on from one lending to the next, so that it does not matter where a trial was measured or cut off.
    """

    def __init__(self, device: torch.device, seed: int, *names: str | int) -> None:
        self._device = device
        devices = [torch.device("cpu"), *([device] if device.type == "cuda" else [])]
        self._states = [torch.Generator(each).manual_seed(stream_seed(seed, *names)).get_state() for each in devices]

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let what runs inside draw from the stream."""
        before = self._read()
        self._write(self._states)
        try:
            yield
        finally:
            self._states = self._read()
            self._write(before)

    def state(self) -> list[Tensor]:
        """Return where the stream stands."""
        return self._states

    def restore(self, states: Sequence[Tensor]) -> None:
        """Go to where `state` was taken."""
        self._states = [state.cpu() for state in states]

    def _read(self) -> list[Tensor]:
        gpu = [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else []
        return [torch.get_rng_state(), *gpu]

    def _write(self, states: Sequence[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self._device)
