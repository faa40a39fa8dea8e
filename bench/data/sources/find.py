"""Finding a scenario's images on this machine: a set by name, or the user's own folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.data.files.prepare import Prepared, Progress, find_prepared, load_prepared, prepare
from bench.data.images import Arrays, ImageSet
from bench.data.sources.archives import domain_archive_parts
from bench.data.sources.arrays import (
    check_set,
    from_torchvision,
    read_idx_folder,
    read_npz,
    resize_grey,
)
from bench.data.sources.assemble import Part, Tree, assemble, part_of, require_enough, with_keys
from bench.data.sources.known import SETS, TORCHVISION_FILES, SetFacts
from bench.data.sources.own import own_class_names, own_parts
from bench.data.sources.seen import mark_seen
from bench.errors import BenchError, DataError, ScenarioError
from bench.scenario import Scenario


def load_images(scenario: Scenario, root: Path, *, download: bool = True) -> ImageSet:
    """Find, check and assemble the images that a scenario asks for; for a set with domains, those of its stages.

    Sets of files must be prepared. root: the folder that holds the sets and the prepared trees.
    Raises DataError or ScenarioError that says what to put where, or what to change.
    """
    data = scenario.data
    if data.set is not None:
        facts = _facts(data.set)
        if not facts.comes_in_parts:
            _check_no_test_share(scenario, facts)
            _refuse_resizing(scenario, data.set)
            images = _load_arrays(data.set, facts, root, scenario, download)
            return images if data.classes is None else _only(images, data.classes)
    parts = list_parts(scenario, root)
    for part in parts:
        if isinstance(part, Part):
            _refuse_resizing(scenario, part.where)
    trees = {number: _prepared(part, scenario, root) for number, part in enumerate(parts) if isinstance(part, Tree)}
    ready = [part if isinstance(part, Part) else part_of(part, trees[number]) for number, part in enumerate(parts)]
    if scenario.own_folders:
        names, source = own_class_names(scenario, parts), "folders of the user's own"
        ready = [with_keys(part, trees.get(number)) for number, part in enumerate(ready)]
        if scenario.model.trained_on is not None:
            ready = mark_seen(scenario, ready, trees)
    else:
        facts = _facts(data.set or "")
        _check_no_test_share(scenario, facts)
        names = data.classes or ready[0].class_names
        source = f"{data.set}.npz" if _domain_archive(data.set or "", facts, root) else f"{data.set} files"
    skipped = sum(len(tree.skipped) for tree in trees.values())
    source += f", {skipped} broken images left out" if skipped else ""
    return assemble(ready, names, source, data.test_share, data.split_seed)


def load_set(name: str, root: Path, *, download: bool = True) -> ImageSet:
    """Find and check a set of arrays: `<root>/<name>.npz`, torchvision's files under root, a system folder, a download.

    The .npz follows Keras: uint8 x_train, x_test of (images, height, width[, channels]), integer y_train, y_test,
    and optionally `classes`, their names.
    Raises DataError that says what to put where.
    """
    facts = _facts(name)
    arrays, where, source = _find_arrays(name, facts, root, download)
    checked = check_set(arrays, facts.classes, facts.shape, where)
    names = tuple(str(label) for label in checked.pop("classes"))
    arrays = {key: checked[key] for key in ("x_train", "y_train", "x_test", "y_test")}
    return ImageSet(**arrays, class_names=names, source=source)  # pyright: ignore[reportArgumentType]


def prepare_images(
    scenario: Scenario,
    root: Path,
    *,
    workers: int,
    skip_broken: bool = False,
    progress: Progress | None = None,
    trees: Sequence[Tree] | None = None,
) -> list[Prepared]:
    """Decode those of a scenario's image files that are not decoded yet; do nothing if it has none.

    trees: the scenario's, where they have been listed already: 100,000 files take seconds.
    """
    trees = trees_of(scenario, root) if trees is None else trees
    if scenario.own_folders:
        require_enough(trees, scenario.data.test_share, scenario.data.validation_share)
    size = image_size(scenario) if trees else 0
    options = {"workers": workers, "skip_broken": skip_broken, "progress": progress, **_decoding(scenario)}
    return [prepare(tree.listing, size, root, **options) for tree in trees]


def trees_of(scenario: Scenario, root: Path) -> list[Tree]:
    """List a scenario's trees of image files; empty if its data come as arrays."""
    name = scenario.data.set
    if name is not None and (not _facts(name).comes_in_parts or _domain_archive(name, _facts(name), root)):
        return []
    return [part for part in list_parts(scenario, root) if isinstance(part, Tree)]


def image_size(scenario: Scenario) -> int:
    """Return the resolution that files are decoded to. Raises ScenarioError if it is not specified."""
    size = scenario.data.image_size
    if size is None and scenario.data.set is not None:
        size = _facts(scenario.data.set).size
    if size is None:
        raise ScenarioError(
            f"{scenario.name}: data.image_size: missing; {scenario.data.set} comes as files of various sizes, expected a size "
            "in pixels such as 64. Add it."
        )
    return size


