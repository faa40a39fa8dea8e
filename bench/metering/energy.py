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
# A counter that has not moved for so long stands still: also an idle GPU draws power, and ten times as often it is refreshed.
STILL_SECONDS = 1.0
_LONGEST_GAP_SECONDS = 1.0
_POLL_SECONDS = 0.002
_IDLE_SAMPLES = 5
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

    Where segments are 10 s or longer, they are cut at the counter's ticks: each begins at a tick, and what an idle GPU draws
    between its end and the next tick is taken off. Power is sampled beside the counter, to compare the two.
    After a reading that cannot be trusted the meter is void: every total is None, and `reason` holds the first cause.
    source: "energy counter", "sampled power" or None. neighbours: other processes that were seen on the GPU.
    """

    name = "gpu_energy"

    def __init__(
        self,
        gpu: Gpu,
        now: Callable[[], float] = time.perf_counter,
        *,
        sampling: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gpu = gpu
        self._now = now
        self._sleep = sleep
        self._sampling = sampling
        self._lock = threading.Lock()
        self._trace: list[tuple[float, float]] = []
        self._joules: dict[str, float] = {}
        self._begun: tuple[float, float, bool] | None = None  # moment, counter, whether at a tick
        self._last: dict[str, float] = {}  # seconds of each phase's last segment
        self._still = 0.0  # seconds of work since the counter moved
        self._windows: list[dict[str, Any]] = []
        self._tick_seconds: float | None = None
        self._idle_watts: float | None = None
        self._thread: _Repeated | None = None
        self.reason: str | None = None
        self.neighbours = 0
        self._train_seconds = 0.0
        self._short_seconds = 0.0
        self.source: str | None = self._choose_source()

    def joules(self, phase: Phase) -> float | None:
        """Return a phase's total, or None if the meter is void."""
        return None if self.reason else self._joules.get(phase, 0.0)

    def short_share(self) -> float | None:
        """Return the share of training seconds measured in segments under 10 s; None if nothing was measured yet."""
        return self._short_seconds / self._train_seconds if self._train_seconds else None

    def calibrate(self) -> None:
        """Measure the power of the idle GPU, and how often its counter is refreshed. Takes two of the counter's ticks.

        A counter that does not move makes the meter void.
        """
        if self.reason:
            return
        self._idle_watts = self._measure_idle()
        if self.source != "energy counter":
            return
        try:
            first, second = (self._next_tick(STILL_SECONDS)[1] for _ in range(2))
        except UnmeasuredError as cause:
            self._void(str(cause))
            return
        if first is None or second is None:
            self._void(f"the energy counter did not move in {STILL_SECONDS:g} s before training: it stands still")
        else:
            self._tick_seconds = second - first

    def power(self) -> dict[str, Any] | None:
        """Return the fields of GpuPower; samples the idle GPU. None if the meter is void."""
        if self.reason:
            return None
        both = [
            (each["joules"], each["sampled_joules"]) for each in self._windows if each["sampled_joules"] is not None
        ]
        counted, sampled = (sum(column) for column in zip(*both, strict=True)) if both else (0.0, 0.0)
        return {
            "counter_tick_seconds": self._tick_seconds,
            "idle_watts_before": self._idle_watts,
            "idle_watts_after": self._measure_idle(),
            "sampled_over_counted": sampled / counted if counted and self.source == "energy counter" else None,
            "windows": self._windows,
        }

    def begin(self, phase: Phase) -> None:
        if self.reason or phase not in _METERED:
            return
        at_tick = (
            self._tick_seconds is not None and self._last.get(phase, SHORT_SEGMENT_SECONDS) >= SHORT_SEGMENT_SECONDS
        )
        try:
            self._refuse_company()
            counter = self._counter(at_tick)[0]
        except UnmeasuredError as cause:
            self._void(str(cause))
            return
        self._begin_sampling()
        self._begun = (self._now(), counter, at_tick)

    def end(self, phase: Phase) -> None:
        ended = self._now()
        self._stop_sampling()
        begun, self._begun = self._begun, None
        if self.reason or begun is None:
            return
        moment, before, at_tick = begun
        seconds = self._last[phase] = ended - moment
        try:
            sampled = self._integrate()
            spent = self._spent(before, ended, seconds, at_tick and seconds >= SHORT_SEGMENT_SECONDS, sampled)
            others = self._refuse_company()
        except UnmeasuredError as cause:
            self._void(str(cause))
            return
        self._joules[phase] = self._joules.get(phase, 0.0) + spent
        if phase == "train":
            self._train_seconds += seconds
            self._short_seconds += seconds if seconds < SHORT_SEGMENT_SECONDS else 0.0
            now = self._gpu.sample()
            self._windows.append(
                {
                    "seconds": seconds,
                    "joules": spent,
                    "sampled_joules": sampled,
                    "sm_clock_mhz": now.sm_clock_mhz,
                    "temperature_celsius": now.temperature_celsius,
                    "slowed_by": None if now.slowed_by is None else list(now.slowed_by),
                    "others": others,
                }
            )

    def sample(self) -> None:
        """Record the current power; called by a separate thread while a phase is measured.

        Beside a counter, a failure only leaves a gap.
        """
        try:
            point = (self._now(), self._gpu.power_watts())
        except UnmeasuredError as cause:
            if self.source == "sampled power":
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
            "windows": list(self._windows),
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
        self._windows = [*state["windows"], *self._windows]
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

    def _counter(self, at_tick: bool) -> tuple[float, float]:
        """Return the energy counter, and when it was read: at its next tick if asked. Zero for sampled power."""
        if self.source != "energy counter":
            return 0.0, self._now()
        if not at_tick or self._tick_seconds is None:
            return self._gpu.total_joules(), self._now()
        joules, moment = self._next_tick(2 * self._tick_seconds)
        return joules, self._now() if moment is None else moment

    def _next_tick(self, patience: float) -> tuple[float, float | None]:
        """Wait until the counter moves, and return it and when; None for the moment if it does not within `patience` seconds."""
        before, limit = self._gpu.total_joules(), self._now() + patience
        while True:
            joules, moment = self._gpu.total_joules(), self._now()
            if joules != before:
                return joules, moment
            if moment > limit:
                return joules, None
            self._sleep(_POLL_SECONDS)

    def _spent(self, before: float, ended: float, seconds: float, at_tick: bool, sampled: float | None) -> float:
        """Return the joules of a segment that ended just now. sampled: what power gives, None if it has gaps."""
        if self.source != "energy counter":
            assert sampled is not None
            return sampled
        after, moment = self._counter(at_tick)
        spent = after - before
        if spent < 0:
            raise UnmeasuredError(
                f"the energy counter went backwards by {-spent:.0f} J: it was reset, or is at its end"
            )
        self._still = 0.0 if spent else self._still + seconds
        if self._still >= STILL_SECONDS:
            raise UnmeasuredError(f"the energy counter did not move in {self._still:.1f} s of work: it stands still")
        return max(0.0, spent - (self._idle_watts or 0.0) * (moment - ended)) if at_tick else spent

    def _measure_idle(self) -> float | None:
        """Return the GPU's power in watts, the mean of a few samples, while nothing runs on it; None if it is not reported."""
        try:
            watts = [self._gpu.power_watts()]
            while len(watts) < _IDLE_SAMPLES:
                self._sleep(_POWER_INTERVAL_SECONDS)
                watts.append(self._gpu.power_watts())
        except UnmeasuredError:
            return None
        return sum(watts) / len(watts)

    def _begin_sampling(self) -> None:
        with self._lock:
            self._trace.clear()
        self.sample()
        if self._sampling:
            self._thread = _Repeated(self.sample, _POWER_INTERVAL_SECONDS)

    def _integrate(self) -> float | None:
        """Return the joules that sampled power gives since sampling began. Beside a counter, None if it has gaps."""
        self.sample()
        with self._lock:
            seconds, watts = [point[0] for point in self._trace], [point[1] for point in self._trace]
        try:
            return integrate_power(seconds, watts)
        except UnmeasuredError:
            if self.source == "sampled power":
                raise
            return None

    def _stop_sampling(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _refuse_company(self) -> int | None:
        """Return 0, or None if the GPU does not report its processes. Raises UnmeasuredError if others compute on it."""
        try:
            others = self._gpu.foreign_processes()
        except UnmeasuredError:
            return None
        self.neighbours = max(self.neighbours, others)
        if others:
            raise UnmeasuredError(f"{others} other processes computed on the GPU")
        return others

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
