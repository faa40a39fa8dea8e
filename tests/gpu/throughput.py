"""Images per second of the real training step, in each way that steps can reach a device.

python -m tests.gpu.throughput --scenario cifar100-70-30 --data-root DIR --device cuda --out throughput.json
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import torch

from bench.catalog import find_scenario, find_strategy
from bench.errors import BenchError, TrialError
from bench.execution.local import LocalRun
from bench.metering.nvml import UnmeasuredError, open_gpu
from bench.scenario import load_scenario
from bench.strategies.strategy import load_strategy
from bench.training.base import BASE
from bench.training.device import gpu_uuid
from bench.training.learner import Learner
from bench.training.spec import TrialSpec
from bench.training.step import StepMode, recorder_for

# Name -> (torch.compile, how steps reach the device).
MODES: dict[str, tuple[bool, StepMode]] = {
    "eager": (False, "eager"),
    "graph": (False, "graph"),
    "compiled": (True, "eager"),
    "graph+compiled": (True, "graph"),
}
_ROUNDS = 3
_WARM_UP_STEPS = 5
_COUNTER_SECONDS = 2.0


@dataclass(frozen=True)
class Speed:
    """One mode's speed. ratio: of its images per second to eager's, the median over rounds, with the least and the most."""

    mode: str
    ms_per_step: float
    images_per_second: float
    ratio: float
    ratio_min: float
    ratio_max: float
    prepare_seconds: float


@dataclass(frozen=True)
class Counter:
    """NVML's energy counter. refresh_seconds: between two changes, the median; reading_seconds: of one query, the median."""

    refresh_seconds: float | None
    reading_seconds: float
    changes: int


def speeds(seconds: Mapping[str, Sequence[float]], prepared: Mapping[str, float], batch_size: int) -> list[Speed]:
    """Return each mode's speed. seconds: of one step, by mode and round; "eager" is among the modes."""
    found = []
    for mode, mine in seconds.items():
        ratios = [eager / own for eager, own in zip(seconds["eager"], mine, strict=True)]
        step = statistics.median(mine)
        span = (statistics.median(ratios), min(ratios), max(ratios))
        found.append(Speed(mode, 1000 * step, batch_size / step, *span, prepared[mode]))
    return found


def watch_counter(
    read: Callable[[], float],
    seconds: float,
    now: Callable[[], float] = time.perf_counter,
    busy: Callable[[], object] = lambda: None,
) -> Counter:
    """Read a counter again and again, and return how often it changes. busy: called between readings, to keep the GPU at work."""
    begin = now()
    last, moments, costs = read(), [], []
    while (before := now()) - begin < seconds:
        value = read()
        after = now()
        costs.append(after - before)
        if value != last:
            last = value
            moments.append(after)
        busy()
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    return Counter(statistics.median(gaps) if gaps else None, statistics.median(costs), len(moments))


