"""A user's own data: each stage of a scenario is a folder of images or an .npz archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.data.files.folders import list_tree
from bench.data.sources.archives import own_archive_parts
from bench.data.sources.assemble import Part, Tree
from bench.errors import DataError
from bench.scenario import Scenario, Stage


def own_parts(scenario: Scenario) -> Sequence[Tree | Part]:
    """List the stages' folders and read their archives, in order; the domain of each is its `folder` as written.

    Raises DataError if one is missing or invalid, or if the classes do not fit the scenario's kind.
    """
    found = [_stage_parts(scenario, stage) for stage in scenario.stages]
    _check_classes(scenario, [_names(parts) for parts in found])
    return [part for parts in found for part in parts]


def own_class_names(scenario: Scenario, parts: Sequence[Tree | Part]) -> tuple[str, ...]:
    """Return the class names: data.classes, or else in stage order, sorted by name within a stage.

    So the rows of an old model's head are the old folder's class names, sorted (for an archive: its labels, ascending).
    """
    return scenario.data.classes or tuple(dict.fromkeys(name for part in parts for name in class_names(part)))


def class_names(part: Tree | Part) -> tuple[str, ...]:
    """Return the class names of a tree or a part."""
    return part.class_names if isinstance(part, Part) else part.listing.class_names


def _stage_parts(scenario: Scenario, stage: Stage) -> Sequence[Tree | Part]:
    assert stage.folder is not None
    path = (scenario.root or Path()) / stage.folder
    if path.suffix == ".npz":
        return own_archive_parts(scenario, path, stage.folder)
    if not path.is_dir():
        raise DataError(f"{path}: neither a folder of images nor an .npz archive. Fix the stage's folder.")
    return [Tree(listing, use, stage.folder) for use, listing in list_tree(path, scenario.data.classes)]


def _names(parts: Sequence[Tree | Part]) -> tuple[str, ...]:
    return class_names(parts[0])


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
