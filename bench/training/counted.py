"""A built model's FLOPs, counted once in a process: tracing takes longer than a small model's first steps."""

from __future__ import annotations

from collections.abc import Hashable

from torch import nn

from bench.metering.flops import FlopCount, count_flops
from bench.models.build import recipe
from bench.scenario import TrainingPart

_COUNTED: dict[Hashable, FlopCount] = {}


def count_built(model: nn.Module, name: str, image_shape: tuple[int, int, int], classes: int) -> FlopCount:
    """Count as count_flops does, or return what was counted for another model of the same recipe, image shape and classes.

    model: as build_model made it from `name`, nothing frozen. Raises MeterError as count_flops does, each time.
    """
    key = (recipe(name, image_shape[1]), image_shape, classes)
    if key not in _COUNTED:
        _COUNTED[key] = count_flops(model, image_shape)
    return _COUNTED[key]


def sgd_passes(training: TrainingPart) -> int:
    """Return SGD's FLOPs per parameter and step: two each for the update, weight decay, momentum and Nesterov."""
    momentum = training.momentum > 0
    return 2 * (1 + (training.weight_decay > 0) + momentum + (momentum and training.nesterov))
