"""Shared fixtures. Tests run on one thread, on the CPU, without network."""

from __future__ import annotations

import copy
import logging
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.catalog import find_scenario
from bench.data.feed.update import Update, build_update
from bench.data.sources.find import ImageSet, load_set
from bench.data.stages.splits import Split, cut
from bench.scenario import Scenario, load_scenario
from bench.strategies.schedule import OneCycle
from bench.strategies.start import Fresh
from bench.strategies.strategy import Entrant, Strategy
from bench.training import trial
from bench.training.base import BASE, _cost
from bench.training.provenance import describe_run
from bench.training.spec import Base, TrialSpec
from bench.training.trial import Finished, Observer, Trial

torch.set_num_threads(1)

CPU = torch.device("cpu")


def shorten(scenario: Scenario, *, points: int = 4, **training: object) -> Scenario:
    """Return a scenario with another training part, small enough for a test."""
    changed = scenario.training.model_copy(update={"epochs": 2, **training})
    evaluation = scenario.evaluation.model_copy(update={"points": points, "test_every": 2})
    return scenario.model_copy(update={"name": "short", "training": changed, "evaluation": evaluation})


@pytest.fixture(autouse=True)
def checkpoint_at_each_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted trials resume from their last evaluation, however short they are."""
    monkeypatch.setattr(trial, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What bench logs is as loud after a test as before it: the next one in this process may read it."""
    before = _loudness()
    yield
    assert _loudness() == before


def _loudness() -> dict[str, tuple[int, bool, bool]]:
    manager = logging.root.manager
    found = {name: logger for name, logger in manager.loggerDict.items() if name.split(".")[0] == "bench"}
    loud = {name: (it.level, it.propagate, it.disabled) for name, it in found.items() if isinstance(it, logging.Logger)}
    changed = {name: each for name, each in loud.items() if each != (logging.NOTSET, True, False)}
    return {**changed, "all": (manager.disable, True, False)}


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return load_set("digits", Path("nowhere"))


@pytest.fixture(scope="session")
def short() -> Scenario:
    """digits-7-3 in two epochs: 32 steps of 64 images."""
    return shorten(load_scenario(find_scenario("digits-7-3")))


@pytest.fixture(scope="session")
def split(short: Scenario, digits: ImageSet) -> Split:
    return cut(short, digits)


@pytest.fixture(scope="session")
def updates(short: Scenario, digits: ImageSet, split: Split) -> tuple[Update, Update]:
    """(stage 0 alone, old + new)."""
    return build_update(short, digits, split, 0, CPU), build_update(short, digits, split, 1, CPU)


@pytest.fixture(scope="session")
def scratch() -> Entrant:
    return Entrant("scratch", Strategy(title="Scratch", start=Fresh(), schedule=OneCycle(warmup=0.2)))


RunTrial = Callable[..., Finished]
Updates = tuple[Update, Update]


def run_short(
    updates: Updates,
    images: ImageSet,
    split: Split,
    entrant: Entrant,
    folder: Path,
    *,
    scenario: Scenario,
    seed: int = 0,
    base: Base | None = None,
    update: int = 1,
    observer: Observer | None = None,
) -> Finished:
    """Run a trial in a folder, with its checkpoints beside it."""
    provenance = describe_run(scenario, images.source, split.hash(), CPU, False, "eager", "test")
    spec = TrialSpec(scenario, entrant, update, seed)
    checkpoint = folder.with_name(f"{folder.name}.pt")
    return Trial(spec, updates[update], base, provenance, folder, checkpoint, CPU, observer).run()


@pytest.fixture
def run_trial(short: Scenario, digits: ImageSet, split: Split, updates: Updates, tmp_path: Path) -> RunTrial:
    """Return a function that runs one short trial in tmp_path / name."""

    def run(entrant: Entrant, *, name: str = "trial", scenario: Scenario = short, **more: Any) -> Finished:
        return run_short(updates, digits, split, entrant, tmp_path / name, scenario=scenario, **more)

    return run


@pytest.fixture(scope="session")
def trained_base(
    short: Scenario, digits: ImageSet, split: Split, updates: Updates, tmp_path_factory: pytest.TempPathFactory
) -> Base:
    folder = tmp_path_factory.mktemp("trained") / "base"
    return as_base(run_short(updates, digits, split, BASE, folder, scenario=short, update=0))


@pytest.fixture
def base(trained_base: Base) -> Base:
    """A copy of the base model of `short`, which is trained once in a process."""
    return copy.deepcopy(trained_base)


def as_base(finished: Finished) -> Base:
    return Base(finished.weights, finished.learning_speed, _cost("key", finished.record))


@pytest.fixture(autouse=True)
def nobody_else_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of trials that a test runs are those of a quiet machine, whatever else this one does meanwhile."""
    monkeypatch.setattr("bench.records.sharing.LEAST_SECONDS", float("inf"))
