from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.catalog import find_scenario
from bench.errors import DataError, RecordError, ScenarioError, StrategyError, TakenError
from bench.execution.estimate import StepCost
from bench.execution.jobs import Graph, Place, graph_of, job_of, read_graph, run_one, scenario_from_text, work_elsewhere
from bench.execution.local import LocalRun
from bench.locks import locked
from bench.records.store import find_trials, read_trial
from bench.scenario import load_scenario
from bench.strategies.regularizer import NoRegularizer
from bench.strategies.strategy import Entrant, load_strategy, named
from bench.strategies.texts import as_text, from_text
from bench.strategies.variants import load_variant
from tests.conftest import shorten
from tests.execution.test_local import BASELINES, Log
from tests.execution.test_side_by_side import learned

COST = StepCost(flops=10**9, seconds=0.5, parameters=1)


def run_at(folder: Path, entrants=BASELINES, name: str = "digits-7-3", title: str = "short") -> LocalRun:
    """Return a run of seed 0 in one epoch. folder: for its records and its cache."""
    scenario = shorten(load_scenario(find_scenario(name)), points=2, epochs=1).model_copy(update={"name": title})
    folders = {"data_root": folder, "results": folder / "results", "cache": folder / "cache"}
    return LocalRun(scenario, entrants, (0,), device="cpu", threads=1, **folders)


def place_of(folder: Path) -> Place:
    folders = {name: str(folder / name) for name in ("results", "cache")}
    return Place(folder=str(folder.parent), data_root=str(folder), device="cpu", threads=1, **folders)


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
    assert not (tmp_path / "here").exists()


def test_what_another_process_is_at_work_on_is_skipped(tmp_path: Path):
    run = run_at(tmp_path / "here", BASELINES[1:2])
    _, base, naive = graph_of([(run, None)], (0,)).jobs
    place = place_of(tmp_path / "here")
    with locked(run._bases.folder(0).with_suffix(".lock")), pytest.raises(TakenError, match="is at work on it"):
        run_one(base, place)
    with locked(run.trials[0].folder.with_name("seed-0.lock")), pytest.raises(TakenError, match="is at work on it"):
        run_one(naive, place)
    assert read_trial(run.trials[0].folder) is None


def test_a_strategy_without_a_text_is_refused():
    class Local(NoRegularizer):
        pass

    plain = BASELINES[0].strategy
    mine: Entrant = named(replace(plain, title="Mine"), "mine")
    with pytest.raises(StrategyError, match=r"^mine: was made in Python, .* Write it as a file, or run it without"):
        as_text(mine)
