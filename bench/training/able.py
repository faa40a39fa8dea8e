"""What of a strategy cannot run for a scenario: refused before anything is trained, or left out, for bench update."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from bench.data.feed.update import augmentation
from bench.errors import MeterError, StrategyError
from bench.metering.flops import StepFlops
from bench.models.build import build_model, head_keys
from bench.models.stages import Parts, find_stages
from bench.scenario import Scenario
from bench.strategies.freezing import FreezeStages, Freezing, NoFreezing
from bench.strategies.head import Head, RandomHead
from bench.strategies.selection import Uniform
from bench.strategies.strategy import Entrant
from bench.strategies.variants import vary
from bench.training.counted import made_of
from bench.training.heads import body_before_head
from bench.training.phases import Augmented, Phase, plan_phases

# What a model that cannot be cut, counted or run in parts raises; RuntimeError is its own way to refuse a part's input.
_CANNOT = (StrategyError, MeterError, RuntimeError)


@dataclass(frozen=True)
class LeftOut:
    """A strategy that runs without some of its pieces. asked, runs: its name as it was asked for, and of what runs instead.

    why: of each aspect that is not what was asked for, in words.
    """

    asked: str
    runs: str
    why: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what to tell the user."""
        return [f"{self.asked} cannot run as it is; {self.runs} runs instead", *(f"  {each}" for each in self.why)]


def able(
    entrant: Entrant, scenario: Scenario, image_shape: tuple[int, int, int], classes: int, steps: int
) -> tuple[Entrant, LeftOut | None]:
    """Return what of a strategy can run on a scenario's first update, and what was left out; None for nothing.

    Without learning speeds, every image is chosen. Frozen stages are computed anew where they cannot be kept; those that the
    model lacks, or cannot be cut after, are trained; a head that cannot be fitted starts at random.
    image_shape: (channels, height, width). classes: the head's width. steps: of the whole trial.
    """
    strategy, changed, why = entrant.strategy, {}, []
    if strategy.selection.needs_speed and scenario.model.checkpoint is not None:
        changed["selection"] = Uniform()
        why.append("selection: every image is chosen, as a model that was brought along has no learning speeds")
    if strategy.freezing != NoFreezing() or strategy.head.images:
        model = _model(scenario, image_shape, classes)
        images = Augmented(augmentation(scenario.training), image_shape)
        freezing, first, failure = _freezing(strategy.freezing, steps, model, images)
        if failure:
            changed["freezing"] = freezing
            why.append(f"freezing: {failure}")
        head, failure = _head(strategy.head, model, first)
        if failure:
            changed["head"] = head
            why.append(f"head: {failure}")
    if not changed:
        return entrant, None
    runs = vary(entrant, changed)
    return runs, LeftOut(entrant.name, runs.name, tuple(why))


def require_freezing(
    entrant: Entrant, scenario: Scenario, image_shape: tuple[int, int, int], classes: int, steps: int
) -> None:
    """Raise StrategyError for a strategy whose stages cannot be frozen as it asks, before its trial finds it.

    The arguments are those of able().
    """
    freezing = entrant.strategy.freezing
    if freezing == NoFreezing():
        return
    images = Augmented(augmentation(scenario.training), image_shape)
    try:
        plan_phases(freezing, steps, _model(scenario, image_shape, classes), images, StepFlops(0, 0), compiled=False)
    except _CANNOT as cause:
        said = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise StrategyError(f"{entrant.name}: {said}") from cause


def _model(scenario: Scenario, image_shape: tuple[int, int, int], classes: int) -> Parts:
    channels, height, _ = image_shape
    name = scenario.model.name
    model: nn.Module = build_model(name, channels, classes, 0, "base", height)
    stages = find_stages(model, head_keys(name, channels, classes, height))
    return Parts(model, stages, made_of(name, image_shape, classes))


def _freezing(asked: Freezing, steps: int, parts: Parts, images: Augmented) -> tuple[Freezing, Phase, str]:
    """Return the most of a freezing that can run, its first phase, and why it is not what was asked for; "" if it is."""
    failure = ""
    for each in _lesser(asked):
        try:
            phases = plan_phases(each, steps, parts, images, StepFlops(0, 0), compiled=False)
        except _CANNOT as cause:
            failure = failure or _first_sentence(cause)
        else:
            return each, phases[0], failure
    raise AssertionError("NoFreezing can always run")


def _lesser(freezing: Freezing) -> Iterator[Freezing]:
    """Yield a freezing, and then less and less of it: recomputed, without its last stages, and none."""
    yield freezing
    if isinstance(freezing, FreezeStages):
        for count in range(len(freezing.through), 0, -1):
            fewer = dataclasses.replace(freezing, through=freezing.through[:count], begin=freezing.begin[:count])
            if count < len(freezing.through):
                yield fewer
            if freezing.features != "recomputed":
                yield dataclasses.replace(fewer, features="recomputed")
    yield NoFreezing()


def _head(asked: Head, parts: Parts, first: Phase) -> tuple[Head, str]:
    if not asked.images:
        return asked, ""
    try:
        body_before_head(parts, first)
    except _CANNOT as cause:
        return RandomHead(), _first_sentence(cause)
    return asked, ""


def _first_sentence(cause: Exception) -> str:
    """Return what is wrong, without the advice that follows it."""
    said = (str(cause).splitlines() or [type(cause).__name__])[0]
    return said.removeprefix("freezing: ").removeprefix("head: ").partition(". ")[0].rstrip(".")
