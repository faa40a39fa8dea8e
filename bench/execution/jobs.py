"""Jobs: the nodes of a plan's graph, and the one way to run one, wherever that is.

A job says all that it takes as names, texts and hashes: its scenario, its strategy with its code, a seed, and which data it is
to find. Preparation comes before base models, these before the trials that start from them, and an update of a chain before the
next.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from bench.data.feed.streaming import Residence
from bench.errors import BenchError, DataError, RecordError, ScenarioError, TakenError
from bench.execution.earlier import Earlier
from bench.execution.equal_cost import Expectations
from bench.execution.estimate import StepCost
from bench.execution.listener import Listener, Silent
from bench.execution.local import LocalRun, base_label
from bench.execution.plan import PlannedTrial
from bench.files import replacing
from bench.records.schema import EvalRow, TrialRecord
from bench.records.store import trial_place
from bench.scenario import Scenario, parse_scenario
from bench.strategies.strategy import Entrant
from bench.strategies.texts import as_text, from_text
from bench.training import TRAINING_VERSION
from bench.training.base import BASE
from bench.training.step import StepChoice
from bench.version import __version__

Kind = Literal["preparation", "base model", "trial"]
KINDS: tuple[Kind, ...] = ("preparation", "base model", "trial")
FORMAT = "bench jobs 1"
# In the folder of a job that does not see the place's results and cache.
RESULTS, CACHE = "results", "cache"


@dataclass(frozen=True, slots=True)
class Job:
    """A node of a plan's graph.

    id: where its record lies below the results, or what it makes. needs: the ids of jobs that come before it. scenario, strategy:
    whole, as plain values; strategy None but for a trial. seed: None for a preparation. data_hash: see Provenance.
    steps, flops: expected. seconds: expected, of training, where steps were timed. cached: whether it is done already.
    memory_bytes, joules: expected, of training, by the scenario's finished trials on the same kind of device; None if unknown.
    """

    id: str
    kind: Kind
    scenario: Mapping[str, Any]
    strategy: Mapping[str, Any] | None
    seed: int | None
    update: int
    data_hash: str
    training_version: int
    needs: tuple[str, ...]
    steps: int
    flops: int
    seconds: float | None
    cached: bool
    memory_bytes: int | None = None
    joules: float | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, which `job_of` takes."""
        return {name: getattr(self, name) for name in self.__slots__}


def job_of(plain: Mapping[str, Any]) -> Job:
    """Return the job that Job.plain described, also by way of JSON."""
    return Job(**{**plain, "needs": tuple(plain["needs"])})


