"""A GPU's energy by phase, and what the GPU was doing meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bench.metering.nvml import Gpu, GpuSample, UnmeasuredError

if TYPE_CHECKING:  # the clock needs torch, meters do not
    from bench.metering.clock import Phase

# NVML's energy counter is refreshed about every 100 ms, so a segment shorter than this may be off by more than 1 %.
SHORT_SEGMENT_SECONDS = 10.0
_LONGEST_GAP_SECONDS = 1.0
_POWER_INTERVAL_SECONDS = 0.1
_WATCH_INTERVAL_SECONDS = 1.0
_METERED = ("train", "evaluate")


def integrate_power(seconds: Sequence[float], watts: Sequence[float]) -> float:
    """Integrate sampled power by the trapezoidal rule, and return joules.

    seconds, watts: same length, at least two, in time order.
    Raises UnmeasuredError for fewer samples, and if two consecutive samples are more than a second apart.
    """
    if len(seconds) < 2:
        raise UnmeasuredError(f"power samples: {len(seconds)}, expected at least 2")
    total = 0.0
    for place in range(1, len(seconds)):
        gap = seconds[place] - seconds[place - 1]
        if gap > _LONGEST_GAP_SECONDS:
            raise UnmeasuredError(f"a gap of {gap:.1f} s in sampled power, expected at most {_LONGEST_GAP_SECONDS:g} s")
        total += gap * (watts[place] + watts[place - 1]) / 2
    return total


class GpuEnergy:
    """Joules by phase, from the GPU's own counter, or from sampled power if it has none. A PhaseMeter.

    After a reading that cannot be trusted the meter is void: every total is None, and `reason` holds the first cause.
    source: "energy counter", "sampled power" or None.
    """

    name = "gpu_energy"

    def __init__(self, gpu: Gpu, now: Callable[[], float] = time.perf_counter, *, sampling: bool = True) -> None:
        self._gpu = gpu
        self._now = now
        self._sampling = sampling
        self._lock = threading.Lock()
        self._trace: list[tuple[float, float]] = []
        self._joules: dict[str, float] = {}
        self._begun: tuple[float, float] | None = None  # moment, counter
        self._thread: _Repeated | None = None
        self.reason: str | None = None
        self._train_seconds = 0.0
        self._short_seconds = 0.0
        self.source: str | None = self._choose_source()

    def joules(self, phase: Phase) -> float | None:
        """Return a phase's total, or None if the meter is void."""
        return None if self.reason else self._joules.get(phase, 0.0)

    def short_share(self) -> float | None:
        """Return the share of training seconds measured in segments under 10 s; None if nothing was measured yet."""
        return self._short_seconds / self._train_seconds if self._train_seconds else None

    def begin(self, phase: Phase) -> None:
        if self.reason or phase not in _METERED:
            return
        try:
            self._refuse_company()
            self._begun = (self._now(), self._reading())
        except UnmeasuredError as cause:
            self._void(str(cause))

    def end(self, phase: Phase) -> None:
        self._stop_sampling()
        begun, self._begun = self._begun, None
        if self.reason or begun is None:
            return
        moment, before = begun
        try:
            spent = self._spent(before)
            self._refuse_company()
        except UnmeasuredError as cause:
            self._void(str(cause))
            return
        self._joules[phase] = self._joules.get(phase, 0.0) + spent
        if phase == "train":
            seconds = self._now() - moment
            self._train_seconds += seconds
            self._short_seconds += seconds if seconds < SHORT_SEGMENT_SECONDS else 0.0

    def sample(self) -> None:
        """Record the current power; called by a separate thread if power is sampled."""
        try:
            point = (self._now(), self._gpu.power_watts())
        except UnmeasuredError as cause:
            self._void(str(cause))
            return
        with self._lock:
            self._trace.append(point)

    def close(self) -> None:
        """Stop sampling."""
        self._stop_sampling()

    def state(self) -> dict[str, Any]:
        return {
            "joules": dict(self._joules),
            "reason": self.reason,
            "source": self.source,
            "seconds": (self._train_seconds, self._short_seconds),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        if state is None:
            self._void("not measured before the trial was interrupted")
            return
        for phase, joules in state["joules"].items():
            self._joules[phase] = self._joules.get(phase, 0.0) + joules
        train, short = state["seconds"]
        self._train_seconds += train
        self._short_seconds += short
        if state["reason"]:
            self.reason = state["reason"]
        elif state["source"] != self.source and not self.reason:
            self._void(f"measured by {state['source']} before the interruption, by {self.source} after")

    def _choose_source(self) -> str | None:
        if self._gpu.sliced():
            self._void("the GPU is split into MIG slices: its counter covers all of them")
            return None
        try:
            self._gpu.total_joules()
            return "energy counter"
        except UnmeasuredError as no_counter:
            try:
                self._gpu.power_watts()
                return "sampled power"
            except UnmeasuredError as no_power:
                self._void(f"{no_counter}; {no_power}")
                return None

    def _reading(self) -> float:
        """Return the energy counter; for sampled power start a new trace and return 0."""
        if self.source == "energy counter":
            return self._gpu.total_joules()
        with self._lock:
            self._trace.clear()
        self.sample()
        if self._sampling:
            self._thread = _Repeated(self.sample, _POWER_INTERVAL_SECONDS)
        return 0.0

    def _spent(self, before: float) -> float:
        if self.source == "energy counter":
            spent = self._gpu.total_joules() - before
            if spent < 0:
                raise UnmeasuredError(f"the energy counter went backwards by {-spent:.0f} J: it was reset")
            return spent
        self.sample()
        with self._lock:
            seconds, watts = [point[0] for point in self._trace], [point[1] for point in self._trace]
        return integrate_power(seconds, watts)

    def _stop_sampling(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _refuse_company(self) -> None:
        """Raise UnmeasuredError if other processes compute on the GPU; if it does not report them, assume there are none."""
        try:
            others = self._gpu.foreign_processes()
        except UnmeasuredError:
            return
        if others:
            raise UnmeasuredError(f"{others} other processes computed on the GPU")

    def _void(self, reason: str) -> None:
        self.reason = self.reason or reason


class GpuWatch:
    """What the GPU was doing during training, sampled once a second. A PhaseMeter.

    One thread watches the whole trial, since training between two evaluations may be shorter than its interval.
    """

    name = "gpu_watch"

    def __init__(self, gpu: Gpu, *, interval: float | None = _WATCH_INTERVAL_SECONDS) -> None:
        """interval: seconds between samples; None: samples are taken by calling `sample`."""
        self._gpu = gpu
        self._interval = interval
        self._thread: _Repeated | None = None
        self._training = False
        self._samples: list[GpuSample] = []

    def begin(self, phase: Phase) -> None:
        self._training = phase == "train"
        if self._training and self._thread is None and self._interval is not None:
            self._thread = _Repeated(self.sample, self._interval)

    def end(self, phase: Phase) -> None:
        self._training = False

    def sample(self) -> None:
        """Record what the GPU is doing now, if it trains; called by a separate thread."""
        if self._training:
            self._samples.append(self._gpu.sample())

    def close(self) -> None:
        """Stop watching."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def state(self) -> dict[str, Any]:
        return {"samples": [vars(sample) for sample in self._samples]}

    def restore(self, state: dict[str, Any] | None) -> None:
        self._samples += [GpuSample(**each) for each in (state or {"samples": []})["samples"]]

    def summary(self) -> dict[str, Any] | None:
        """Return the fields of GpuUse, or None if there are no samples."""
        if not self._samples:
            return None
        told = [sample for sample in self._samples if sample.slowed_by is not None]
        slowed = [sample for sample in told if sample.slowed_by]
        return {
            "samples": len(self._samples),
            "utilization": _mean([sample.utilization for sample in self._samples]),
            "sm_clock_mhz": _mean([sample.sm_clock_mhz for sample in self._samples]),
            "temperature_celsius": _most([sample.temperature_celsius for sample in self._samples]),
            "power_watts": _mean([sample.power_watts for sample in self._samples]),
            "slowed_share": len(slowed) / len(told) if told else None,
            "slowed_by": sorted({reason for sample in slowed for reason in sample.slowed_by or ()}),
        }


class _Repeated:
    """Calls a function at an interval, on a separate thread, until it is stopped."""

    def __init__(self, action: Callable[[], None], interval: float) -> None:
        self._action = action
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait for a call in progress."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._action()


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _most(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return max(there, default=None)
