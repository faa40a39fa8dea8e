"""Cutting a data set into stages, and each stage into training, validation and test images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from bench.data.images import ImageSet
from bench.errors import DataError, ScenarioError
from bench.scenario import Scenario
from bench.streams import numpy_stream


@dataclass(frozen=True)
class Split:
    """A scenario's cut of a set: the same for every trial, on every machine.

    class_order: (classes,) the set's own class index at each position of the scenario's order. Labels everywhere else
    in bench are positions in this order, so the classes of stages 0..k are a prefix.
    train, validation: per stage, indices into x_train. test: per stage, indices into x_test.
    """

    class_order: np.ndarray
    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]

    def relabel(self, labels: np.ndarray) -> np.ndarray:
        """Turn the set's own labels into positions in the class order; classes of no stage become -1."""
        positions = np.full(int(max(labels.max(), self.class_order.max())) + 1, -1, dtype=np.int64)
        positions[self.class_order] = np.arange(len(self.class_order))
        return positions[labels]

    def hash(self) -> str:
        """Return 16 hex digits over every index of every part."""
        running = hashlib.sha256()
        for part in (self.class_order, *self.train, *self.validation, *self.test):
            running.update(len(part).to_bytes(8, "big"))
            running.update(part.astype(">i8").tobytes())
        return running.hexdigest()[:16]


def cut(scenario: Scenario, images: ImageSet) -> Split:
    """Cut `images` as `scenario` says, and check that parts are disjoint and complete.

    Raises ScenarioError where it asks for more classes than there are, DataError where a class is too small to spare
    a validation image.
    """
    available, asked = len(images.class_names), scenario.classes
    if asked > available:
        sizes = " + ".join(str(stage.classes) for stage in scenario.stages)
        raise ScenarioError(
            f"{scenario.name}: stages: {sizes} classes asked for, {scenario.data.set} has {available}. Lower one of them."
        )
    order = _class_order(scenario, available)[:asked]
    train, validation, test = [], [], []
    start = 0
    for stage in scenario.stages:
        classes = order[start : start + stage.classes]
        start += stage.classes
        kept, held = _hold_out(scenario, images.y_train, classes)
        train.append(kept)
        validation.append(held)
        test.append(np.flatnonzero(np.isin(images.y_test, classes)))
    split = Split(order, tuple(train), tuple(validation), tuple(test))
    _check(split, images)
    return split


def _class_order(scenario: Scenario, available: int) -> np.ndarray:
    if scenario.data.class_order_seed is None:
        return np.arange(available)
    return numpy_stream(scenario.data.class_order_seed, "class order").permutation(available)


def _hold_out(scenario: Scenario, labels: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part the training images of `classes` into those trained on and those held out, class by class, both sorted."""
    kept, held = [], []
    for label in classes:
        members = np.flatnonzero(labels == label)
        count = int(len(members) * scenario.data.validation_share)
        if count == 0:
            raise DataError(
                f"{scenario.data.set}: class {label} has {len(members)} training images, too few for a validation share of "
                f"{scenario.data.validation_share}. Raise data.validation_share in {scenario.name}."
            )
        shuffled = numpy_stream(scenario.data.split_seed, "validation", int(label)).permutation(members)
        held.append(shuffled[:count])
        kept.append(shuffled[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def _check(split: Split, images: ImageSet) -> None:
    for labels, parts in ((images.y_train, (*split.train, *split.validation)), (images.y_test, split.test)):
        together = np.concatenate(parts)
        expected = np.flatnonzero(np.isin(labels, split.class_order))
        if not np.array_equal(np.sort(together), expected):
            raise AssertionError("a split is not disjoint and complete")