def data_ready(scenario: Scenario, root: Path) -> str:
    """Return "ready", or briefly what is missing. Decodes nothing, and does not import torch."""
    name = scenario.data.set
    try:
        if name is not None and not _facts(name).comes_in_parts:
            return arrays_ready(name, root)
        trees = trees_of(scenario, root)
        size = image_size(scenario) if trees else 0
        lacking = sum(find_prepared(tree.listing, size, root, **_decoding(scenario)) is None for tree in trees)
    except BenchError as cause:
        there = name is not None and _facts(name).tree_folder(root) is not None
        return f"incomplete: {cause}" if name is None or there else f"missing: {name}, see bench data status"
    return f"not prepared: {lacking} of {len(trees)} trees" if lacking else "ready"


def arrays_ready(name: str, root: Path) -> str:
    """Return "ready", or what is missing, for a set that comes as arrays."""
    facts = _facts(name)
    if facts.joined:
        states = {part: arrays_ready(part, root) for part in facts.domains}
        return next((state for state in states.values() if state != "ready"), "ready")
    if (root / f"{name}.npz").is_file():
        return "ready"
    if facts.embedded is not None:
        module, package = facts.embedded.needs or (None, None)
        return "ready" if module is None or find_spec(module) else f"missing: pip install {package}"
    there = facts.torchvision is not None and (root / TORCHVISION_FILES[facts.torchvision]).exists()
    if there or (facts.system is not None and facts.system.is_dir()):
        return "ready"
    return f"missing: {name} (bench run downloads it)"


@dataclass(frozen=True)
class SetState:
    """What is available of a set. text: "ready", or what is missing and how to get it. where: as text; bytes: None if unknown."""

    text: str
    where: str = ""
    bytes: int | None = None


def set_state(name: str, root: Path) -> SetState:
    """Return what is available of a known set. Reads no images, and does not import torch."""
    facts, packed = _facts(name), root / f"{name}.npz"
    if packed.is_file() and not facts.joined:
        return SetState("ready", str(packed), packed.stat().st_size)
    if facts.joined or not facts.comes_in_parts:
        text = arrays_ready(name, root)
        if facts.embedded is not None:
            return SetState(text, "embedded")
        found = "from its parts" if facts.joined else "torchvision's files, or the system's package"
        return SetState(text, found if text == "ready" else "")
    folder = facts.tree_folder(root)
    if folder is None:
        return SetState(f"missing: add {facts.remedy}")
    return SetState("found, prepared per scenario", str(folder))


def find_trees(scenario: Scenario, root: Path) -> list[Prepared]:
    """Return the prepared trees of a scenario. Raises DataError if one is not prepared."""
    return [_prepared(tree, scenario, root) for tree in trees_of(scenario, root)]


def list_parts(scenario: Scenario, root: Path) -> Sequence[Tree | Part]:
    """List a scenario's trees of files, and read its archives. Raises DataError if something is missing."""
    if scenario.own_folders:
        return own_parts(scenario)
    name = scenario.data.set or ""
    facts = _facts(name)
    domains = _asked_domains(scenario, facts)
    if _domain_archive(name, facts, root):
        return domain_archive_parts(root / f"{name}.npz", facts, domains, scenario)
    folder = facts.tree_folder(root)
    if folder is None or facts.layout is None:
        raise DataError(f"{name}: not found under {root}. Add {facts.remedy}, or name another --data-root.")
    return facts.layout(folder, domains, scenario.data.classes)


def _facts(name: str) -> SetFacts:
    facts = SETS.get(name)
    if facts is None:
        raise DataError(f"data.set {name!r}: unknown, expected one of {', '.join(SETS)}. Fix the scenario's data.set.")
    return facts


def _domain_archive(name: str, facts: SetFacts, root: Path) -> bool:
    return bool(facts.domains) and (root / f"{name}.npz").is_file()


def _asked_domains(scenario: Scenario, facts: SetFacts) -> tuple[str, ...]:
    """Return the stages' domains, in order; all of the set's domains if no stage names one."""
    asked = tuple(stage.domain for stage in scenario.stages if stage.domain is not None)
    for place, domain in enumerate(asked):
        if domain not in facts.domains:
            known = ", ".join(facts.domains) or "no domains"
            raise ScenarioError(
                f"{scenario.name}: stages[{place}].domain: found {domain!r}, but {scenario.data.set} has {known}. Change it."
            )
    return asked or facts.domains


def _check_no_test_share(scenario: Scenario, facts: SetFacts) -> None:
    if facts.has_test and scenario.data.test_share is not None:
        raise ScenarioError(
            f"{scenario.name}: data.test_share: found, but {scenario.data.set} comes with its own test part. Remove it."
        )


