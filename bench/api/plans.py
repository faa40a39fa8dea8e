"""Planning and running: from names, paths or objects to finished trials."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.named import load_scenario, seeds_for, strategies_for
from bench.catalog import BASELINES, TUNING_FROM
from bench.errors import BenchError, DataError
from bench.files import local_folder
from bench.places import LOGS, RUNS, cache_folder, data_folder

if TYPE_CHECKING:
    import pandas as pd

    from bench.api.named import ScenarioLike, StrategyLike
    from bench.api.results import Results
    from bench.data.feed.streaming import Residence
    from bench.data.files.prepare import Prepared, Progress
    from bench.execution.estimate import Plan as Estimates
    from bench.execution.jobs import Place
    from bench.execution.listener import Listener
    from bench.execution.local import LocalRun
    from bench.scenario import Scenario
    from bench.strategies.strategy import Entrant
    from bench.training.able import LeftOut
    from bench.training.given import OldModel
    from bench.training.step import StepChoice


@dataclass(frozen=True)
class Plan:
    """What would be run: one scenario, some strategies and seeds. See plan().

    results: where records go, and where finished trials are looked for.
    """

    scenario: Scenario
    strategies: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    results: Path
    _options: dict[str, Any] = field(repr=False)
    _local: LocalRun = field(repr=False, compare=False)

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial: strategy, horizon, update, seed, steps (optimizer steps), state ("due", "finished", ...)."""
        import pandas as pd

        rows = [
            {
                "strategy": trial.spec.entrant.name,
                "horizon": trial.spec.horizon,
                "update": trial.spec.update,
                "seed": trial.spec.seed,
                "steps": self._local.steps_of(trial),
                "state": trial.state,
            }
            for trial in self._local.look()
        ]
        return pd.DataFrame(rows, columns=["strategy", "horizon", "update", "seed", "steps", "state"])

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Strategies that run without some of their pieces, which cannot run here; only with `adapt`."""
        return self._local.left_out

    def costs(self, jobs: int = 1) -> Costs:
        """Return what the trials would cost on this machine. Times a few steps on the device; nothing that is kept is trained.

        jobs: as for run(). Raises BenchError unless it is above 0, and DeviceError for more than one on a GPU.
        """
        from bench.execution.estimate import estimate

        check_number("jobs", jobs)
        return Costs(self.scenario, estimate(self._local, jobs))

    def old_model(self) -> OldModel | None:
        """Return what the scenario's own checkpoint is like: how it was read, its normalization and accuracy by old class.

        None if it names none, or no trial that is due needs it. Raises ScenarioError if it is no better than guessing, unless the
        scenario says `untrained_is_fine`.
        """
        return self._local.old_model()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is slower here than it could be, a line each."""
        return self._local.notes

    def into(self, results: str | os.PathLike[str]) -> Plan:
        """Return the same plan with its records in another folder."""
        return plan(self.scenario, self.strategies, self.seeds, results=results, **self._options)