@dataclass(frozen=True)
class Place:
    """Where and with what jobs run, the same for all of a graph: plain values.

    folder: the current one, which models of the user's own are relative to. data_root, results, cache: absolute paths, which
    every machine that runs jobs has to see, unless it is sent what they need, see apart. device, compiled, step, threads,
    images, models: see bench.plan. jobs: how many run side by side, for the record. words: of the command, for the record.
    """

    folder: str
    data_root: str
    results: str
    cache: str
    device: str = "auto"
    compiled: bool | None = None
    step: StepChoice = "auto"
    threads: int | None = None
    images: Residence = "auto"
    models: str | None = None
    jobs: int = 1
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Jobs, each after all that it needs."""

    jobs: tuple[Job, ...]

    @cached_property
    def due(self) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if not job.cached)

    @cached_property
    def lengths(self) -> dict[str, float]:
        """How long it takes from when a job begins to the end of the last that waits for it, by id, of those that are due.

        In seconds or, where those of any are not known, in FLOPs.
        """
        after: dict[str, float] = {}
        found: dict[str, float] = {}
        for job in reversed(self.due):
            found[job.id] = (job.flops if self._untimed else job.seconds or 0) + after.get(job.id, 0)
            for each in job.needs:
                after[each] = max(after.get(each, 0), found[job.id])
        return found

    @cached_property
    def critical_path(self) -> list[Job]:
        """The jobs that are due and must run one after the other, and take the longest together."""
        path: list[Job] = []
        after: dict[str, list[Job]] = {}
        for job in self.due:
            for each in job.needs:
                after.setdefault(each, []).append(job)
        choices: Sequence[Job] = self.due
        while choices:
            path.append(max(choices, key=lambda job: self.lengths[job.id]))
            choices = after.get(path[-1].id, ())
        return path

    @property
    def _untimed(self) -> bool:
        return any(job.seconds is None for job in self.due)

    def write(self, path: Path) -> None:
        """Write it as JSON: what many jobs share (scenarios, strategies, their code) once, and named by the jobs."""
        scenarios = {job.scenario["name"]: job.scenario for job in self.jobs}
        strategies, codes = dict[str, Any](), dict[str, Any]()
        for job in self.jobs:
            if job.strategy is not None and (key := _key(job.strategy)) not in strategies:
                codes[job.strategy["plain"]] = job.strategy["code"]
                strategies[key] = {**job.strategy, "code": job.strategy["plain"]}
        head = {
            "format": FORMAT,
            "bench_version": __version__,
            "scenarios": scenarios,
            "codes": codes,
            "strategies": strategies,
        }
        with replacing(path) as part, part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head)[:-1] + ', "jobs": [\n')
            for place, job in enumerate(self.jobs):
                said = {
                    **job.plain(),
                    "scenario": job.scenario["name"],
                    "strategy": job.strategy and _key(job.strategy),
                }
                file.write((",\n" if place else "") + json.dumps(said))
            file.write("\n]}\n")


def read_graph(path: Path) -> Graph:
    """Return the graph that Graph.write wrote. Raises RecordError for another file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        strategies = {
            key: {**each, "code": content["codes"][each["code"]]} for key, each in content["strategies"].items()
        }
        jobs = [
            job_of(
                {**job, "scenario": content["scenarios"][job["scenario"]], "strategy": strategies.get(job["strategy"])}
            )
            for job in content["jobs"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise RecordError(f"{path}: not a graph of jobs ({cause}), expected what bench plan --json wrote.") from cause
    return Graph(tuple(jobs))


def graph_of(
    runs: Iterable[tuple[LocalRun, StepCost | None]],
    seeds: Sequence[int],
    said: Callable[[Entrant], dict[str, Any]] = as_text,
) -> Graph:
    """Return the graph of several scenarios' runs on these seeds. With what a step of each costs, the jobs have seconds.

    said: how strategies are described, as_text, or as_text_or_pickle for processes of this machine.
    Raises StrategyError for a strategy that cannot be sent elsewhere, RecordError where other trials' records are in the way, and
    ScenarioError for two scenarios of one name: their records would lie in one folder.
    """
    jobs: dict[str, list[Job]] = {}
    for run, cost in runs:
        name = run.scenario.name
        if name in jobs:
            raise ScenarioError(f"--scenario: two scenarios are called {name}. Name one of them once, or rename it.")
        jobs[name] = list(_jobs_of(run, seeds, cost, said))
    return Graph(tuple(chain.from_iterable(jobs.values())))


def _jobs_of(
    run: LocalRun, seeds: Sequence[int], cost: StepCost | None, said: Callable[[Entrant], dict[str, Any]]
) -> Iterator[Job]:
    """Yield a scenario's jobs, with what its finished trials say of those that are due."""
    earlier = Earlier(run.device_name)
    jobs = list(_plain_jobs_of(run, seeds, cost, said, earlier))
    for job in jobs:
        joules = earlier.joules(job.flops)
        known = not job.cached and (earlier.memory_bytes is not None or joules is not None)
        yield replace(job, memory_bytes=earlier.memory_bytes, joules=joules) if known else job


def _plain_jobs_of(
    run: LocalRun,
    seeds: Sequence[int],
    cost: StepCost | None,
    said: Callable[[Entrant], dict[str, Any]],
    earlier: Earlier,
) -> Iterator[Job]:
    expected, updates = Expectations(run), range(1, run.scenario.updates + 1)
    texts = {_name_at(each): said(each) for each in run.entrants}
    codes: dict[str, Any] = {}
    for text in texts.values():  # one object for all variants of a strategy
        text["code"] = codes.setdefault(text["plain"], text["code"])
    costs = {(_name_at(each), update): expected.of_update(each, update) for each in run.entrants for update in updates}
    makes_bases = run.trains_bases and any(each.strategy.needs_base for each in run.entrants)
    base_costs = expected.of_base() if makes_bases else (0, 0)
    scenario, prepared = scenario_text(run.scenario), f"{run.scenario.name}/images"

    def job(id: str, kind: Kind, needs: str | None, costs: tuple[int, int], done: bool, **what: Any) -> Job:
        return Job(
            id=id,
            kind=kind,
            scenario=scenario,
            data_hash=run.data_hash,
            training_version=TRAINING_VERSION,
            needs=(needs,) if needs else (),
            steps=costs[0],
            flops=costs[1],
            seconds=None if cost is None else costs[1] / cost.flops * cost.seconds,
            cached=done,
            **{"strategy": None, "seed": None, "update": 0, **what},
        )

    yield job(prepared, "preparation", None, (0, 0), True)  # a plan needs the images' digest, and so the images
    for seed in seeds:
        one = run.of(run.entrants, [seed])
        first = f"{run.scenario.name}/{BASE.name}/seed-{seed}" if makes_bases else prepared
        if makes_bases:
            yield job(first, "base model", prepared, base_costs, seed not in one.lacking_bases(), seed=seed)
        before: dict[str, str] = {}
        for trial in one.trials:
            spec, name = trial.spec, _name_at(trial.spec.entrant)
            needs = before.get(name, first) if spec.entrant.strategy.needs_base else prepared
            number = spec.update if run.scenario.updates > 1 else None
            place = trial_place(run.scenario.name, spec.entrant.name, spec.horizon, seed, number)
            before[name] = place
            earlier.note(trial.record)
            what = {"strategy": texts[name], "seed": seed, "update": spec.update}
            yield job(place, "trial", needs, costs[name, spec.update], not trial.due, **what)


def _name_at(entrant: Entrant) -> str:
    return f"{entrant.name}@{entrant.strategy.horizon:g}"


def _key(strategy: Mapping[str, Any]) -> str:
    return f"{strategy['name']}@{strategy['horizon']:g}"


def scenario_text(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as plain values, with the absolute path of the folder that its own paths are relative to."""
    root = str(scenario.root.absolute()) if scenario.root else None
    return {
        "name": scenario.name,
        "hash": scenario.hash(),
        "root": root,
        "content": scenario.model_dump(mode="json"),
    }


def scenario_from_text(said: Mapping[str, Any]) -> Scenario:
    """Return the scenario that `scenario_text` described. Raises ScenarioError if it is another one here."""
    found = parse_scenario(said["content"], f"scenario {said['name']!r}")
    if found.hash() != said["hash"]:
        raise ScenarioError(
            f"{found.name}: is another scenario here (hash {found.hash()}, expected {said['hash']}, as planned). Install the "
            "same version of bench on every machine."
        )
    return found.model_copy(update={"root": Path(said["root"]) if said["root"] else None})


def run_one(job: Job, place: Place, listener: Listener | None = None, apart: Path | None = None) -> str | None:
    """Run a job here, and return None, or why it failed. What is done already is not done again.

    apart: a folder whose "results" and "cache" stand for the place's.
    Raises TakenError if another process is at work on it, DataError if the images here are others than those it was planned with,
    and what LocalRun raises.
    """
    if job.training_version != TRAINING_VERSION:
        raise RecordError(
            f"{job.id}: planned with training version {job.training_version}, but here it is {TRAINING_VERSION}. Install the "
            "same version of bench on every machine."
        )
    run = run_of(job, place)
    if run.data_hash != job.data_hash:
        raise DataError(
            f"{job.id}: the images in {place.data_root}, or a model or checkpoint of your own, are others here (digest "
            f"{run.data_hash}, expected {job.data_hash}, as planned). Put the same there on every machine."
        )
    told = _Told(listener or Silent(), job)
    if job.kind == "preparation" or job.seed is None:
        return None
    if apart is not None:
        run = run.at(apart / RESULTS, apart / CACHE)
    if job.kind == "base model":
        return run.of((), [job.seed]).attempt_base(job.seed, told)
    one, trial = trial_of(job, run)
    return one.failure_of(trial, told)


def forget(graph: Graph, place: Place) -> None:
    """Remove the records of all trials that are due, so that each runs anew; what another process is at work on stays."""
    for job in graph.due:
        if job.kind == "trial":
            one, trial = trial_of(job, _run_here(json.dumps(job.scenario, sort_keys=True), place, fresh=True))
            one.forget(trial)


def run_of(job: Job, place: Place) -> LocalRun:
    """Return the run of a job's scenario, without strategies and seeds; its images are read once for many jobs."""
    return _run_here(json.dumps(job.scenario, sort_keys=True), place)


def trial_of(job: Job, run: LocalRun) -> tuple[LocalRun, PlannedTrial]:
    """Return the run of a job's strategy and seed, and its trial, as their records are now."""
    assert job.strategy is not None
    assert job.seed is not None
    one = run.of([_entrant_here(json.dumps(job.strategy, sort_keys=True))], [job.seed])
    return one, next(trial for trial in one.trials if trial.spec.update == job.update)


@lru_cache(maxsize=2)
def _run_here(scenario: str, place: Place, fresh: bool = False) -> LocalRun:
    return LocalRun(
        scenario_from_text(json.loads(scenario)),
        (),
        (),
        device=place.device,
        data_root=Path(place.data_root),
        results=Path(place.results),
        cache=Path(place.cache),
        compiled=place.compiled,
        step=place.step,
        threads=place.threads,
        jobs=place.jobs,
        residence=place.images,
        fresh=fresh,
        models=None if place.models is None else Path(place.models),
    )


@lru_cache(maxsize=1000)
def _entrant_here(strategy: str) -> Entrant:
    return from_text(json.loads(strategy))


class _Told:
    """Tells a listener of a job under its id, and of a base model that a trial makes for itself under its name."""

    def __init__(self, listener: Listener, job: Job) -> None:
        self._listener = listener
        self._job = job

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        pass

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        self._listener.began(self._name(label), total_steps, done_steps)

    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None:
        self._listener.evaluated(self._name(label), row, total_steps)

    def ended(self, label: str, record: TrialRecord | None) -> None:
        self._listener.ended(self._name(label), record)

    def _name(self, label: str) -> str:
        own = self._job.kind == "base model" or label != base_label(self._job.seed or 0)
        return self._job.id if own else f"{self._job.scenario['name']}: {label}"


Outcome = Literal["done", "failed", "taken"]


@dataclass(frozen=True)
class Ended:
    """How a job ended. "taken": another process is at work on it. reason: None if it is done."""

    id: str
    outcome: Outcome
    reason: str | None = None


def work(job: Job, place: Place, listener: Listener | None = None, apart: Path | None = None) -> Ended:
    """Do what run_one does, and say how it ended. A bug keeps its traceback."""
    try:
        failure = run_one(job, place, listener, apart)
    except TakenError as cause:
        return Ended(job.id, "taken", str(cause))
    except BenchError as cause:
        return Ended(job.id, "failed", str(cause))
    return Ended(job.id, "failed", failure) if failure else Ended(job.id, "done")


def work_elsewhere(job: Mapping[str, Any], place: Mapping[str, Any], apart: Path | None = None) -> dict[str, Any]:
    """Do what `work` does from plain values to plain values, as if the command had been typed in this process.

    Why it failed is said with this machine's name, of which there are many.
    """
    here = Place(**{**place, "words": tuple(place["words"])})
    before, sys.argv = sys.argv, ["bench", *here.words]
    try:
        with chdir(here.folder if Path(here.folder).is_dir() else "."):
            ended = work(job_of(job), here, apart=apart)
    finally:
        sys.argv = before
    if ended.outcome == "failed":
        ended = replace(ended, reason=f"on {platform.node()}: {ended.reason}")
    return asdict(ended)
