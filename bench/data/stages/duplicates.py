"""Images that occur twice in a user's own data: counting them, and keeping those that are held out away from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.data.images import ImageSet
from bench.data.stages.arrivals import Arrival
from bench.errors import DataError
from bench.scenario import Scenario

_EXAMPLES = 3
_SAME_SHARE = 0.9  # of the images of two folders together; above it, one is taken for a copy of the other


@dataclass(frozen=True)
class Twice:
    """Images of two parts whose pixels are equal, at the scenario's resolution.

    one, other: the parts, such as "old: training" and "new: test". count: images of `other` that are in `one` too.
    examples: up to three pairs of file names, (in one, in other).
    """

    one: str
    other: str
    count: int
    examples: tuple[tuple[str, str], ...]


def find_twice(
    images: ImageSet,
    arriving: Sequence[Arrival],
    train: Sequence[np.ndarray],
    validation: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
) -> tuple[Twice, ...]:
    """Count the images that are in two of the stages' parts. train, validation, test: per stage, indices.

    Images that occur twice within one part are not counted. Nothing is found in sets that bench knows.
    """
    if images.keys_train is None or images.keys_test is None:
        return ()
    parts: list[tuple[str, np.ndarray, Sequence[str], np.ndarray]] = []
    for number, arrival in enumerate(arriving):
        for use, indices, keys, names in (
            ("training", train[number], images.keys_train, images.names_train),
            ("validation", validation[number], images.keys_train, images.names_train),
            ("test", test[number], images.keys_test, images.names_test),
        ):
            parts.append((f"{arrival.domain}: {use}", keys[indices], names, indices))
    found = []
    for (one, ours, our_names, our_indices), (other, theirs, their_names, their_indices) in combinations(parts, 2):
        places = np.flatnonzero(np.isin(theirs, ours))
        if len(places):
            examples = tuple(
                (our_names[int(our_indices[ours == theirs[place]][0])], their_names[int(their_indices[place])])
                for place in places[:_EXAMPLES].tolist()
            )
            found.append(Twice(one, other, len(places), examples))
    return tuple(found)


def refuse_copies(scenario: Scenario, images: ImageSet, arriving: Sequence[Arrival]) -> None:
    """Raise DataError if two stages, or two of a stage's training, validation and test parts, are nearly the same images."""
    if images.keys_train is None or images.keys_test is None:
        return
    held = np.zeros(len(images.y_train), dtype=bool) if images.held is None else images.held
    pairs: list[tuple[str, np.ndarray, str, np.ndarray]] = []
    whole: list[tuple[str, np.ndarray]] = []
    for arrival in arriving:
        train, validation = (images.keys_train[arrival.train & part] for part in (~held, held))
        parts = [("training", train), ("validation", validation), ("test", images.keys_test[arrival.test])]
        named = [(f"{arrival.domain}: {use}", keys) for use, keys in parts]
        pairs += [(*one, *other) for one, other in combinations(named, 2)]
        whole.append((arrival.domain, np.concatenate([keys for _, keys in parts])))
    pairs += [(*one, *other) for one, other in combinations(whole, 2)]
    for one, ours, other, theirs in pairs:
        both, either = len(np.intersect1d(ours, theirs)), len(np.union1d(ours, theirs))
        if both and both >= _SAME_SHARE * either:
            raise DataError(
                f"{scenario.name}: {one} and {other}: {both} of {either} different images are in both, expected separate "
                "images. Change one of the folders."
            )


def without_tested(
    scenario: Scenario,
    images: ImageSet,
    validation: Sequence[np.ndarray],
    twice: Sequence[Twice],
    test: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Return each stage's validation images, indices, without those that are test images of any stage too.

    Raises DataError if data.duplicates refuses them, or if a class has no validation images left.
    """
    if images.keys_train is None or images.keys_test is None:
        return list(validation)
    tested = images.keys_test[np.concatenate(test)]
    kept = [indices[~np.isin(images.keys_train[indices], tested)] for indices in validation]
    before, after = np.concatenate(validation), np.concatenate(kept)
    if len(after) < len(before) and scenario.data.duplicates == "refuse":
        both = next(each for each in twice if _uses(each) == {"validation", "test"})
        raise _refused(scenario, f"{len(before) - len(after)} validation images are test images too", both)
    lost = np.setdiff1d(images.y_train[before], images.y_train[after])
    if len(lost):
        raise DataError(
            f"{scenario.name}: class {images.class_names[lost[0]]!r}: all its validation images are test images too, expected "
            "others. Add some."
        )
    return kept


def without_held_out(
    scenario: Scenario, images: ImageSet, train: Sequence[np.ndarray], twice: Sequence[Twice], held: np.ndarray
) -> list[np.ndarray]:
    """Return each stage's training images, indices, without those that are held out in any stage too.

    held: the digests of all validation and test images. Raises DataError if data.duplicates refuses them, or if a class
    has no training images left.
    """
    if images.keys_train is None:
        return list(train)
    kept = [indices[~np.isin(images.keys_train[indices], held)] for indices in train]
    dropped = sum(map(len, train)) - sum(map(len, kept))
    if dropped and scenario.data.duplicates == "refuse":
        leak = next(each for each in twice if "training" in _uses(each) and len(_uses(each)) == 2)
        raise _refused(scenario, f"{dropped} training images are held out too", leak)
    for before, after in zip(train, kept, strict=True):
        lost = np.setdiff1d(images.y_train[before], images.y_train[after])
        if len(lost):
            raise DataError(
                f"{scenario.name}: class {images.class_names[lost[0]]!r}: all its training images are held out too, expected "
                "others. Add some."
            )
    return kept


def _uses(twice: Twice) -> set[str]:
    return {part.rpartition(": ")[2] for part in (twice.one, twice.other)}


def _refused(scenario: Scenario, what: str, twice: Twice) -> DataError:
    one, other = twice.examples[0]
    return DataError(
        f"{scenario.name}: {what}, such as {one} ({twice.one}) = {other} ({twice.other}). Remove one of each, or set "
        'data.duplicates = "drop".'
    )