@dataclass(frozen=True)
class Costs:
    """What a plan would cost.

    estimates: of trials that cost the same, those of base models first, with the device and how many steps were timed.
    """

    scenario: Scenario
    estimates: Estimates

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each strategy, horizon and update.

        Columns: strategy, update, asked and due (numbers of trials); steps, images, flops, seconds (of training one whole trial).
        """
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.estimates.estimates])

    def _repr_html_(self) -> str:
        from bench.reporting.layout import html_table
        from bench.reporting.plans import plan_cells

        return html_table(plan_cells(self.scenario, self.estimates))


def plan(
    scenario: ScenarioLike,
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
    models: str | os.PathLike[str] | None = None,
    adapt: bool = False,
    interleave: bool = False,
) -> Plan:
    """Return what would be run. Checks data, strategies and existing records; trains and writes nothing.

    results: folder of records. device: "auto", "cpu", "cuda" or "cuda:N". data_root, cache: None for the user's cache folder.
    step: "eager", operator by operator, "compiled", "graph", recorded and replayed on a GPU, "graph+compiled", or "auto": graph
    on a GPU, and compiled if `compiled` or, where that is None, the scenario says so. threads: of PyTorch on the CPU; None for
    one per core. images: "resident" on the device, "streamed", or "auto". fresh: run finished trials again.
    models: a folder for the weights of each trial that finishes. adapt: run strategies without those of their pieces that cannot
    run here, see Plan.left_out, instead of raising. interleave: run the strategies of each seed in an order drawn from the seed,
    so that what changes with time does not meet one of them alone; for one job at a time.
    Raises a BenchError for whatever can be known to be wrong beforehand, such as image files that are not prepared (see prepare).

    >>> import bench
    >>> plan = bench.plan("digits-7-3", strategies=["scratch", "naive"], seeds=range(2), results="runs-of-the-example")
    >>> plan.trials[["strategy", "seed", "state"]].to_dict("list")
    {'strategy': ['scratch', 'naive', 'scratch', 'naive'], 'seed': [0, 0, 1, 1], 'state': ['due', 'due', 'due', 'due']}
    """
    from bench.execution.local import LocalRun

    asked, entrants, numbers = load_scenario(scenario), strategies_for(strategies), seeds_for(seeds)
    _check_options(images, compiled, threads, fresh, interleave)
    folder = local_folder(results, "--results")
    options = {
        "device": device,
        "data_root": data_root,
        "cache": cache,
        "compiled": compiled,
        "step": step,
        "threads": threads,
    }
    local = LocalRun(
        asked,
        entrants,
        numbers,
        device=device,
        data_root=data_folder() if data_root is None else Path(data_root),
        results=folder,
        cache=cache_folder() if cache is None else Path(cache),
        compiled=compiled,
        step=step,
        threads=threads,
        residence=images,
        fresh=fresh,
        models=None if models is None else Path(models),
        adapt=adapt,
        interleave=interleave,
    )
    options |= {"images": images, "fresh": fresh, "models": models, "interleave": interleave}
    return Plan(asked, local.entrants, numbers, folder, options, local)


def run(
    plan: Plan,
    results: str | os.PathLike[str] | None = None,
    *,
    jobs: int = 1,
    listener: Listener | None = None,
    log: Sequence[str] = (),
    log_folder: str | os.PathLike[str] = LOGS,
    tell: Callable[[str], None] = warnings.warn,
) -> Results:
    """Run a plan's trials that are not finished yet, and return the results of its folder.

    The results hold scored seeds only, or, if all of the plan's are for tuning (from 100 on), tuning seeds only. The records, and
    how they continue after an interruption, are those of the command. results: another folder than the plan's.
    jobs: how many trials run side by side, each in a process of its own: on the CPU with the plan's threads, or with one if the
    plan leaves them open, or on a GPU of its own. With as many threads, the results are those of one job, bit for bit; seconds
    are not compared between the two. A trial that fails is then tried once more, and a fresh plan's records are all removed
    before the first trial begins. A script must call this under `if __name__ == "__main__":`.
    listener: is told how the run progresses (see bench.execution.listener). log: "tensorboard", "wandb" or "mlflow", told of each
    evaluation, off the clock; what they keep in files is in log_folder. tell: is given a line if one of these fails; the trials
    go on.
    A trial that another process is at work on is waited for. Raises TrialError at the end where any trial failed; the others
    have run and are recorded. Raises BenchError unless jobs is above 0, DeviceError for more than there are GPUs, and
    StrategyError for a strategy made in Python that cannot be sent to another process.
    """
    from bench.api.results import load_results
    from bench.execution.listener import Silent
    from bench.execution.sinks import logging_to, open_sinks

    check_number("jobs", jobs)
    if plan._options["interleave"] and jobs > 1:
        raise BenchError(
            f"--interleave: found with --jobs {jobs}, expected 1: it is for one trial at a time. Remove one."
        )
    sinks = open_sinks(log, Path(log_folder), plan.scenario.name)
    chosen = plan if results is None or Path(results) == plan.results else plan.into(results)
    with logging_to(sinks, listener or Silent(), tell) as logged:
        if jobs == 1:
            chosen._local.run(logged)
        else:
            _run_in_processes(chosen, jobs, logged)
    which = "tuning" if min(plan.seeds) >= TUNING_FROM else "scored"
    return replace(load_results(chosen.results, seeds=which, tell=lambda line: None), _scenario=plan.scenario.name)


def _run_in_processes(plan: Plan, jobs: int, listener: Listener) -> None:
    from bench.execution.jobs import forget, graph_of
    from bench.execution.on_processes import Processes
    from bench.execution.sweep import drive
    from bench.strategies.texts import as_text_or_pickle

    place = place_for(
        plan.results, **{name: plan._options[name] for name in plan._options.keys() - {"fresh", "interleave"}}
    )
    plan._local.make_ready()
    executor = Processes(place, jobs, listener)
    try:
        executor.start(sum(trial.due for trial in plan._local.trials))
        graph = graph_of([(plan._local, None)], plan.seeds, as_text_or_pickle)
        if plan._options["fresh"]:
            forget(graph, place)
    except BaseException:
        executor.cancel()
        raise
    drive(graph, executor, listener, wait=True).require_all_ran(len(graph.due))


def place_for(
    results: str | os.PathLike[str],
    *,
    device: str,
    data_root: str | os.PathLike[str] | None,
    cache: str | os.PathLike[str] | None,
    compiled: bool | None,
    step: StepChoice,
    threads: int | None,
    images: Residence,
    models: str | os.PathLike[str] | None = None,
) -> Place:
    """Return where jobs run, for the options of plan(). Raises DeviceError for a missing device, BenchError for an address."""
    from bench.execution.jobs import Place
    from bench.training.device import choose_device

    chosen = choose_device(device)
    return Place(
        folder=os.getcwd(),  # noqa: PTH109
        data_root=str(Path(data_root or data_folder()).absolute()),
        results=str(local_folder(results, "--results").absolute()),
        cache=str(Path(cache or cache_folder()).absolute()),
        device=device if ":" in device else chosen.type,
        compiled=compiled,
        step=step,
        threads=threads,
        images=images,
        models=None if models is None else str(Path(models).absolute()),
        words=tuple(sys.argv[1:]),
    )


def prepare(
    scenario: ScenarioLike,
    *,
    data_root: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> list[Prepared]:
    """Decode a scenario's image files, those that are not decoded yet; nothing where its data come as arrays.

    workers: processes, None for one per processor. skip_broken: leave broken images out. progress: is called with the number of
    images just decoded. Raises DataError for files that are missing or broken.

    >>> import bench
    >>> bench.prepare("digits-7-3")
    []
    """
    from bench.data.sources.find import prepare_images
    from bench.processors import usable_processors

    root = data_folder() if data_root is None else Path(data_root)
    if workers is not None and workers < 1:
        raise BenchError(f"workers: found {workers!r}, expected a whole number above 0, or None. Change it.")
    count = workers or usable_processors()
    return prepare_images(load_scenario(scenario), root, workers=count, skip_broken=skip_broken, progress=progress)


def _check_options(images: object, compiled: object, threads: object, fresh: object, interleave: object) -> None:
    """Raise BenchError for options of another type, which would otherwise count as true."""
    checks = (
        ("images", images, images in ("auto", "resident", "streamed"), "'auto', 'resident' or 'streamed'"),
        ("compiled", compiled, compiled is None or isinstance(compiled, bool), "True, False or None"),
        (
            "threads",
            threads,
            threads is None or (type(threads) is int and threads > 0),
            "a whole number above 0, or None",
        ),
        ("fresh", fresh, isinstance(fresh, bool), "True or False"),
        ("interleave", interleave, isinstance(interleave, bool), "True or False"),
    )
    for name, value, fine, expected in checks:
        if not fine:
            raise BenchError(f"{name}: found {value!r}, expected {expected}. Change it.")


def check_number(name: str, value: object) -> None:
    """Raise BenchError for anything but a whole number above 0."""
    if type(value) is not int or value < 1:
        raise BenchError(f"{name}: found {value!r}, expected a whole number above 0. Change it.")


def require_data(scenario: Scenario, data_root: Path, asked: str) -> None:
    """Raise DataError where a scenario's data are not ready. asked: how the scenario was named, for the message."""
    from bench.data.sources.find import data_ready

    state = data_ready(scenario, data_root)
    if state != "ready":
        raise DataError(
            f"{scenario.name}: data {state}, expected them ready. See: bench data status; bench data prepare --scenario {asked}"
        )
