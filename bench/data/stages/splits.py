"""Splitting a data set into stages, and each stage into training, validation and test images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.data.images import ImageSet, too_few_to_validate, too_few_unseen
from bench.data.stages.arrivals import Arrival, arrivals
from bench.data.stages.duplicates import Twice, find_twice, refuse_copies, without_held_out, without_tested
from bench.errors import DataError
from bench.scenario import HELD_OUT, PilotPart, Scenario, Use
from bench.streams import numpy_stream


@dataclass(frozen=True)
class Split:
    """A scenario's split of a set: the same for every trial, on every machine.

    class_order: (classes,) the set's own class index at each position of the scenario's order. Labels everywhere else
    in bench are positions in this order. classes_seen: how many have arrived by each stage; they are a prefix of the order.
    train, validation: per stage, indices into x_train. test: per stage, indices into x_test. In data-incremental
    scenarios all validation and test images belong to stage 0: every update is measured on the same images.
    at_hand: per update, the parts of stages 0..update that a continuing strategy still has; () if it has everything.
    whole: in a pilot, the split that it takes its shares from; stage 0 of that is what the old model was trained on.
    duplicates: images of the user's own that came in two parts. dropped: how many of these were taken out of training,
    because they are held out too. dropped_validation: how many out of validation, because they are test images too.
    """

    class_order: np.ndarray
    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    classes_seen: tuple[int, ...]
    at_hand: tuple[tuple[np.ndarray, ...], ...] = ()
    duplicates: tuple[Twice, ...] = ()
    dropped: int = 0
    dropped_validation: int = 0
    whole: Split | None = None

    @property
    def old(self) -> np.ndarray:
        """The training images of stage 0, all of them in a pilot too: the old model's."""
        return (self.whole or self).train[0]

    def training(self, update: int, *, whole: bool = False) -> tuple[np.ndarray, ...]:
        """Return the training images of stages 0..update, one part per stage: those still at hand, or all of them."""
        return self.at_hand[update] if self.at_hand and not whole else self.train[: update + 1]

    def relabel(self, labels: np.ndarray) -> np.ndarray:
        """Turn the set's own labels into positions in the class order; classes in no stage become -1."""
        positions = np.full(int(max(labels.max(), self.class_order.max())) + 1, -1, dtype=np.int64)
        positions[self.class_order] = np.arange(len(self.class_order))
        return positions[labels]

    def hash(self) -> str:
        """Return 16 hex digits over every index of every part."""
        running = hashlib.sha256()
        remembered = (part for parts in self.at_hand for part in parts)
        for part in (self.class_order, *self.train, *self.validation, *self.test, *remembered):
            running.update(len(part).to_bytes(8, "big"))
            running.update(part.astype(">i8").tobytes())
        return running.hexdigest()[:16]


def cut(scenario: Scenario, images: ImageSet) -> Split:
    """Split `images` as `scenario` says, and check that the parts are disjoint and complete; of a pilot, those it takes from.

    Raises ScenarioError if it asks for classes or domains that do not exist, DataError if a class is too small to be
    split.
    """
    arriving = arrivals(scenario, images)
    order = np.concatenate([arrival.new_classes for arrival in arriving])
    refuse_copies(scenario, images, arriving)
    held_out = [_hold_out(scenario, images, arrival) for arrival in arriving]
    arrived, held = [kept for kept, _ in held_out], [held for _, held in held_out]
    test = [np.flatnonzero(arrival.test) for arrival in arriving]
    twice = find_twice(images, arriving, arrived, held, test)
    validation = without_tested(scenario, images, held, twice, test)
    train = without_held_out(scenario, images, arrived, twice, _held_keys(images, validation, test))
    dropped, dropped_validation = (
        np.setdiff1d(np.concatenate(before), np.concatenate(after))
        for before, after in ((arrived, train), (held, validation))
    )
    left_over = np.concatenate([dropped, dropped_validation])
    if scenario.kind == "data-incremental":
        if not scenario.own_folders:
            *train, left_over = _deal(scenario, images, train[0])  # of a known set, nothing was dropped
        nothing = [np.array([], dtype=np.int64)] * (len(train) - 1)
        validation = [np.sort(np.concatenate(validation)), *nothing]
        test = [np.sort(np.concatenate(test)), *nothing]
    seen = np.cumsum([len(arrival.new_classes) for arrival in arriving]).tolist()
    split = Split(
        class_order=order,
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
        classes_seen=tuple(seen + seen[-1:] * (len(scenario.stages) - len(seen))),
        at_hand=_at_hand(scenario, images, train),
        duplicates=twice,
        dropped=len(dropped),
        dropped_validation=len(dropped_validation),
    )
    _check(split, left_over, arriving)
    return _thinned(scenario, scenario.pilot, images, split) if scenario.pilot else split


def cut_off_old(images: ImageSet, split: Split) -> tuple[Use, ...]:
    """Return for which uses stage 0's held-out images were cut off images that an old model may have been trained on."""
    validation, test = split.validation[0], split.test[0]
    cut = {
        "validation": images.held is None or not images.held[validation].all(),
        "test": images.cut_test is not None and images.cut_test[test].any(),
    }
    return tuple(use for use in HELD_OUT if cut[use])


