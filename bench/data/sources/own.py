"""A user's own data: each stage of a scenario is a folder of images or an .npz archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

from bench.data.files.folders import Listing, of_classes
from bench.data.files.layouts import CHOOSE, list_tree, wrappers
from bench.data.files.names import alike
from bench.data.sources.archives import own_archive_parts
from bench.data.sources.assemble import Part, Tree
from bench.errors import DataError
from bench.scenario import HELD_OUT, Scenario, Use

Parts = Sequence[Tree | Part]


def own_parts(scenario: Scenario) -> Sequence[Tree | Part]:
    """List the stages' folders and read their archives, in order; the domain of each is its `folder` as written.

    Raises DataError if one is missing or invalid, or if the classes do not fit the scenario's kind.
    """
    found = [_stage_parts(scenario, place) for place in range(len(scenario.stages))]
    _require_folders(scenario)
    _refuse_shared_folders(scenario, found)
    names = [_names(parts) for parts in found]
    _refuse_alike(scenario, names)
    _refuse_wrapped_class(scenario, found, names)
    _check_classes(scenario, names)
    if len(names[0]) < 2:
        raise DataError(
            f"{scenario.name}: {scenario.stages[0].folder}: found only class {', '.join(names[0])}, expected two or more "
            "in the first stage. Add one, or name the folder that holds the class folders."
        )
    held = [_held_out(scenario, use, found) for use in HELD_OUT]
    return [part for parts in zip(found, *held, strict=True) for each in parts for part in each]


def own_class_names(scenario: Scenario, parts: Sequence[Tree | Part]) -> tuple[str, ...]:
    """Return the class names: data.classes, or else in stage order, sorted by name within a stage.

    So the rows of an old model's head are the old folder's class names, sorted (for an archive: its labels, ascending).
    """
    return scenario.data.classes or tuple(dict.fromkeys(name for part in parts for name in class_names(part)))


def class_names(part: Tree | Part) -> tuple[str, ...]:
    """Return the class names of a tree or a part."""
    return part.class_names if isinstance(part, Part) else part.listing.class_names


def _stage_parts(scenario: Scenario, place: int) -> Sequence[Tree | Part]:
    stage, tested = scenario.stages[place], scenario.held_out("test", place) is not None
    assert stage.folder is not None
    path = (scenario.root or Path()) / stage.folder
    if path.suffix == ".npz" and path.is_file():
        parts = own_archive_parts(scenario, path, stage.folder)
        return [replace(part, use="train") if tested and part.use == "cut" else part for part in parts]
    if not path.is_dir():
        raise DataError(f"{path}: neither a folder of images nor an .npz archive. Fix the stage's folder.")
    listings = list_tree(path, scenario.data.classes, stage.layout, tested=tested)
    return [Tree(listing, use, stage.folder) for use, listing in listings]


def _held_out(scenario: Scenario, use: Use, found: Sequence[Parts]) -> list[list[Tree]]:
    """List the folders of held-out images that the scenario names for a use, stage by stage.

    Of a folder for all stages, a class belongs to the stage that it came with first.
    Raises DataError if a stage has images of that use already, and unless the classes are those of the training folders.
    """
    names = [[name for name in _names(parts) if name in (scenario.data.classes or (name,))] for parts in found]
    whole, first = getattr(scenario.data, use), {}
    for place, each in enumerate(names):
        for name in each:
            first.setdefault(name, place)
    everything = None if whole is None else _list_held_out(scenario, use, whole, list(first))
    held: list[list[Tree]] = []
    for place, (stage, parts) in enumerate(zip(scenario.stages, found, strict=True)):
        folder = scenario.held_out(use, place)
        if folder is None:
            held.append([])
            continue
        if any(part.use == use for part in parts):
            raise DataError(
                f"{scenario.name}: {stage.folder} has {use} images of its own, and {folder} holds others, expected one of the "
                "two. Remove one, or name the folder of the training images alone."
            )
        mine = names[place] if everything is None else [name for name in names[place] if first[name] == place]
        listing = everything or _list_held_out(scenario, use, folder, mine)
        held.append([Tree(of_classes(listing, mine), use, stage.folder)] if mine else [])
    return held


def _require_folders(scenario: Scenario) -> None:
    """Raise DataError if a folder of held-out images is none."""
    for use, folder in _folders_of_held_out(scenario):
        if not folder.is_dir():
            raise DataError(f"{folder}: not a folder of {use} images, one folder per class. Fix the path.")


def _folders_of_held_out(scenario: Scenario) -> list[tuple[str, Path]]:
    parts = (scenario.data, *scenario.stages)
    named = [(use, getattr(part, use)) for use in HELD_OUT for part in parts]
    return [(use, (scenario.root or Path()) / folder) for use, folder in named if folder is not None]


def _list_held_out(scenario: Scenario, use: str, folder: str, expected: Sequence[str]) -> Listing:
    """List a folder of held-out images, one folder per class. Raises DataError unless it has exactly the expected classes."""
    path = (scenario.root or Path()) / folder
    ((_, listing),) = list_tree(path, scenario.data.classes, "classes")
    strange = [name for name in listing.class_names if name not in expected]
    missing = [name for name in expected if name not in listing.class_names]
    if strange:
        raise DataError(
            f"{path}: class {strange[0]!r} is not among the classes of the training images ({', '.join(expected[:8])}"
            f"{', ...' if len(expected) > 8 else ''}). Remove it, or name the folder that holds the class folders."
        )
    if missing:
        raise DataError(f"{path}: no {use} images of class {missing[0]!r}, expected some of every class. Add some.")
    return listing


def _refuse_shared_folders(scenario: Scenario, found: Sequence[Sequence[Tree | Part]]) -> None:
    """Raise DataError if two stages, or two parts of one, are the same folder or one inside the other, also through links."""
    places: list[tuple[str, ...]] = []
    for stage, parts in zip(scenario.stages, found, strict=True):
        written = str((scenario.root or Path()) / (stage.folder or ""))
        inside = [str(part.listing.folder) for part in parts if isinstance(part, Tree)]
        for one, other in combinations(inside, 2):
            _refuse_shared(scenario, one, other)
        places.append((written, *inside))
    places += [(str(folder),) for _, folder in _folders_of_held_out(scenario)]
    for first, second in combinations(places, 2):
        for one, other in product(first, second):
            _refuse_shared(scenario, one, other)


def _refuse_shared(scenario: Scenario, one: str, other: str) -> None:
    real = [Path(path).resolve() for path in (one, other)]
    if real[0].samefile(real[1]):
        how = "are the same"
    elif real[0].is_relative_to(real[1]) or real[1].is_relative_to(real[0]):
        how = "lie one inside the other"
    else:
        return
    raise DataError(
        f"{scenario.name}: {one} and {other} {how}, expected separate images. Change one of the stages' folders."
    )


def _refuse_alike(scenario: Scenario, names: Sequence[tuple[str, ...]]) -> None:
    """Raise DataError if a class of one stage is spelt in another case in another stage."""
    seen: dict[str, str] = {}
    for stage, found in zip(scenario.stages, names, strict=True):
        for name in found:
            earlier = seen.setdefault(name.casefold(), name)
            if earlier != name:
                raise alike(earlier, name, f"{scenario.name}: {stage.folder}")


def _refuse_wrapped_class(
    scenario: Scenario, found: Sequence[Sequence[Tree | Part]], names: Sequence[tuple[str, ...]]
) -> None:
    """Raise DataError if a folder that was gone through is named like a class of another stage: then it may be the class."""
    known = {name for each in names for name in each}
    for stage, parts in zip(scenario.stages, found, strict=True):
        path = (scenario.root or Path()) / (stage.folder or "")
        for part in parts:
            around = wrappers(path, part.listing) if isinstance(part, Tree) else ()
            both = [name for name in around if name in known]
            if both:
                raise DataError(
                    f"{path}: could be the class {both[0]!r} with folders of images, or a folder around the classes "
                    f"{', '.join(map(repr, class_names(part)[:4]))}. {CHOOSE} layout = 'classes' for "
                    "the first, or name the inner folder for the second."
                )


def _names(parts: Sequence[Tree | Part]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts if part.use == parts[0].use for name in class_names(part)))


def _check_classes(scenario: Scenario, names: list[tuple[str, ...]]) -> None:
    folders = [stage.folder for stage in scenario.stages]
    chosen = set(scenario.data.classes or ())
    for place, found in enumerate(names):
        absent = chosen - set(found)
        if absent:
            raise DataError(
                f"{scenario.name}: data.classes: {min(absent)!r} is not in {folders[place]}. Fix data.classes."
            )
        for earlier in range(place):
            both = set(names[earlier]) & set(found)
            if scenario.kind == "class-incremental" and both:
                raise DataError(
                    f"{scenario.name}: class {min(both)!r} is in both {folders[earlier]} and {folders[place]}, expected in one "
                    'stage of a class-incremental scenario. Remove it from one, or set kind = "mixed".'
                )
        apart = set(names[0]) ^ set(found)
        if scenario.kind in ("domain-incremental", "data-incremental") and apart and not chosen:
            raise DataError(
                f"{scenario.name}: class {min(apart)!r} is in only one of {folders[0]} and {folders[place]}, expected the "
                f'same classes in every stage of a {scenario.kind} scenario. Add or remove it, or set kind = "mixed".'
            )
