"""The trial's clock: every second, and every joule, belongs to exactly one phase."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch

Phase = Literal["build", "prepare", "train", "evaluate", "io"]
PHASES: tuple[Phase, ...] = ("build", "prepare", "train", "evaluate", "io")


class PhaseMeter(Protocol):
    """A meter read together with the clock, when a phase begins and ends. Must not affect what is trained."""

    name: str

    def begin(self, phase: Phase) -> None:
        """A phase begins; the device is idle."""

    def end(self, phase: Phase) -> None:
        """The phase has ended; the device is idle again."""

    def state(self) -> dict[str, Any]:
        """Return the totals as plain values, for a checkpoint."""
        ...

    def restore(self, state: dict[str, Any] | None) -> None:
        """Add the totals of an earlier session of the same trial to this one's; None: that session had no such meter."""


class PhaseClock:
    """Adds up seconds by phase. The device is synchronized when a phase begins and ends, never in between.

    seconds: phase -> seconds. wall_seconds: since the clock was created, plus what `restore` added.
    meters: read just before a phase begins and just after it ends; reading them counts as io. A GPU's counter takes milliseconds.
    """

    def __init__(self, device: torch.device, meters: Sequence[PhaseMeter] = ()) -> None:
        self._device = device
        self._meters = meters
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._begun = time.perf_counter()
        self._earlier = 0.0
        self._running: Phase | None = None

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Charge what happens inside to `name`. Phases do not nest."""
        if self._running is not None:
            raise AssertionError(f"phase {name} inside phase {self._running}")
        self._running = name
        self._drain()
        opened = time.perf_counter()
        for meter in self._meters:
            meter.begin(name)
        start = time.perf_counter()
        try:
            yield
            self._drain()
        finally:
            end = time.perf_counter()
            for meter in self._meters:
                meter.end(name)
            self.seconds[name] += end - start
            self.seconds["io"] += start - opened + time.perf_counter() - end
            self._running = None

    @property
    def wall_seconds(self) -> float:
        return self._earlier + time.perf_counter() - self._begun

    def unaccounted_share(self) -> float:
        """Return the share of wall time that belongs to no phase: below 0.01 for an honest trial."""
        wall = self.wall_seconds
        return (wall - sum(self.seconds.values())) / wall

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs: seconds by phase and in total, and the meters' totals."""
        meters = {meter.name: meter.state() for meter in self._meters}
        return {**self.seconds, "wall": self.wall_seconds, "meters": meters}

    def restore(self, state: dict[str, Any]) -> None:
        """Add the seconds of an earlier session of the same trial to this one's."""
        for name in PHASES:
            self.seconds[name] += state[name]
        self._earlier += state["wall"]
        for meter in self._meters:
            meter.restore(state["meters"].get(meter.name))

    def _drain(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
