"""Estimating what a run will take, from a few timed steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from bench.execution.local import LocalRun
from bench.execution.plan import PlannedTrial
from bench.metering.clock import PhaseClock
from bench.strategies.freezing import NoFreezing
from bench.training.base import BASE
from bench.training.device import check_jobs, fix_threads
from bench.training.grid import trial_steps
from bench.training.learner import Learner
from bench.training.spec import TrialSpec
from bench.training.step import StepWay, recorder_for, settle

_WARM_UP_STEPS = 1  # preparing took some already
_LONGEST_ROUND = 8  # steps
_TIMED_SECONDS, _TIMED_STEPS = 2.0, 50  # whichever comes first


@dataclass(frozen=True)
class StepCost:
    """One optimizer step without a regularizer. flops: model and optimizer. seconds: on this machine, now."""

    flops: int
    seconds: float
    parameters: int


@dataclass(frozen=True)
class Estimate:
    """Trials of equal cost: of one strategy and update, or base models.

    asked, due: numbers of trials. steps, images, flops, seconds: of one whole trial; seconds of training alone.
    """

    strategy: str
    update: int
    asked: int
    due: int
    steps: int
    images: int
    flops: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run would do. estimates: in the order of updates, base models first. device: its name.

    jobs: how many trials run side by side. seconds: of training all that is due with so many.
    """

    estimates: tuple[Estimate, ...]
    device: str
    timed_steps: int
    jobs: int
    seconds: float


def estimate(run: LocalRun, jobs: int = 1) -> Plan:
    """Time a few steps of the first update, and work out what is due. Keeps nothing that it trains.

    The timed steps are those of scratch: a regularizer's work is in the FLOPs, but not in the seconds. Where a strategy freezes a
    part of the network or fits a head, both are in proportion to the FLOPs that its first update is expected to take.
    jobs: how many trials would run side by side; they are timed on the threads that each would have, but alone.
    Raises DeviceError for several jobs on a GPU.
    """
    check_jobs(jobs, run.device)
    with _threads_of(run, jobs):
        cost, timed = time_steps(run)
    size = run.scenario.training.batch_size

    def of(strategy: str, update: int, asked: int, due: int, steps: int, passes: int, share: float = 1.0) -> Estimate:
        flops = round(steps * (share * cost.flops + passes * cost.parameters))
        return Estimate(strategy, update, asked, due, steps, steps * size, flops, share * steps * cost.seconds)

    found = []
    needing = {trial.spec.seed for trial in run.trials if trial.spec.entrant.strategy.needs_base}
    if needing and run.trains_bases:
        found.append(of("base model", 0, len(needing), len(run.lacking_bases()), run.budget(0), 0))
    horizons: dict[str, set[float]] = {}
    for trial in run.trials:
        horizons.setdefault(trial.spec.entrant.name, set()).add(trial.spec.horizon)
    for (name, horizon, update), trials in _alike(run.trials).items():
        strategy = trials[0].spec.entrant.strategy
        label = f"{name} at {horizon:g}" if len(horizons[name]) > 1 else name
        steps = trial_steps(run.budget(update), strategy.horizon)
        due = sum(trial.due for trial in trials)
        share = _share(run, trials[0].spec)
        found.append(of(label, update, len(trials), due, steps, strategy.regularizer.passes, share))
    total = sum(row.due * row.seconds for row in found)
    seconds = total if jobs == 1 else max(total / jobs, _longest_chain(run) * cost.seconds)
    return Plan(tuple(found), run.device_name, timed, jobs, seconds)


def _share(run: LocalRun, spec: TrialSpec) -> float:
    """Return what a trial's model passes are expected to cost, as a share of what as many whole steps cost."""
    strategy = spec.entrant.strategy
    holdout = getattr(strategy.selection, "holdout_epochs", 0)
    if strategy.freezing == NoFreezing() and not strategy.head.images and not holdout:
        return 1.0
    update = run.data_of(1, run.restricted)
    return Learner(replace(spec, update=1), update, None, run.device, compiled=False).expected_share()


@contextmanager
def _threads_of(run: LocalRun, jobs: int) -> Iterator[None]:
    """Use as many threads as each of several processes would, and then as many as before."""
    before = torch.get_num_threads()
    try:
        if jobs > 1:
            fix_threads(run.threads or 1)
        yield
    finally:
        torch.set_num_threads(before)


def _longest_chain(run: LocalRun) -> int:
    """Return the most steps that must be taken one after the other: a base model, and a strategy's updates that need it."""
    lacking, chains = run.lacking_bases(), Counter[tuple[str, float, int]]()
    for trial in run.trials:
        spec = trial.spec
        key = (spec.entrant.name, spec.horizon, spec.seed)
        if not trial.due:
            continue
        if not spec.entrant.strategy.needs_base:
            chains[key] = max(chains[key], run.steps_of(trial))
            continue
        chains[key] += run.steps_of(trial)
        if spec.update == 1 and spec.seed in lacking:
            chains[key] += run.budget(0)
    return max(chains.values(), default=0)


def _alike(trials: Sequence[PlannedTrial]) -> dict[tuple[str, float, int], list[PlannedTrial]]:
    """Group trials by (strategy, horizon, update), updates in order."""
    groups: dict[tuple[str, float, int], list[PlannedTrial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.spec.update):
        spec = trial.spec
        groups.setdefault((spec.entrant.name, spec.horizon, spec.update), []).append(trial)
    return groups


def time_steps(run: LocalRun) -> tuple[StepCost, int]:
    """Return the cost of one step, and the number of steps timed."""
    update = run.data_of(1, run.restricted)

    def prepared(way: StepWay) -> Learner:
        recorder = recorder_for(way.mode, run.device)
        learner = Learner(
            TrialSpec(run.scenario, BASE, 1, 0), update, None, run.device, way.compiled, recorder=recorder
        )
        learner.prepare()
        return learner

    learner = settle(run.way, prepared)
    learner.start()
    learner.train(min(_WARM_UP_STEPS, learner.total_steps - 1))
    before, clock, ledger = learner.ledger.steps, PhaseClock(run.device), learner.ledger
    steps_at_once = 1  # a step of a large model may take longer than all that is to be timed
    charged = ledger.train_flops + ledger.aux_flops
    while ledger.steps < learner.total_steps:
        with clock.phase("train"):
            learner.train(min(steps_at_once, learner.total_steps - ledger.steps))
        steps_at_once = min(2 * steps_at_once, _LONGEST_ROUND)
        if clock.seconds["train"] > _TIMED_SECONDS or ledger.steps - before >= _TIMED_STEPS:
            break
    steps = ledger.steps - before
    flops = (ledger.train_flops + ledger.aux_flops - charged) // steps
    return StepCost(flops, clock.seconds["train"] / steps, ledger.parameters), steps