def _prepared(tree: Tree, scenario: Scenario, root: Path) -> Prepared:
    prepared = load_prepared(tree.listing, image_size(scenario), root, **_decoding(scenario))
    if prepared is None:
        raise DataError(
            f"{tree.listing.folder}: {len(tree.listing.files):,} image files, not prepared yet. "
            "Run: bench data prepare, with the same --scenario and --data-root."
        )
    return prepared


def _decoding(scenario: Scenario) -> dict[str, Any]:
    """Return how image files are decoded, besides their size."""
    resizing = scenario.model.resizing
    return {"resize": resizing[0] if resizing else None, "megapixels": scenario.data.max_megapixels}


def _refuse_resizing(scenario: Scenario, where: str) -> None:
    """Raise ScenarioError where images are to be resized and cropped, and come as arrays, which are taken as they are."""
    if scenario.model.resizing is not None:
        key = "resize" if scenario.model.resize else "preprocessing"
        raise ScenarioError(
            f"{scenario.name}: model.{key}: found, but {where} comes as arrays, which are not resized or cropped. "
            "Remove it, or use image files."
        )


def _load_arrays(name: str, facts: SetFacts, root: Path, scenario: Scenario, download: bool) -> ImageSet:
    if facts.joined:
        images = _join(facts, root, _asked_domains(scenario, facts), download)
    else:
        _asked_domains(scenario, facts)
        images = load_set(name, root, download=download)
    size = scenario.data.image_size
    if size is not None and images.x_train.shape[1:3] != (size, size):
        raise ScenarioError(
            f"{scenario.name}: data.image_size: found {size}, but {name} comes as arrays of {images.x_train.shape[1]} pixels. "
            "Remove it."
        )
    return images


def _join(facts: SetFacts, root: Path, domains: Sequence[str], download: bool) -> ImageSet:
    """Combine several sets into one, each of them a domain, resized to the facts' shape."""
    assert facts.shape is not None
    parts = []
    uses: tuple[Literal["train", "test"], ...] = ("train", "test")
    sets = {domain: load_set(domain, root, download=download) for domain in domains}
    named = {images.class_names for images in sets.values()}
    names = named.pop() if len(named) == 1 else tuple(map(str, range(facts.classes)))  # MNIST's may be "0 - zero"
    for domain, images in sets.items():
        for use, x, y in zip(uses, (images.x_train, images.x_test), (images.y_train, images.y_test), strict=True):
            pixels = np.asarray(x)
            if pixels.shape[1:] != facts.shape:
                pixels = resize_grey(pixels, facts.shape[0])
            parts.append(Part(pixels, y, names, use, domain, domain))
    source = " and ".join(dict.fromkeys(images.source for images in sets.values()))
    return assemble(parts, names, source, None, 0)


def _find_arrays(name: str, facts: SetFacts, root: Path, download: bool) -> tuple[Arrays, str, str]:
    """Return (arrays, their location for error messages, their source as text)."""
    packed = root / f"{name}.npz"
    if facts.shape is None or facts.joined:
        raise DataError(f"{name}: not a set of arrays. Use it through a scenario.")
    if packed.is_file():
        return read_npz(packed), str(packed), f"{name}.npz"
    if facts.embedded is not None:
        return facts.embedded.load(), name, facts.embedded.origin()
    arrays, source = None, ""
    if facts.torchvision:
        arrays, source = from_torchvision(facts.torchvision, root, download=False), "torchvision files"
    if arrays is None and facts.system is not None and facts.system.is_dir():
        arrays, source = read_idx_folder(facts.system), "system package"
    reason = ""
    if arrays is None and facts.torchvision and download:
        try:
            arrays, source = from_torchvision(facts.torchvision, root, download=True), "torchvision download"
        except Exception as cause:  # mirrors fail in many ways; the reason goes into the error below
            reason = f" (download failed: {type(cause).__name__})"
    if arrays is None:
        remedy = f", {facts.remedy}" if facts.remedy else ""
        raise DataError(
            f"{name}: not found under {root}{reason}. Put {name}.npz there (uint8 x_train, y_train, x_test, y_test), "
            f"or torchvision's files for {facts.torchvision}{remedy}, or name another folder with --data-root."
        )
    return arrays, name, source


def _only(images: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    """Return the images of some classes, relabelled in that order. Raises DataError if the set lacks one."""
    unknown = [name for name in classes if name not in images.class_names]
    if unknown:
        raise DataError(
            f"data.classes: {unknown[0]!r} is not a class of the set ({', '.join(images.class_names[:8])}, ...). Fix it."
        )
    place = np.full(len(images.class_names), -1, dtype=np.int64)
    place[[images.class_names.index(name) for name in classes]] = np.arange(len(classes))
    train, test = (np.flatnonzero(place[labels] >= 0) for labels in (images.y_train, images.y_test))
    return replace(
        images,
        x_train=images.x_train[train],
        y_train=place[images.y_train[train]],
        x_test=images.x_test[test],
        y_test=place[images.y_test[test]],
        class_names=classes,
        domain_train=None if images.domain_train is None else images.domain_train[train],
        domain_test=None if images.domain_test is None else images.domain_test[test],
    )
