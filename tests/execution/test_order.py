from __future__ import annotations

from pathlib import Path

from bench.catalog import find_scenario
from bench.execution.order import Order
from bench.execution.plan import PlannedTrial
from bench.scenario import load_scenario
from bench.training.learner import TrialSpec
from tests.execution.test_local import BASELINES


def planned(name: str = "digits-7-3", seeds: tuple[int, ...] = (0, 1)) -> list[PlannedTrial]:
    scenario = load_scenario(find_scenario(name))
    updates = range(1, scenario.updates + 1)
    specs = [TrialSpec(scenario, entrant, k, seed) for seed in seeds for k in updates for entrant in BASELINES]
    return [PlannedTrial(spec, Path(), "due") for spec in specs]


def begin(order: Order) -> PlannedTrial:
    trial = order.next()
    assert trial is not None
    return trial


def named(trial: PlannedTrial | None) -> tuple[str, int, int] | None:
    return trial and (trial.spec.entrant.name, trial.spec.update, trial.spec.seed)


def test_one_trial_trains_the_base_model_while_others_run_what_does_not_need_it():
    order = Order(planned(), lacking={0, 1})
    begun = [named(order.next()) for _ in range(5)]
    # optimized waits for both base models; nothing else is left.
    assert begun == [("naive", 1, 0), ("scratch", 1, 0), ("naive", 1, 1), ("scratch", 1, 1), None]
    order.base_exists(1)
    assert [named(order.next()) for _ in range(2)] == [("optimized", 1, 1), None]


def test_with_its_base_model_there_nothing_waits():
    order = Order(planned(seeds=(0,)), lacking=())
    assert [named(order.next()) for _ in range(4)] == [("naive", 1, 0), ("optimized", 1, 0), ("scratch", 1, 0), None]


def test_after_a_failed_base_model_the_next_trial_trains_it():
    order = Order(planned(seeds=(0,)), lacking={0})
    naive, scratch = begin(order), begin(order)
    assert order.next() is None
    order.ended(scratch)
    assert order.next() is None
    order.ended(naive)
    assert named(order.next()) == ("optimized", 1, 0)


def test_an_update_waits_for_its_strategys_previous_one_and_scratch_waits_for_none():
    order = Order(planned("digits-4-2-2-2", (0,)), lacking=())
    naive, optimized = begin(order), begin(order)
    assert (named(naive), named(optimized)) == (("naive", 1, 0), ("optimized", 1, 0))
    assert [named(order.next()) for _ in range(4)] == [("scratch", update, 0) for update in (1, 2, 3)] + [None]
    order.ended(optimized)
    second = begin(order)
    assert named(second) == ("optimized", 2, 0)
    assert order.next() is None
    order.ended(naive)
    assert named(order.next()) == ("naive", 2, 0)
    assert order.next() is None
    order.ended(second)
    assert named(order.next()) == ("optimized", 3, 0)


def test_every_trial_begins_once_whatever_the_number_of_processes():
    for jobs in (1, 2, 5):
        trials = planned("digits-4-2-2-2")
        order, running, begun = Order(trials, lacking={0, 1}), [], []
        while True:
            while len(running) < jobs and (trial := order.next()):
                running.append(trial)
                begun.append(named(trial))
            if not running:
                break
            order.ended(running.pop(0))
        assert sorted(begun) == sorted(map(named, trials))