class Throughput:
    """Prepares learners of one scenario, one per mode, and times them in turn."""

    def __init__(self, scenario: str, data_root: Path, device: str, folder: Path) -> None:
        """folder: for records and base models, of which there will be none."""
        scratch = load_strategy(find_strategy("scratch"))
        places = {"data_root": data_root, "results": folder / "results", "cache": folder / "cache"}
        self._run = LocalRun(load_scenario(find_scenario(scenario)), [scratch], [0], device=device, **places)
        self._learners: dict[str, Learner] = {}
        self.prepared: dict[str, float] = {}

    @property
    def device(self) -> torch.device:
        return self._run.device

    def about(self) -> dict[str, Any]:
        """Return what the speeds are of."""
        scenario = self._run.scenario
        return {
            "scenario": scenario.name,
            "model": scenario.model.name,
            "precision": scenario.training.precision,
            "batch_size": scenario.training.batch_size,
            "device": self._run.device_name,
            "torch": torch.__version__,
        }

    def prepare(self, mode: str) -> None:
        """Build, compile, record and warm up a mode's learner."""
        compiled, step = MODES[mode]
        update = self._run.data_of(1, self._run.restricted)
        begin = time.perf_counter()
        recorder = recorder_for(step, self.device)
        spec = TrialSpec(self._run.scenario, BASE, 1, 0)
        learner = Learner(spec, update, None, self.device, compiled, recorder=recorder)
        learner.prepare()
        learner.start()
        learner.train(min(_WARM_UP_STEPS, learner.total_steps))
        self.prepared[mode] = time.perf_counter() - begin
        self._learners[mode] = learner

    def measure(self, steps: int) -> list[Speed]:
        """Return the speeds of the modes that are prepared, over rounds of at most so many steps in which they take turns."""
        seconds: dict[str, list[float]] = {mode: [] for mode in self._learners}
        left = min(learner.total_steps - learner.ledger.steps for learner in self._learners.values())
        steps = max(1, min(steps, left // _ROUNDS))
        for _ in range(_ROUNDS):
            for mode, learner in self._learners.items():
                self._synchronize()
                begin = time.perf_counter()
                learner.train(steps)
                self._synchronize()
                seconds[mode].append((time.perf_counter() - begin) / steps)
        return speeds(seconds, self.prepared, self._run.scenario.training.batch_size)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def counter(self) -> Counter:
        """Watch the GPU's energy counter while it multiplies matrices. Raises UnmeasuredError."""
        factor = torch.randn(4096, 4096, device=self.device, dtype=torch.bfloat16)
        with open_gpu(gpu_uuid(self.device) or "") as gpu:
            found = watch_counter(gpu.total_joules, _COUNTER_SECONDS, busy=lambda: factor @ factor)
        self._synchronize()
        return found


def table(found: Sequence[Speed]) -> str:
    """Return the speeds as text, a line per mode."""
    lines = [f"{'mode':<15} {'ms/step':>8} {'images/s':>9}  {'to eager':<20} {'prepare':>9}"]
    for each in found:
        ratio = f"{each.ratio:.2f} ({each.ratio_min:.2f} to {each.ratio_max:.2f})"
        speed = f"{each.ms_per_step:8.2f} {each.images_per_second:9.0f}"
        lines.append(f"{each.mode:<15} {speed}  {ratio:<20} {each.prepare_seconds:7.1f} s")
    return "\n".join(lines)


def counter_text(counter: Counter) -> str:
    """Return what was seen of the energy counter, in one line."""
    reading = f"one reading takes {1000 * counter.reading_seconds:.2f} ms"
    if counter.refresh_seconds is None:
        return f"NVML's energy counter: {counter.changes} changes in {_COUNTER_SECONDS:g} s, {reading}"
    return f"NVML's energy counter: refreshed every {1000 * counter.refresh_seconds:.0f} ms, {reading}"


@click.command()
@click.option("--scenario", default="cifar100-70-30", show_default=True, help="Name, or path of a .toml file.")
@click.option("--data-root", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of .npz sets.")
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--mode", "asked", type=click.Choice(list(MODES)), multiple=True, help="[default: all that the device has]"
)
@click.option("--steps", type=click.IntRange(min=1), default=50, show_default=True, help="Of a round.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write the same to.")
def main(scenario: str, data_root: Path, device: str, asked: tuple[str, ...], steps: int, out: Path | None) -> None:
    """Time the training step in each mode, in turn.

    Modes that need no compiler are measured first by themselves, so that there is a result if compiling takes too long. A
    mode that fails is named, and the others are timed.
    """

    def write(about: dict[str, Any]) -> None:
        if out is not None:
            out.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    try:
        with tempfile.TemporaryDirectory() as folder:
            timed = Throughput(scenario, data_root, device, Path(folder))
            on_gpu = timed.device.type == "cuda"
            modes = [mode for mode in asked or MODES if on_gpu or MODES[mode][1] != "graph"]
            modes = list(dict.fromkeys(["eager", *modes]))
            failed: dict[str, str] = {}
            about: dict[str, Any] = {**timed.about(), "rounds": _ROUNDS, "steps": steps}
            if on_gpu:
                try:
                    counter = timed.counter()
                    click.echo(counter_text(counter))
                    about["counter"] = asdict(counter)
                except UnmeasuredError as cause:
                    click.echo(f"NVML's energy counter: {cause}")
            for group in ([mode for mode in modes if not MODES[mode][0]], [mode for mode in modes if MODES[mode][0]]):
                if not group:
                    continue
                for mode in group:
                    try:
                        timed.prepare(mode)
                    except (TrialError, RuntimeError) as cause:
                        if mode == "eager":
                            raise
                        failed[mode] = " ".join(str(cause).split())[:300]
                        click.echo(f"{mode}: failed: {failed[mode]}")
                found = timed.measure(steps)
                click.echo(table(found))
                write({**about, "modes": [asdict(speed) for speed in found], "failed": failed})
    except BenchError as cause:
        click.echo(f"throughput: {cause}", err=True)
        sys.exit(cause.exit_code)


if __name__ == "__main__":
    main()
