from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.api.sweeps import run_sweep, sweep
from bench.catalog import find_scenario
from bench.errors import BenchError, DataError, RecordError, ScenarioError, StrategyError, TakenError, TrialError
from bench.execution.estimate import StepCost
from bench.execution.jobs import (
    Ended,
    Graph,
    Job,
    Place,
    forget,
    graph_of,
    job_of,
    read_graph,
    run_one,
    scenario_from_text,
    scenario_text,
    work,
    work_elsewhere,
)
from bench.execution.listener import Listener
from bench.execution.local import LocalRun
from bench.execution.sinks import SINKS
from bench.execution.sweep import drive
from bench.locks import locked
from bench.records.store import find_trials, read_evals, read_trial
from bench.reporting.plans import graph_cells
from bench.scenario import load_scenario
from bench.strategies.regularizer import NoRegularizer
from bench.strategies.strategy import load_strategy, named
from bench.strategies.texts import as_text, as_text_or_pickle, from_text
from bench.strategies.variants import load_variant, vary
from tests.conftest import shorten
from tests.execution.test_local import BASELINES, Log
from tests.records.made_up import change

_LEARNED = ("steps", "images", "train_flops", "aux_flops", "evaluate_flops", "validation_accuracy", "test_accuracy")
COST = StepCost(flops=10**9, seconds=0.5, parameters=1)


def run_at(
    folder: Path, entrants=BASELINES, name: str = "digits-7-3", title: str = "short", fresh: bool = False
) -> LocalRun:
    """Return a run of seed 0 in one epoch. folder: for its records and its cache."""
    scenario = shorten(load_scenario(find_scenario(name)), points=2, epochs=1).model_copy(update={"name": title})
    folders = {"data_root": folder, "results": folder / "results", "cache": folder / "cache"}
    return LocalRun(scenario, entrants, (0,), device="cpu", threads=1, fresh=fresh, **folders)


def place_of(folder: Path) -> Place:
    folders = {name: str(folder / name) for name in ("results", "cache")}
    return Place(folder=str(folder.parent), data_root=str(folder), device="cpu", threads=1, **folders)


def learned(results: Path) -> dict[str, Any]:
    """Return what each trial learned and counted, with that of the base model that it used."""
    found = {}
    for folder, record in find_trials(results):
        assert record.summary is not None
        evals = [(row.step, row.train_loss, row.validation_accuracy) for row in read_evals(folder)]
        base = record.base and record.base.model_dump(include={*_LEARNED})
        summary = record.summary.model_dump(include={*_LEARNED, "weights_sha256"})
        found[str(folder.relative_to(results))] = (summary, record.previous_sha256, evals, base)
    return found


