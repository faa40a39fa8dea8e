"""Assembling a data set from its parts (trees, archives, domains), and splitting off a test part if it has none."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.data.files.decode import pixel_key
from bench.data.files.folders import Listing, Use
from bench.data.files.prepare import Prepared
from bench.data.images import ImageRows, ImageSet, MappedPixels, Pixels, too_few_to_validate, too_few_unseen
from bench.errors import DataError
from bench.streams import numpy_stream, place_name


@dataclass(frozen=True)
class Tree:
    """Image files, prepared or not. domain: its name; None if the set has no domains."""

    listing: Listing
    use: Use
    domain: str | None = None


@dataclass(frozen=True)
class Part:
    """Images of one origin and use. labels: int64 (images,), index into class_names.

    pixels: uint8 (images, height, width, channels), or mapped pixels, of which only `rows` are images of the part.
    where: their location, for error messages. keys: bytes (images,), digests of their pixels. names: their files. seen: bool
    (images,), those that the user's own old model was trained on; None if they are not listed.
    """

    pixels: np.ndarray | MappedPixels
    labels: np.ndarray
    class_names: tuple[str, ...]
    use: Use
    where: str
    domain: str | None = None
    rows: np.ndarray | None = None
    keys: np.ndarray | None = None
    names: tuple[str, ...] = ()
    seen: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return (self.pixels.pixels if isinstance(self.pixels, MappedPixels) else self.pixels).shape[1:]


def part_of(tree: Tree, prepared: Prepared) -> Part:
    """Return a prepared tree as a part; its broken images are left out."""
    labels, names = tree.listing.labels[prepared.rows], tree.listing.class_names
    return Part(prepared.mapped, labels, names, tree.use, str(tree.listing.folder), tree.domain, prepared.rows)


def with_keys(part: Part, prepared: Prepared | None) -> Part:
    """Return a part with the digests of its images, by which duplicates are found. prepared: its tree; None: an archive."""
    if prepared is not None:
        files = prepared.listing.files
        return replace(part, keys=prepared.keys(), names=tuple(f"{part.where}/{files[row]}" for row in prepared.rows))
    images = np.asarray(part.pixels)
    places = tuple(f"{part.where} ({part.use} image {number})" for number in range(len(images)))
    return replace(part, keys=np.array([pixel_key(image) for image in images], dtype="S32"), names=places)


def assemble(
    parts: Sequence[Part], class_names: tuple[str, ...], source: str, test_share: float | None, split_seed: int
) -> ImageSet:
    """Combine all parts into one set, labelled by position in `class_names`; images of other classes are left out.

    test_share: the test share of every class of every part that comes without a test part, drawn with `split_seed` from the
    images that are not `seen`.
    Raises DataError if shapes differ, a test_share is needed but missing, a class has no training or test images, or too few that
    are not seen.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.shape != first.shape:
            raise DataError(
                f"{part.where}: images of {part.shape}, but {first.where} has {first.shape} (height, width, channels). "
                "Resize them to one shape."
            )
    domains = tuple(dict.fromkeys(part.domain for part in parts if part.domain is not None))
    found: dict[str, _Side] = {"train": _Side(), "test": _Side()}
    kept_names = all(part.keys is not None for part in parts)
    for number, part in enumerate(parts):
        labels = _relabel(part, class_names)
        domain = domains.index(part.domain) if part.domain is not None else -1
        for use, members in _sides(part, labels, class_names, test_share, split_seed):
            _check_whole(part, labels[members], class_names, use)
            found["test" if use == "test" else "train"].add(
                number, members, labels[members], domain, use, part.use == "cut"
            )
    train, test = (side.collect(parts) for side in found.values())
    held, cut = found["train"].held, found["test"].of_cut
    listed = any(part.seen is not None for part in parts)
    return ImageSet(
        x_train=train[0],
        y_train=train[1],
        x_test=test[0],
        y_test=test[1],
        class_names=class_names,
        source=source,
        domains=domains,
        domain_train=train[2] if domains else None,
        domain_test=test[2] if domains else None,
        held=held if held.any() else None,
        seen=found["train"].seen(parts) if listed else None,
        cut_test=cut if cut.any() else None,
        keys_train=found["train"].keys(parts) if kept_names else None,
        keys_test=found["test"].keys(parts) if kept_names else None,
        names_train=found["train"].names(parts) if kept_names else (),
        names_test=found["test"].names(parts) if kept_names else (),
    )


