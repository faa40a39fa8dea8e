"""How many small trials a minute: several processes of one thread each, against one process of as many threads, in turns."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from bench.analysis.speedup.pairs import paired_ratio
from bench.errors import BenchError, TrialError
from bench.execution.jobs import Job, Place, graph_of
from bench.execution.listener import Silent
from bench.execution.local import LocalRun
from bench.execution.on_processes import Processes
from bench.metering.cpu import CpuSeconds
from bench.processors import usable_processors
from bench.records.provenance import load_average
from bench.records.speed import Arm, PairedRatio, ThroughputRecord
from bench.scenario import Scenario
from bench.strategies.variants import load_variant
from bench.training.provenance import describe_run


def measure_throughput(
    scenario: Scenario,
    data_root: Path,
    processes: int,
    *,
    pairs: int,
    trials: int,
    told: Callable[[str], None] = lambda line: None,
) -> ThroughputRecord:
    """Train scratch on one seed after the other on the CPU, and return how many trials a minute each way has.

    trials: of a turn, at least one for each process. Both ways train on the same seeds, in processes that stay, have loaded the
    data and trained one trial before. Records go to a temporary folder.
    Raises BenchError for less than two processes, more than there are processors, or fewer trials than processes; what LocalRun
    raises for the scenario; and TrialError for a trial that fails.
    """
    usable = usable_processors()
    if not 2 <= processes <= usable:
        raise BenchError(
            f"--processes {processes}: this process may use {usable} CPUs, expected 2 to as many. Change it, or use more CPUs."
        )
    if trials < processes:
        raise BenchError(f"--turn {trials}: expected at least a trial for each of {processes} processes. Raise it.")
    with tempfile.TemporaryDirectory() as folder:
        run, jobs = _jobs(scenario, data_root, Path(folder), processes + pairs * trials)
        origin = describe_run(
            scenario, run.data_hash, run.split.hash(), torch.device("cpu"), run.way.compiled, run.way.mode, "system"
        )
        meter, begun, children = CpuSeconds(), time.perf_counter(), _children_seconds()
        meter.begin("train")
        rounds = _take_turns(Path(folder), data_root, processes, jobs, pairs, trials, told)
        meter.end("train")
        wall, spent, others = time.perf_counter() - begun, _children_seconds() - children, meter.others("train")
    many, one = rounds["processes"], rounds["threads"]
    return ThroughputRecord(
        scenario=scenario.name,
        scenario_hash=scenario.hash(),
        processes=processes,
        trials=trials,
        seconds_per_trial=rounds,
        trials_per_minute={name: 60 / statistics.median(seconds) for name, seconds in rounds.items()},
        ratio=PairedRatio(**asdict(paired_ratio(one, many))),
        wall_seconds=wall,
        other_cpu_seconds=None if others is None else max(0.0, others - spent),
        load_average_at_end=load_average(),
        provenance=origin,
    )


def _children_seconds() -> float:
    """Return the CPU seconds of processes that this one started, and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _jobs(scenario: Scenario, data_root: Path, folder: Path, count: int) -> tuple[LocalRun, list[Job]]:
    seeds = range(count)
    run = LocalRun(
        scenario,
        [load_variant("scratch")],
        seeds,
        device="cpu",
        data_root=data_root,
        results=folder / "none",
        cache=folder / "cache",
        threads=1,
    )
    return run, [job for job in graph_of([(run, None)], seeds).due if job.kind == "trial" and job.update == 1]


def _take_turns(
    folder: Path,
    data_root: Path,
    processes: int,
    jobs: Sequence[Job],
    pairs: int,
    trials: int,
    told: Callable[[str], None],
) -> dict[Arm, tuple[float, ...]]:
    """Return the seconds a trial of each way, in the order of the pairs. They alternate in who begins."""
    ways: dict[Arm, tuple[int, int]] = {"processes": (processes, 1), "threads": (1, processes)}
    executors: dict[Arm, Processes] = {}
    seconds: dict[Arm, list[float]] = {name: [] for name in ways}
    try:
        for name, (count, threads) in ways.items():
            told(f"processes: {count}, threads of each: {threads}")
            place = Place(
                folder=os.getcwd(),  # noqa: PTH109
                data_root=str(data_root.absolute()),
                results=str(folder / name),
                cache=str(folder / f"{name}-cache"),
                device="cpu",
                threads=threads,
            )
            executors[name] = Processes(place, count, Silent())
            _run_all(executors[name], jobs[:count])  # each process has one
        for pair in range(pairs):
            told(f"pair {pair + 1} of {pairs}")
            begin = processes + pair * trials
            for name in list(ways) if pair % 2 == 0 else list(reversed(ways)):
                begun = time.perf_counter()
                _run_all(executors[name], jobs[begin : begin + trials])
                seconds[name].append((time.perf_counter() - begun) / trials)
    finally:
        for executor in executors.values():
            executor.cancel()
    return {name: tuple(each) for name, each in seconds.items()}


def _run_all(executor: Processes, jobs: Sequence[Job]) -> None:
    waiting, running = list(jobs), 0
    while waiting or running:
        part = [waiting.pop(0) for _ in range(min(executor.room, len(waiting)))]
        executor.submit(part)
        running += len(part)
        for ended in executor.poll():
            running -= 1
            if ended.outcome != "done":
                raise TrialError(
                    f"{ended.id}: {ended.reason}, expected a trial that ends. Run it by itself: bench run."
                )
