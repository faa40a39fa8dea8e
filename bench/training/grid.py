"""The steps at which a trial is evaluated: the same for every seed and strategy of a scenario."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import ScenarioError
from bench.records.grid import evaluation_marks
from bench.scenario import Scenario


@dataclass(frozen=True)
class Grid:
    """steps: the evaluations, ascending; the last is the trial's end. test: those that also measure test accuracy."""

    steps: tuple[int, ...]
    test: frozenset[int]


def scratch_steps(scenario: Scenario, images: int) -> int:
    """Return scratch's budget in optimizer steps on `images` training images; a partial last batch is dropped.

    In a pilot, it is the pilot's share of these passes.

    Raises ScenarioError if the images do not fill one batch.
    """
    batches = images // scenario.training.batch_size
    if batches == 0:
        raise ScenarioError(
            f"{scenario.name}: training.batch_size: found {scenario.training.batch_size}, but {images} training images "
            f"do not fill one batch. {'Raise the share of the pilot' if scenario.pilot else 'Lower it'}."
        )
    steps = scenario.training.epochs * batches
    return max(1, round(scenario.pilot.passes * steps)) if scenario.pilot else steps


def trial_steps(budget: int, horizon: float) -> int:
    """Return the optimizer steps of a trial: its horizon's share of scratch's `budget`, at least one."""
    return max(1, round(horizon * budget))


def evaluation_grid(scenario: Scenario, budget: int, total: int) -> Grid:
    """Return the evaluations of a trial of `total` steps where scratch's budget is `budget` steps."""
    marks = evaluation_marks(scenario.evaluation.points, budget, total)
    test = {step for step, number in marks.items() if number % scenario.evaluation.test_every == 0}
    return Grid(tuple(sorted({*marks, total})), frozenset(test | {total}))