class Here:
    """An executor that runs jobs in this process, one at a time."""

    def __init__(self, place: Place, count: int, listener: Listener) -> None:
        self._place, self._listener = replace(place, jobs=count), listener
        self._waiting: list[Job] = []
        self.cancelled = False

    def start(self, count: int) -> None:
        assert count >= 0

    @property
    def room(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting += jobs

    def poll(self) -> list[Ended]:
        plain = json.loads(json.dumps([each.plain() for each in self._waiting]))
        self._waiting = []
        return [work(job_of(each), self._place, self._listener) for each in plain]

    def cancel(self) -> None:
        self.cancelled = True


def by_json(graph: Graph) -> list[dict]:
    """Return the jobs as another machine gets them."""
    return json.loads(json.dumps([job.plain() for job in graph.jobs]))


def test_a_graph_leads_from_the_images_by_base_models_to_update_after_update(tmp_path: Path):
    graph = graph_of([(run_at(tmp_path / "here", name="digits-4-2-2-2"), COST)], (0, 1))
    needs = {job.id: job.needs for job in graph.jobs}
    assert [needs[f"short/naive/1/seed-1/update-{k}"] for k in (1, 2, 3)] == [
        ("short/base/seed-1",),
        ("short/naive/1/seed-1/update-1",),
        ("short/naive/1/seed-1/update-2",),
    ]
    assert {needs[f"short/scratch/1/seed-0/update-{k}"] for k in (1, 2, 3)} == {("short/images",)}
    assert needs["short/base/seed-0"] == ("short/images",)
    assert [(kind, sum(job.kind == kind for job in graph.jobs)) for kind in ("preparation", "base model", "trial")] == [
        ("preparation", 1),
        ("base model", 2),
        ("trial", 2 * 3 * 3),
    ]
    seen: set[str] = set()
    for job in graph.jobs:  # each after all that it needs
        assert set(job.needs) <= seen
        seen.add(job.id)
    path = [job.id for job in graph.critical_path]
    assert path[0].startswith("short/base/")
    assert [each.rpartition("/")[2] for each in path[1:]] == ["update-1", "update-2", "update-3"]
    assert sum(job.flops for job in graph.critical_path) / 10**9 * 0.5 == pytest.approx(graph.lengths[path[0]])
    assert graph.due == graph.jobs[1:]  # the images were read


def test_jobs_run_one_by_one_from_their_json_alone_are_the_run(tmp_path: Path):
    mine = tmp_path / "code" / "mine.py"
    mine.parent.mkdir()
    (mine.parent / "mypieces.py").write_text(_PIECE)
    mine.write_text(_MINE)
    entrants = [*BASELINES[:2], load_variant(f"{mine}:half[start=Fresh]"), load_strategy(mine).at(0.5)]
    run = run_at(tmp_path / "whole", entrants)
    graph = graph_of([(run_at(tmp_path / "apart", entrants), None)], (0,))
    plain = by_json(graph)
    run.run(Log())
    shutil.rmtree(mine.parent)  # its text has gone with the job
    place = replace(place_of(tmp_path / "apart"), words=("run", "--executor", "ray"))
    ended = [work_elsewhere(job, json.loads(json.dumps(vars(place)))) for job in plain]
    assert {each["outcome"] for each in ended} == {"done"}
    assert learned(tmp_path / "apart" / "results") == learned(tmp_path / "whole" / "results")
    hashes = [
        {record.strategy["name"]: record.strategy_hash for _, record in find_trials(tmp_path / where / "results")}
        for where in ("apart", "whole")
    ]
    assert hashes[0] == hashes[1]
    assert set(hashes[0]) == {"scratch", "naive", "mine", "mine.half[start=Fresh]"}
    commands = {record.provenance.command for _, record in find_trials(tmp_path / "apart" / "results")}
    assert commands == {"bench run --executor ray"}  # what was typed, wherever it runs
    assert graph_of([(run_at(tmp_path / "apart", BASELINES[:2]), None)], (0,)).due == ()
    for job in graph.jobs:  # what was planned is what it cost
        record = read_trial(tmp_path / "apart" / "results" / job.id)
        assert record is None or job.flops == record.summary.train_flops + record.summary.aux_flops
        base = record.base if record else None
        expected = next(each for each in graph.jobs if each.kind == "base model")
        assert base is None or expected.flops == base.train_flops + base.aux_flops


_PIECE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Steady:
    peak: float = 0.5

    def factors(self, steps):
        return [self.peak] * steps
"""
_MINE = """
from bench import *
from mypieces import Steady

strategy = Strategy("Mine", start=Keep(), schedule=Steady())
half = Strategy("Half", start=Keep(), schedule=Steady(0.25), horizon=0.5)
"""


def test_a_graph_is_read_as_it_was_written(tmp_path: Path):
    runs = [(run_at(tmp_path / "here", [load_variant("optimized[schedule.warmup=0.3]"), BASELINES[0].at(0.25)]), COST)]
    runs.append((run_at(tmp_path / "here", BASELINES[:1], title="other"), COST))
    graph = graph_of(runs, (0, 1))
    graph.write(tmp_path / "graph.json")
    assert read_graph(tmp_path / "graph.json") == graph
    assert [job_of(plain) for plain in by_json(graph)] == list(graph.jobs)
    (tmp_path / "graph.json").write_text('{"format": "another"}')
    with pytest.raises(RecordError, match=r"not a graph of jobs \(its format is 'another'\)"):
        read_graph(tmp_path / "graph.json")


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path):
    with pytest.raises(ScenarioError, match=r"^--scenario: two scenarios are called short\."):
        graph_of(
            [(run_at(tmp_path / "here", BASELINES[:1]), None), (run_at(tmp_path / "here", BASELINES[:1]), None)], (0,)
        )


def test_a_job_is_refused_where_it_would_be_another(tmp_path: Path):
    place = place_of(tmp_path / "here")
    scratch = graph_of([(run_at(tmp_path / "here", BASELINES[:1]), None)], (0,)).jobs[1]
    assert scratch.strategy is not None
    with pytest.raises(DataError, match=r"^short/scratch/1/seed-0: the images in .* \(digest .*, expected 0123, as pl"):
        run_one(replace(scratch, data_hash="0123"), place)
    with pytest.raises(RecordError, match=r"planned with training version -1, but here it is"):
        run_one(replace(scratch, training_version=-1), place)
    with pytest.raises(
        StrategyError, match=r"^scratch: is another strategy here \(hash .*, expected 0123, as planned\)"
    ):
        from_text({**scratch.strategy, "hash": "0123"})
    with pytest.raises(ScenarioError, match=r"^short: is another scenario here \(hash .*, expected 0123, as planned\)"):
        scenario_from_text({**scratch.scenario, "hash": "0123"})
    broken = {**scratch.strategy["code"], "modules": {"": ["x.py", "import nowhere_installed", [""]]}}
    with pytest.raises(StrategyError, match=r"^scratch: cannot be made here: ModuleNotFoundError: .*Install here what"):
        from_text({**scratch.strategy, "code": broken})
    elsewhere = scenario_text(load_scenario(find_scenario("cifar10-5-5")))
    ended = work(replace(scratch, scenario=elsewhere), place)  # where nobody has put these images
    assert (ended.id, ended.outcome) == (scratch.id, "failed")
    assert "cifar10" in (ended.reason or "")
    assert str(tmp_path / "here") in (ended.reason or "")
    assert not (tmp_path / "here" / "results").exists()


def test_what_another_process_is_at_work_on_is_skipped(tmp_path: Path):
    run = run_at(tmp_path / "here", BASELINES[1:2])
    _, base, naive = graph_of([(run, None)], (0,)).jobs
    place = place_of(tmp_path / "here")
    with locked(run._bases.folder(0).with_suffix(".lock")), pytest.raises(TakenError, match="is at work on it"):
        run_one(base, place)
    with locked(run.trials[0].folder.with_name("seed-0.lock")), pytest.raises(TakenError, match="is at work on it"):
        run_one(naive, place)
    assert read_trial(run.trials[0].folder) is None


def test_a_strategy_made_in_python_is_sent_to_processes_of_this_machine_and_to_no_other(tmp_path: Path):
    class Local(NoRegularizer):
        pass

    plain = BASELINES[0].strategy
    mine, local = (named(replace(plain, title="Mine", regularizer=kind()), "mine") for kind in (NoRegularizer, Local))
    for each in (mine, local):
        with pytest.raises(StrategyError, match=r"^mine: was made in Python, .* Write it as a file, or run it without"):
            as_text(each)
    sent = json.loads(json.dumps(as_text_or_pickle(mine)))
    assert (from_text(sent).name, from_text(sent).hash()) == ("mine", mine.hash())
    with pytest.raises(StrategyError, match=r"^mine: cannot be sent to another process \(.*, or use --jobs 1\.$"):
        as_text_or_pickle(local)
    (tmp_path / "own.py").write_text(_PIECE + "from bench import *\nstrategy = Strategy('O', Keep(), Steady())\n")
    piece = load_strategy(tmp_path / "own.py").strategy.schedule  # of a file, but not of the strategy's
    mixed = vary(BASELINES[1], {"schedule": piece})
    assert "pickle" in as_text_or_pickle(mixed)
    assert from_text(as_text_or_pickle(mixed)).hash() == mixed.hash()


def test_a_fresh_graph_forgets_what_was_recorded_once_and_for_all(tmp_path: Path):
    place = place_of(tmp_path / "here")
    run_at(tmp_path / "here", BASELINES[1:2], name="digits-4-2-2-2").run(Log())
    before = {folder: record.summary.wall_seconds for folder, record in find_trials(tmp_path / "here" / "results")}
    again = run_at(tmp_path / "here", BASELINES[1:2], name="digits-4-2-2-2", fresh=True)
    graph = graph_of([(again, None)], (0,))
    assert len(graph.due) == len(before) == 3
    with locked(again.trials[2].folder.with_name("update-3.lock")):  # another process is at work on it
        forget(graph, place)
    assert [folder for folder, _ in find_trials(tmp_path / "here" / "results")] == [again.trials[2].folder]
    assert not list((tmp_path / "here" / "cache").rglob("update-*.pt"))
    forget(graph, place)
    drive(graph, Here(place, 1, Log()), Log()).require_all_ran(3)
    after = {folder: record.summary.wall_seconds for folder, record in find_trials(tmp_path / "here" / "results")}
    assert after.keys() == before.keys()
    assert all(after[folder] != before[folder] for folder in before)


def test_a_plan_of_several_jobs_is_the_same_run_by_way_of_its_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Here] = []

    def here(*arguments: Any) -> Here:
        made.append(Here(*arguments))
        return made[-1]

    monkeypatch.setattr("bench.execution.on_processes.Processes", here)
    (tmp_path / "broken.py").write_text(_BROKEN)
    strategies = [
        bench.Strategy("Mine", start=bench.Keep(), schedule=bench.Linear()),
        tmp_path / "broken.py",
        "scratch",
    ]
    scenario, log = run_at(tmp_path, ()).scenario, Log()

    def run(place: str, jobs: int) -> None:
        folders = {name: tmp_path / place / name for name in ("results", "cache", "models")}
        plan = bench.plan(scenario, strategies, [0, 1], device="cpu", threads=1, **folders)
        bench.run(plan, jobs=jobs, listener=log)

    with pytest.raises(TrialError, match=r"^2 of 8 jobs failed: short/broken/1/seed-\d \(StrategyError: Bad: failed"):
        run("beside", 2)
    assert made[0].cancelled
    assert [label for label, _ in log.began_].count("short/base/seed-0") == 1
    with pytest.raises(TrialError, match=r"^2 of 6 trials failed: broken seed 0 \(StrategyError: Bad: failed"):
        run("alone", 1)
    states = [(each.strategy["name"], each.status) for _, each in find_trials(tmp_path / "beside" / "results")]
    assert sorted(states) == sorted((name, state) for name, state in _ENDED for _ in (0, 1))
    for name, status in _ENDED:
        if status == "failed":
            for place in ("alone", "beside"):
                shutil.rmtree(tmp_path / place / "results" / "short" / name)
    assert learned(tmp_path / "beside" / "results") == learned(tmp_path / "alone" / "results")
    assert len(list((tmp_path / "beside" / "models").rglob("*.pt"))) == 4
    assert {each.provenance.jobs for _, each in find_trials(tmp_path / "beside" / "results")} == {2}
    trials = bench.plan(scenario, ["scratch"], [0], results=tmp_path / "beside" / "results", device="cpu", threads=1)
    log.planned(0, 0, 1)
    bench.run(trials, jobs=2, listener=log)  # all is there
    assert log.total_steps == 0


def test_memory_and_joules_are_expected_of_finished_trials_on_the_same_device_alone(tmp_path: Path):
    half = [BASELINES[0], BASELINES[0].at(0.5)]
    unknown = graph_of([(run_at(tmp_path / "here", half), COST)], (0,)).due
    assert {(job.memory_bytes, job.joules) for job in unknown} == {(None, None)}
    run_at(tmp_path / "here", half[:1]).run(Log())
    folder, record = next(iter(find_trials(tmp_path / "here" / "results")))
    assert record.summary is not None
    assert record.summary.peak_memory_bytes > 50 * 2**20  # a process that has loaded torch

    def expected(cpu: str) -> tuple[int | None, float | None]:
        facts = {"peak_memory_bytes": 3 * 2**30, "cpu_joules": 7.2e6, "shared": None}
        change(folder, lambda content: content["summary"].update(facts))
        change(folder, lambda content: content["provenance"].update(cpu=cpu))
        graph = graph_of([(run_at(tmp_path / "here", half), COST)], (0,))
        (due,) = graph.due
        words = " ".join(graph_cells(graph, 1).notes)
        assert ("Memory: up to 3 GiB for a job" in words) == ("Energy: 1 kWh, by" in words) == (due.joules is not None)
        assert job_of(json.loads(json.dumps(due.plain()))) == due
        return due.memory_bytes, due.joules

    assert expected(record.provenance.cpu) == (3 * 2**30, pytest.approx(3.6e6))  # half of the FLOPs
    assert expected("another processor") == (None, None)


def test_a_sweep_takes_fresh_and_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    heard: list[tuple[Any, ...]] = []

    class Sink:
        def __init__(self, folder: Path, scenario: str) -> None:
            heard.append((folder, scenario))

        def began(self, label: str) -> None:
            heard.append(("began", label))

        def evaluated(self, label: str, step: int, values: dict[str, float]) -> None:
            heard.append(("evaluated", label))

        def ended(self, label: str) -> None:
            heard.append(("ended", label))

    monkeypatch.setattr("bench.execution.executors.Processes", Here)
    monkeypatch.setitem(SINKS, "tensorboard", Sink)
    folders = {name: tmp_path / name for name in ("results", "cache", "data_root")}

    def measured(fresh: bool) -> float:
        scenario = run_at(tmp_path, ()).scenario
        found = sweep([scenario], ["scratch"], [0], device="cpu", threads=1, fresh=fresh, **folders)
        run_sweep(found, jobs=1, log=["tensorboard"], log_folder=tmp_path / "logs")
        ((_, record),) = find_trials(tmp_path / "results")
        assert record.summary is not None
        return record.summary.wall_seconds

    first = measured(fresh=False)
    label = "short/scratch/1/seed-0"
    assert heard == [(tmp_path / "logs", "short"), ("began", label), *[("evaluated", label)] * 2, ("ended", label)]
    assert measured(fresh=False) == first
    assert measured(fresh=True) != first
    with pytest.raises(BenchError, match=r"^--log: --executor ray tells no evaluations, expected local"):
        run_sweep(sweep([run_at(tmp_path, ()).scenario], ["scratch"], [0], **folders), "ray", log=["tensorboard"])


_ENDED = (("mine", "finished"), ("broken", "failed"), ("scratch", "finished"))
_BROKEN = """
from dataclasses import dataclass
from bench import *

@dataclass(frozen=True)
class Bad:
    passes = 0
    anchor = None

    def apply(self, parameters, anchors):
        raise RuntimeError("no good")

strategy = Strategy("Broken", start=Keep(), schedule=Linear(), regularizer=Bad())
"""
