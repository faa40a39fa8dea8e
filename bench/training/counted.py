"""FLOPs of built models and their parts, counted once in a process: tracing takes longer than a small model's first steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from torch import nn

from bench.metering.flops import FlopCount, StepFlops, count_flops, count_pass, count_step
from bench.models.build import recipe
from bench.models.stages import Parts
from bench.scenario import TrainingPart

_COUNTED: dict[Hashable, Any] = {}
Count = TypeVar("Count")


def count_built(model: nn.Module, name: str, image_shape: tuple[int, int, int], classes: int) -> FlopCount:
    """Count as count_flops does, or return what was counted for another model of the same recipe, image shape and classes.

    model: as build_model made it from `name`, nothing frozen. Raises MeterError as count_flops does, each time.
    """
    return _once(made_of(name, image_shape, classes), lambda: count_flops(model, image_shape))


def made_of(name: str, image_shape: tuple[int, int, int], classes: int) -> Hashable:
    """Return what build_model makes a model of: equal for models that cost the same, part by part."""
    return recipe(name, image_shape[1]), image_shape, classes


def count_part_pass(
    parts: Parts, part: nn.Module, begin: int, end: int, shape: Sequence[int]
) -> tuple[int, tuple[int, ...]]:
    """Count as count_pass does, or return what was counted for the same part of another model that is made alike.

    part: of `parts`, from stage `begin` to `end`, cut in evaluation mode. Raises what a part raises that takes no such input.
    """
    return _once(_key(parts, "pass", begin, end, shape), lambda: count_pass(part, shape))


def count_part_step(parts: Parts, part: nn.Module, begin: int, shape: Sequence[int]) -> StepFlops:
    """Count as count_step does, or return what was counted for the same part of another model that is made alike.

    part: of `parts`, from stage `begin` to the model's end, cut in training mode, with nothing frozen.
    """
    return _once(_key(parts, "step", begin, None, shape), lambda: count_step(part, shape))


def _key(parts: Parts, what: str, begin: int, end: int | None, shape: Sequence[int]) -> Hashable:
    return None if parts.made is None else (parts.made, what, begin, end, tuple(shape))


def _once(key: Hashable, count: Callable[[], Count]) -> Count:
    """Return what was counted for a key, or count it; always for None."""
    if key is None:
        return count()
    if key not in _COUNTED:
        _COUNTED[key] = count()
    return _COUNTED[key]


def sgd_passes(training: TrainingPart) -> int:
    """Return SGD's FLOPs per parameter and step: two each for the update, weight decay, momentum and Nesterov."""
    momentum = training.momentum > 0
    return 2 * (1 + (training.weight_decay > 0) + momentum + (momentum and training.nesterov))