def _held_keys(images: ImageSet, validation: Sequence[np.ndarray], test: Sequence[np.ndarray]) -> np.ndarray:
    """Return the digests of all images that are held out; none for sets that bench knows."""
    if images.keys_train is None or images.keys_test is None:
        return np.array([], dtype="S32")
    parts = [images.keys_train[part] for part in validation] + [images.keys_test[part] for part in test]
    return np.concatenate(parts)


def _hold_out(scenario: Scenario, images: ImageSet, arrival: Arrival) -> tuple[np.ndarray, np.ndarray]:
    """Split an arrival's training images into those trained on and those held out, class by class, both sorted."""
    kept, held = [], []
    for label in arrival.classes:
        members = np.flatnonzero((images.y_train == label) & arrival.train)
        given = np.zeros(len(members), dtype=bool) if images.held is None else images.held[members]
        if given.any() or not arrival.cut:  # the user's own validation images
            kept.append(members[~given])
            held.append(members[given])
            continue
        assert scenario.data.validation_share is not None
        count = int(len(members) * scenario.data.validation_share)
        if count == 0:
            where, share = arrival.domain or scenario.data.set or "", scenario.data.validation_share
            raise too_few_to_validate(where, images.class_names[label], len(members), share)
        free = members if images.seen is None else members[~images.seen[members]]
        if len(free) < count:
            name = images.class_names[label]
            raise too_few_unseen(arrival.domain, name, "validation", len(free), count)
        shuffled = numpy_stream(scenario.data.split_seed, "validation", *arrival.stream, int(label)).permutation(free)
        held.append(shuffled[:count])
        kept.append(np.setdiff1d(members, shuffled[:count]))
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def _deal(scenario: Scenario, images: ImageSet, kept: np.ndarray) -> list[np.ndarray]:
    """Divide each class's training images among the stages by share; the last part is what no stage asks for."""
    bounds = np.cumsum([stage.share or 0 for stage in scenario.stages])
    parts: list[list[np.ndarray]] = [[] for _ in range(len(bounds) + 1)]
    for label in np.unique(images.y_train[kept]):
        members = kept[images.y_train[kept] == label]
        shuffled = numpy_stream(scenario.data.split_seed, "stages", int(label)).permutation(members)
        pieces = np.split(shuffled, np.rint(bounds * len(members)).astype(int))
        empty = next((place for place, piece in enumerate(pieces[:-1]) if not len(piece)), None)
        if empty is not None:
            raise DataError(
                f"{scenario.data.set}: class {images.class_names[label]} has {len(members)} training images, too few for "
                f"stages[{empty}].share {scenario.stages[empty].share}. Raise it in {scenario.name}."
            )
        for part, piece in zip(parts, pieces, strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def _at_hand(scenario: Scenario, images: ImageSet, train: Sequence[np.ndarray]) -> tuple[tuple[np.ndarray, ...], ...]:
    """Return Split.at_hand. Discarded images stay discarded: an image is at hand until a later stage's share excludes it."""
    shares = [stage.old_share for stage in scenario.stages]
    if all(share == 1 for share in shares):
        return ()
    parts = []
    for update in range(len(train)):
        least = [min(shares[stage + 1 : update + 1], default=1.0) for stage in range(update + 1)]
        remembered = [
            _some(scenario, images.y_train, train[stage], share, "at hand", stage) for stage, share in enumerate(least)
        ]
        parts.append(tuple(remembered))
    return tuple(parts)


def _thinned(scenario: Scenario, pilot: PilotPart, images: ImageSet, split: Split) -> Split:
    """Return a pilot's split: a share of the training images, and no more held-out ones than evaluating them may cost."""

    def thin(parts: Sequence[np.ndarray], labels: np.ndarray, share: float, use: str) -> tuple[np.ndarray, ...]:
        return tuple(_some(scenario, labels, part, share, "pilot", use, stage) for stage, part in enumerate(parts))

    train = thin(split.train, images.y_train, pilot.share, "training")
    most = pilot.held_out * pilot.passes * scenario.training.epochs * sum(map(len, train))
    held = [min(1.0, most / sum(map(len, parts))) for parts in (split.validation, split.test)]
    return replace(
        split,
        train=train,
        validation=thin(split.validation, images.y_train, held[0], "validation"),
        test=thin(split.test, images.y_test, held[1], "test"),
        at_hand=_at_hand(scenario, images, train),
        whole=split,
    )


def _some(scenario: Scenario, labels: np.ndarray, indices: np.ndarray, share: float, *stream: str | int) -> np.ndarray:
    """Return `share` of each class of `indices`, at least one, sorted; smaller shares are subsets. stream: names the draw."""
    kept = [indices[:0]]
    for label in np.unique(labels[indices]):
        members = indices[labels[indices] == label]
        shuffled = numpy_stream(scenario.data.split_seed, *stream, int(label)).permutation(members)
        kept.append(shuffled[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(kept))


def _check(split: Split, left_over: np.ndarray, arriving: Sequence[Arrival]) -> None:
    expected_train = np.any([arrival.train for arrival in arriving], axis=0)
    expected_test = np.any([arrival.test for arrival in arriving], axis=0)
    for parts, expected in (
        ((*split.train, *split.validation, left_over), expected_train),
        (split.test, expected_test),
    ):
        if not np.array_equal(np.sort(np.concatenate(parts)), np.flatnonzero(expected)):
            raise AssertionError("a split is not disjoint and complete")
