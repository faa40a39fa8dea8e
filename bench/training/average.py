"""The running average of a trial's weights, and putting it in their place for an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.errors import StrategyError
from bench.strategies.averaging import AVERAGING_PASSES, Averaging
from bench.strategies.strategy import running


class Average:
    """The average of a network's parameters and floating-point buffers, of which batch norm's statistics are.

    Other buffers, such as the number of batches seen, are the network's own. flops: of each step that is averaged.
    """

    def __init__(self, averaging: Averaging, model: nn.Module, steps: int) -> None:
        """steps: of the trial. Raises StrategyError for rates that are not one for each step, each in 0..1."""
        self._rates = _rates(averaging, steps)
        self._begun = False
        state = model.state_dict() if any(self._rates) else {}
        # The network's own tensors: they stay where they are in memory.
        self._weights = {name: value for name, value in state.items() if value.is_floating_point()}
        self._average = {name: torch.zeros_like(value) for name, value in self._weights.items()}
        self.flops = AVERAGING_PASSES * sum(value.numel() for value in self._weights.values())

    @property
    def steps(self) -> int:
        """Return how many steps are averaged in the whole trial."""
        return sum(rate > 0 for rate in self._rates)

    @torch.no_grad()
    def update(self, step: int) -> int:
        """Take the weights after step number `step`, from 0 on, into the average. Returns the FLOPs spent."""
        rate = self._rates[step]
        if rate == 0:
            return 0
        # All tensors in a few kernels; one by one, each would cost a kernel launch on a GPU.
        average, weights = list(self._average.values()), list(self._weights.values())
        torch._foreach_lerp_(average, weights, rate if self._begun else 1.0)  # pyright: ignore
        self._begun = True
        return self.flops

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """Put the average in the network's place, if it has begun; then the weights back."""
        if not self._begun:
            yield
            return
        before = {name: value.clone() for name, value in self._weights.items()}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(before)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """Return the average; nothing before it has begun."""
        return self._average if self._begun else {}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go back to what `state` returned."""
        self._begun = bool(saved)
        for name, value in saved.items():
            self._average[name].copy_(value)


def _rates(averaging: Averaging, steps: int) -> Sequence[float]:
    with running(averaging):
        rates = list(averaging.rates(steps))
        fine = len(rates) == steps and all(0 <= rate <= 1 for rate in rates)
    first = next((number for number, rate in enumerate(rates) if rate > 0), steps)
    if not fine or not all(rates[first:]):
        raise StrategyError(
            f"{type(averaging).__name__}: rates returned {len(rates)} numbers for {steps} steps, expected one in 0..1 for each "
            "step, zeros first and none after them. Fix it."
        )
    return rates
