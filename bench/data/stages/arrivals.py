"""What arrives in each stage of a scenario: which classes, and which images of a set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.data.images import ImageSet
from bench.errors import DataError, ScenarioError
from bench.scenario import Scenario
from bench.streams import numpy_stream, place_name


@dataclass(frozen=True)
class Arrival:
    """What arrives with a stage, before anything is held out.

    classes: the set's own labels of all its images. new_classes: those that are in no earlier stage, in order.
    train, test: bool (images,), masks over the set's two parts. domain: its name; "" for a part of a set without domains.
    stream: names the random stream that holds images out. cut: whether validation images are cut off its training images; not
    where the user names a folder of them.
    """

    classes: np.ndarray
    new_classes: np.ndarray
    train: np.ndarray
    test: np.ndarray
    domain: str = ""
    stream: tuple[str, ...] = ()
    cut: bool = True


def arrivals(scenario: Scenario, images: ImageSet) -> list[Arrival]:
    """Return what arrives in each stage; for a data-incremental scenario on a known set, everything as one arrival.

    Raises ScenarioError for classes or domains that the set lacks, DataError if the folders do not fit together.
    """
    if scenario.own_folders or scenario.kind == "domain-incremental":
        return _by_domain(scenario, images)
    if scenario.kind == "class-incremental":
        return _by_classes(scenario, images)
    return [_whole(images, _class_order(scenario, images))]


def _by_classes(scenario: Scenario, images: ImageSet) -> list[Arrival]:
    order, asked = _class_order(scenario, images), [stage.classes or 0 for stage in scenario.stages]
    if sum(asked) > len(order):
        sizes = " + ".join(map(str, asked))
        raise ScenarioError(
            f"{scenario.name}: stages: {sizes} classes asked for, {scenario.data.set} has {len(order)}. Lower one of them."
        )
    return [_whole(images, classes) for classes in np.split(order, np.cumsum(asked))[:-1]]


def _whole(images: ImageSet, classes: np.ndarray) -> Arrival:
    return Arrival(classes, classes, np.isin(images.y_train, classes), np.isin(images.y_test, classes))


def _by_domain(scenario: Scenario, images: ImageSet) -> list[Arrival]:
    """One arrival per stage: a domain, or one of the user's folders."""
    if images.domain_train is None or images.domain_test is None:
        raise ScenarioError(
            f"{scenario.name}: kind: domain-incremental, but {scenario.data.set} has no domains. Change it."
        )
    allowed = _class_order(scenario, images)
    taken: dict[int, str] = {}
    found = []
    for place, stage in enumerate(scenario.stages):
        name = stage.domain or stage.folder or ""
        if name not in images.domains:
            raise ScenarioError(
                f"{scenario.name}: stages[{place}].domain: found {name!r}, but {scenario.data.set} has "
                f"{', '.join(images.domains)}. Choose one of these."
            )
        number = images.domains.index(name)
        train = (images.domain_train == number) & np.isin(images.y_train, allowed)
        test = (images.domain_test == number) & np.isin(images.y_test, allowed)
        there = np.isin(allowed, images.y_train[train])
        if scenario.kind in ("class-incremental", "mixed"):
            classes = allowed[there]
            new = np.array([label for label in classes.tolist() if label not in taken], dtype=np.int64)
            _take(scenario, images, classes, name, taken)
        else:
            classes, new = allowed, allowed if place == 0 else allowed[:0]
            _require_all(images, allowed, there, name)
        # Of a folder of test images for all stages, a class belongs to the stage that it came with first.
        _require_tested(images, test, classes, new if scenario.data.test else classes, name)
        cut = not scenario.own_folders or scenario.held_out("validation", place) is None
        found.append(Arrival(classes, new, train, test, name, (place_name(name),), cut))
    return found


def _class_order(scenario: Scenario, images: ImageSet) -> np.ndarray:
    """Return the set's own labels in the scenario's order: the named classes, or all; shuffled if a seed is given."""
    order = np.arange(len(images.class_names))
    if scenario.data.classes is not None:
        places = {name: place for place, name in enumerate(images.class_names)}
        unknown = [name for name in scenario.data.classes if name not in places]
        if unknown:
            raise ScenarioError(
                f"{scenario.name}: data.classes: {unknown[0]!r} is not a class of {scenario.data.set or 'the folders'}. Fix it."
            )
        order = np.array([places[name] for name in scenario.data.classes])
    if scenario.data.class_order_seed is None:
        return order
    return numpy_stream(scenario.data.class_order_seed, "class order").permutation(order)


def _take(scenario: Scenario, images: ImageSet, classes: np.ndarray, name: str, taken: dict[int, str]) -> None:
    """Record which folder each class came with first. Raises DataError for none, and for a second time that the kind forbids."""
    if not len(classes):
        raise DataError(f"{name}: no training images, expected some of every class. Add some.")
    for label in classes.tolist():
        if label in taken and scenario.kind == "class-incremental":
            raise DataError(
                f"{name}: class {images.class_names[label]} is also in {taken[label]}; class-incremental stages share none. "
                "Remove it from one of them, or change the scenario's kind."
            )
        taken.setdefault(label, name)


def _require_all(images: ImageSet, allowed: np.ndarray, there: np.ndarray, name: str) -> None:
    if not there.all():
        missing = images.class_names[allowed[~there][0]]
        raise DataError(
            f"{name}: no training images of class {missing}, expected the same classes in every stage. Add some."
        )


def _require_tested(images: ImageSet, test: np.ndarray, classes: np.ndarray, needed: np.ndarray, name: str) -> None:
    untested = needed[~np.isin(needed, images.y_test[test])]
    if len(untested):
        raise DataError(f"{name}: no test images of class {images.class_names[untested[0]]}, expected some. Add some.")
    strange = np.setdiff1d(images.y_test[test], classes)
    if len(strange):
        raise DataError(
            f"{name}: class {images.class_names[strange[0]]} has test but no training images. Add some, or remove the class."
        )