class _Side:
    """Collects the training images, or the test images."""

    def __init__(self) -> None:
        self._chosen: list[tuple[int, np.ndarray]] = []
        self._labels: list[np.ndarray] = []
        self._domains: list[np.ndarray] = []
        self._held: list[np.ndarray] = []
        self._cut: list[np.ndarray] = []

    @property
    def held(self) -> np.ndarray:
        """bool (images,): those of validation parts."""
        return np.concatenate(self._held)

    @property
    def of_cut(self) -> np.ndarray:
        """bool (images,): those of parts that test images are cut off."""
        return np.concatenate(self._cut)

    def seen(self, parts: Sequence[Part]) -> np.ndarray:
        """bool (images,): those that the old model was trained on."""
        return np.concatenate([np.asarray(parts[number].seen)[members] for number, members in self._chosen])

    def keys(self, parts: Sequence[Part]) -> np.ndarray:
        return np.concatenate([np.asarray(parts[number].keys)[members] for number, members in self._chosen])

    def names(self, parts: Sequence[Part]) -> tuple[str, ...]:
        return tuple(parts[number].names[place] for number, members in self._chosen for place in members)

    def add(self, part: int, members: np.ndarray, labels: np.ndarray, domain: int, use: str, cut: bool) -> None:
        self._held.append(np.full(len(members), use == "validation"))
        self._cut.append(np.full(len(members), cut))
        self._chosen.append((part, members))
        self._labels.append(labels)
        self._domains.append(np.full(len(labels), domain, dtype=np.int64))

    def collect(self, parts: Sequence[Part]) -> tuple[Pixels, np.ndarray, np.ndarray]:
        labels, domains = np.concatenate(self._labels), np.concatenate(self._domains)
        if not any(isinstance(part.pixels, MappedPixels) for part in parts):
            pixels = [np.asarray(parts[number].pixels)[members] for number, members in self._chosen]
            return np.concatenate(pixels), labels, domains
        arrays = [part.pixels if isinstance(part.pixels, MappedPixels) else _in_memory(part.pixels) for part in parts]
        which = [np.full(len(members), number, dtype=np.int64) for number, members in self._chosen]
        rows = [_rows(parts[number], members) for number, members in self._chosen]
        return ImageRows(arrays, np.concatenate(which), np.concatenate(rows)), labels, domains


def _rows(part: Part, members: np.ndarray) -> np.ndarray:
    return members if part.rows is None else part.rows[members]


def _in_memory(pixels: np.ndarray) -> MappedPixels:
    """Wrap an archive's images so that they can be combined with mapped ones."""
    return MappedPixels(pixels, hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest())


def _relabel(part: Part, class_names: tuple[str, ...]) -> np.ndarray:
    place = {name: label for label, name in enumerate(class_names)}
    return np.array([place.get(name, -1) for name in part.class_names], dtype=np.int64)[part.labels]


def _sides(
    part: Part, labels: np.ndarray, class_names: tuple[str, ...], test_share: float | None, split_seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ("train", "validation" or "test", indices of the part's images), sorted."""
    known = np.flatnonzero(labels >= 0)
    if part.use != "cut":
        yield part.use, known
        return
    if test_share is None:
        raise DataError(
            f"{part.where}: has no test part, and data.test_share is missing, expected a share such as 0.2. Add it."
        )
    test = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        count = int(len(members) * test_share)
        if len(members) and not count:
            raise _too_few(part.where, name, len(members), test_share)
        free = members if part.seen is None else members[~part.seen[members]]
        if len(free) < count:
            raise too_few_unseen(part.where, name, "test", len(free), count)
        # By name, not by position: another choice or order of classes does not change any class's own split.
        test[numpy_stream(split_seed, "test", place_name(part.domain or ""), name).permutation(free)[:count]] = True
    yield "train", known[~test[known]]
    yield "test", known[test[known]]


def require_enough(trees: Sequence[Tree], test_share: float | None, validation_share: float | None) -> None:
    """Raise DataError for a class of too few files to cut a test or validation part off, before these are decoded.

    validation_share: of what is left to train on. Either is None where nothing is cut off.
    """
    held = {(tree.domain, name) for tree in trees if tree.use == "validation" for name in tree.listing.class_names}
    training: Counter[tuple[str | None, str]] = Counter()
    for tree in trees:
        counts = np.bincount(tree.listing.labels, minlength=len(tree.listing.class_names)).tolist()
        for name, count in zip(tree.listing.class_names, counts, strict=True):
            cut = int(count * test_share) if test_share and tree.use == "cut" else 0
            if test_share and tree.use == "cut" and not cut:
                raise _too_few(str(tree.listing.folder), name, count, test_share)
            if tree.use in ("cut", "train"):
                training[tree.domain, name] += count - cut
    for (domain, name), count in training.items():
        if validation_share and (domain, name) not in held and not int(count * validation_share):
            raise too_few_to_validate(domain or "", name, count, validation_share)


def _too_few(where: str, name: str, count: int, test_share: float) -> DataError:
    return DataError(
        f"{where}: class {name!r} has {count} images, too few for a test share of {test_share}. Raise data.test_share, or add "
        "images."
    )


def _check_whole(part: Part, labels: np.ndarray, class_names: tuple[str, ...], use: str) -> None:
    own = {name for name in part.class_names if name in class_names}
    counts = np.bincount(labels, minlength=len(class_names))
    missing = [name for name, count in zip(class_names, counts, strict=True) if name in own and not count]
    if missing:
        raise DataError(f"{part.where}: no {use} images of class {missing[0]!r}. Add some, or remove the class.")
