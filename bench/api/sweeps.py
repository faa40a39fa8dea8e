"""Sweeps: several scenarios, strategies, seeds and horizons as one graph of jobs, on one machine or many."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.named import load_scenario, seeds_for, strategies_for
from bench.api.plans import check_number, place_for
from bench.catalog import BASELINES, TUNING_FROM
from bench.errors import BenchError
from bench.places import LOGS, RUNS

if TYPE_CHECKING:
    from bench.api.named import ScenarioLike, StrategyLike
    from bench.api.results import Results
    from bench.data.feed.streaming import Residence
    from bench.execution.jobs import Graph, Place
    from bench.execution.listener import Listener
    from bench.scenario import Scenario
    from bench.training.step import StepChoice


@dataclass(frozen=True)
class Sweep:
    """What would be run. graph: all jobs. notes: what is slower here than it could be, a line each."""

    graph: Graph
    scenarios: tuple[Scenario, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    _place: Place = field(repr=False)
    _fresh: bool = field(default=False, repr=False)

    @property
    def results(self) -> Path:
        """The folder of records."""
        return Path(self._place.results)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the graph as JSON."""
        self.graph.write(Path(path))


def sweep(
    scenarios: Iterable[ScenarioLike],
    strategies: Iterable[StrategyLike] = BASELINES,
    seeds: Iterable[int] = range(3),
    *,
    results: str | os.PathLike[str] = RUNS,
    device: str = "auto",
    data_root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    compiled: bool | None = None,
    step: StepChoice = "auto",
    threads: int | None = None,
    images: Residence = "auto",
    fresh: bool = False,
    timed: bool = False,
) -> Sweep:
    """Return the graph of all scenarios' trials, of their base models, and of their data. Trains and writes nothing.

    Options as for plan(), fresh included. timed: time a few steps of each scenario here, so that jobs have expected seconds.
    Raises a BenchError for what can be known to be wrong beforehand, as plan() does, and for a strategy made in Python.
    """
    from bench.execution.estimate import time_steps
    from bench.execution.jobs import graph_of
    from bench.execution.local import LocalRun

    asked, entrants, numbers = [load_scenario(each) for each in scenarios], strategies_for(strategies), seeds_for(seeds)
    if not asked:
        raise BenchError("scenarios: none given, expected at least one. Name some.")
    place = place_for(
        results,
        device=device,
        data_root=data_root,
        cache=cache,
        compiled=compiled,
        step=step,
        threads=threads,
        images=images,
    )
    notes: dict[str, None] = {}

    def each_run() -> Any:
        for scenario in asked:
            run = LocalRun(
                scenario,
                entrants,
                numbers[:1],
                device=place.device,
                data_root=Path(place.data_root),
                results=Path(place.results),
                cache=Path(place.cache),
                compiled=compiled,
                step=step,
                threads=threads,
                residence=images,
                fresh=fresh,
            )
            notes.update(dict.fromkeys(run.notes))
            yield run, time_steps(run)[0] if timed else None

    graph = graph_of(each_run(), numbers)
    return Sweep(graph, tuple(asked), numbers, tuple(notes), place, fresh)


def run_sweep(
    sweep: Sweep,
    executor: str = "local",
    *,
    jobs: int | None = None,
    retries: int = 1,
    options: Sequence[str] = (),
    listener: Listener | None = None,
    log: Sequence[str] = (),
    log_folder: str | os.PathLike[str] = LOGS,
    tell: Callable[[str], None] = warnings.warn,
) -> dict[str, Results]:
    """Run what is due, and return each scenario's results, by its name.

    executor: "local", "slurm" or "ray". jobs: how many run at once at most; None for one with "local", else for as many as there
    is room for. retries: how often a job that failed is tried again. options: of the executor, such as "partition=gpu". log,
    log_folder: as for run(), with "local" only, as from elsewhere no evaluations are heard. tell: is given a line for each job
    that was skipped, because another process is at work on it.
    Of a fresh sweep, all records are removed before the first job begins.
    Raises TrialError at the end where any job failed; the others have run and are recorded. Raises BenchError for an executor
    that is not there.
    """
    from bench.api.results import load_results
    from bench.execution.executors import check_log, open_executor, read_options
    from bench.execution.jobs import forget
    from bench.execution.listener import Silent
    from bench.execution.sinks import logging_to, open_sinks
    from bench.execution.sweep import drive
    from bench.records.store import require_writable

    found = read_options(executor, options)
    if jobs is not None:
        check_number("jobs", jobs)
    if type(retries) is not int or retries < 0:
        raise BenchError(f"retries: found {retries!r}, expected a whole number, 0 or above. Change it.")
    check_log(executor, log)
    sinks = open_sinks(log, Path(log_folder), sweep.scenarios[0].name if len(sweep.scenarios) == 1 else "sweep")
    with logging_to(sinks, listener or Silent(), tell) as told:
        opened = open_executor(executor, sweep._place, jobs, found, told, tell)  # pyright: ignore[reportArgumentType]
        try:
            require_writable(Path(sweep._place.results), "--results")
            require_writable(Path(sweep._place.cache), "--cache")
            if sweep._fresh:
                forget(sweep.graph, sweep._place)
        except BaseException:
            opened.cancel()
            raise
        left = drive(sweep.graph, opened, told, retries=retries)
    for line in left.lines():
        tell(line)
    left.require_all_ran(len(sweep.graph.due))
    which = "tuning" if min(sweep.seeds) >= TUNING_FROM else "scored"
    results = load_results(sweep.results, seeds=which, tell=lambda line: None)
    return {each.name: replace(results, _scenario=each.name) for each in sweep.scenarios}
