"""How fast a training step is: ours, a bare loop and the loop that people write, in turns on one machine.

bench.execution.loops says what they are. The last runs in a process of its own, as a script of theirs would: without what bench
sets for OpenMP's threads and for freed memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

import torch

from bench.analysis.speedup.pairs import paired_ratio
from bench.data.feed.update import Update
from bench.errors import BenchError
from bench.execution.loops import WARM_UP_STEPS, Bare, Case, Loop, Ours, Spent, made_up_update, ready, scenario_of
from bench.execution.usual import UsualElsewhere
from bench.metering.cpu import CpuSeconds
from bench.metering.peaks import peak_flops
from bench.records.provenance import load_average
from bench.records.schema import Provenance
from bench.records.speed import LoopName, LoopSpeed, PairedRatio, SpeedRecord
from bench.training.allocator import keep_freed_memory
from bench.training.provenance import describe_run
from bench.training.step import StepChoice, StepWay, choose_step, settle

_IMAGES = 20_000  # an epoch of some 150 steps, as in a small scenario
_PROFILED_STEPS = 20
_HELD_OUT_SHARE = 0.1


def measure_speed(
    case: Case,
    *,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    step: StepChoice = "auto",
    threads: int | None = None,
    pairs: int = 10,
    round_seconds: float = 1.0,
    workers: int = 2,
    images: int = _IMAGES,
    told: Callable[[str], None] = lambda line: None,
) -> SpeedRecord:
    """Return how fast our step is, against the other two loops, over rounds in which the three take turns.

    workers: of the usual loop's DataLoader. images: made up, trained on. told: called with what is going on.
    Raises BenchError for less than two batches of images, and if the usual loop's process ends; DeviceError for what cannot run
    here, and StepError where that turns out only then.
    """
    allocator = keep_freed_memory()
    chosen = ready(device, threads)
    if images < 2 * case.batch_size:
        raise BenchError(f"--images {images}: expected at least two batches of {case.batch_size}. Raise it.")
    way = choose_step(step, chosen)
    scenario = scenario_of(case, precision)
    update, pixels, labels = made_up_update(case, scenario, images, chosen)

    def ours_with(way: StepWay) -> tuple[Ours, StepWay]:
        return Ours(scenario, update, way, chosen), way

    told("preparing")
    ours, way = settle(way, ours_with)
    place = describe_run(
        scenario, "made up", "made up", chosen, way.compiled, way.mode, allocator, step_reason=way.reason
    )
    bare = Bare(case, scenario, update, pixels, labels, way, chosen)
    usual = UsualElsewhere(case, precision, images, workers, str(chosen), torch.get_num_threads())
    loops: dict[LoopName, Loop] = {"ours": ours, "bare": bare, "usual": usual}
    meter, begun = CpuSeconds(), time.perf_counter()
    meter.begin("train")
    try:
        speeds = take_turns(loops, pairs, round_seconds, case.batch_size, told)
    finally:
        usual.end()
    evaluation = statistics.median(ours.evaluate() for _ in range(max(3, pairs // 2)))
    meter.end("train")
    wall, others = time.perf_counter() - begun, meter.others("train")
    told("profiling")
    return _record(
        case, ours, update, place, speeds, len(update.validation) / evaluation, round_seconds, workers
    ).model_copy(
        update={
            "wall_seconds": wall,
            "other_cpu_seconds": None if others is None else max(0.0, others - usual.cpu_seconds),
            "load_average_at_end": load_average(),
        }
    )


def _record(
    case: Case,
    ours: Ours,
    update: Update,
    place: Provenance,
    speeds: dict[LoopName, LoopSpeed],
    evaluated: float,
    round_seconds: float,
    workers: int,
) -> SpeedRecord:
    mine = speeds["ours"]
    flops = ours.learner.flops
    step_flops = flops.step * case.batch_size + flops.batch
    peak = peak_flops(place.device, place.precision)
    ratios: dict[LoopName, PairedRatio] = {}
    cpu_ratios: dict[LoopName, PairedRatio] = {}
    for name, other in speeds.items():
        if name != "ours":
            ratio = paired_ratio(other.seconds_per_step, mine.seconds_per_step)
            cpu_ratio = paired_ratio(other.cpu_seconds_per_step, mine.cpu_seconds_per_step)
            ratios[name], cpu_ratios[name] = PairedRatio(**asdict(ratio)), PairedRatio(**asdict(cpu_ratio))
    relative = _HELD_OUT_SHARE * mine.images_per_second / evaluated  # to the time of training
    return SpeedRecord(
        model=case.model,
        image=case.image,
        classes=case.classes,
        parameters=ours.learner.ledger.parameters,
        batch_size=case.batch_size,
        round_seconds=round_seconds,
        workers=workers,
        loops=speeds,
        ratios=ratios,
        cpu_ratios=cpu_ratios,
        flops_per_step=step_flops,
        flops_per_second=step_flops * mine.images_per_second / case.batch_size,
        peak_flops=peak[0] if peak else None,
        peak_source=peak[1] if peak else None,
        evaluation_images_per_second=evaluated,
        evaluation_share=relative / (1 + relative),
        profile=ours.profile(_PROFILED_STEPS),
        wall_seconds=0.0,
        other_cpu_seconds=None,
        load_average_at_end=None,
        provenance=place,
    )


def take_turns(
    loops: dict[LoopName, Loop], pairs: int, round_seconds: float, batch_size: int, told: Callable[[str], None]
) -> dict[LoopName, LoopSpeed]:
    """Return each loop's speed, over rounds of about so many seconds. The loops alternate, and so does who begins."""
    steps = {name: _steps_in(loop, round_seconds) for name, loop in loops.items()}
    spent: dict[LoopName, list[Spent]] = {name: [] for name in loops}
    for pair in range(pairs):
        told(f"pair {pair + 1} of {pairs}")
        for name in list(loops) if pair % 2 == 0 else list(reversed(loops)):
            spent[name].append(loops[name].run(steps[name]))
    found: dict[LoopName, LoopSpeed] = {}
    for name, rounds in spent.items():
        seconds = tuple(each.seconds / steps[name] for each in rounds)
        cpu_seconds = tuple(each.cpu_seconds / steps[name] for each in rounds)
        speed = batch_size / statistics.median(seconds)
        found[name] = LoopSpeed(
            steps=steps[name], seconds_per_step=seconds, cpu_seconds_per_step=cpu_seconds, images_per_second=speed
        )
    return found


def _steps_in(loop: Loop, seconds: float) -> int:
    """Return how many steps of a loop take so many seconds, which also warms it up."""
    loop.run(WARM_UP_STEPS)
    steps = 1
    while (spent := loop.run(steps).seconds) < seconds / 4:
        steps *= 2
    return max(1, round(steps * seconds / spent))
