"""What a user's own folder is: classes, or training and held-out parts that hold classes. What could be both is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench.data.files.folders import Inside, Listing, Use, list_annotated, list_class_folders, look
from bench.data.files.names import plain_name
from bench.errors import DataError

# "classes": the folders directly inside are the classes. "splits": those with names of splits hold the classes.
ReadAs = Literal["classes", "splits"]
# How every refusal of two readings goes on.
CHOOSE = "In the stage's entry (of bench update: as --old-layout or --new-layout), give"
_ROLES: dict[str, Use | None] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "held-out", "heldout", "eval", "evaluation"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled", "unsup", "unsupervised"), None),  # without classes, so not used
}
_ORDER: tuple[Use, ...] = ("cut", "train", "validation", "test")
_NUMBERED = re.compile(r"[-_ .]*\d+$")


def list_tree(
    folder: Path, classes: Sequence[str] | None = None, layout: ReadAs | None = None, *, tested: bool = False
) -> list[tuple[Use, Listing]]:
    """List a user's own folder: class folders, or training and held-out parts that hold class folders.

    A folder whose only content is one folder of folders is gone through. Parts are known by name, in any case, with or
    without a number: train, val, valid, dev, test, holdout and the like; one held-out part alone is the test part.
    Tiny-ImageNet's validation folder is recognized too. layout: how to read it where it could be two things. tested: whether
    its test images are elsewhere: then nothing is to be cut off, and one held-out part alone is what its name says.
    Raises DataError as list_class_folders does, if the folder could be read in two ways, and if parts have different classes.
    """
    alone: Use = "train" if tested else "cut"
    if (folder / "val_annotations.txt").is_file():
        return [(alone, list_annotated(folder, classes))]
    if layout == "classes":
        return [(alone, list_class_folders(folder, classes))]
    inside = look(folder)
    within = _wrapped(folder, inside)
    if within is not None:
        return list_tree(within, classes, layout, tested=tested)
    if not any(_base(name) in _ROLES for name in inside.folders):
        if layout == "splits":
            raise DataError(
                f"{folder}: layout = 'splits', but no folder inside is named like one (found {_some(inside.folders)}), "
                "expected train and test or the like. Rename them, or remove layout."
            )
        _refuse_groups(folder, inside)
        return [(alone, list_class_folders(folder, classes))]
    if layout is None and not _holds_splits(folder, inside):
        return [(alone, list_class_folders(folder, classes))]
    return _list_splits(folder, inside, classes, tested)


def wrappers(folder: Path, listing: Listing) -> tuple[str, ...]:
    """Return the names of the folders between a user's folder and the classes of a listing, but for splits."""
    names = listing.folder.relative_to(folder).parts
    return tuple(plain_name(name) for name in names if _base(name) not in _ROLES)


def _wrapped(folder: Path, inside: Inside) -> Path | None:
    """Return the only folder inside if it holds nothing but folders. Raises DataError if it may be a class."""
    if len(inside.folders) != 1 or inside.loose:
        return None
    within = folder / inside.folders[0]
    if (within / "val_annotations.txt").is_file():
        return within
    below = look(within)
    if below.loose or not below.folders:
        return None
    if len(below.folders) == 1 and _base(below.folders[0]) not in _ROLES and look(within / below.folders[0]).loose:
        raise _two_readings(
            folder,
            f"one class {inside.folders[0]!r} with its images in {below.folders[0]}/",
            f"a folder around one class {below.folders[0]!r}",
            f"layout = 'classes' for the first, or name {within} for the second",
        )
    return within


def _holds_splits(folder: Path, inside: Inside) -> bool:
    """Tell splits from classes that are named like them (a train is a vehicle too). Raises DataError where both fit."""
    named = [name for name in inside.folders if _base(name) in _ROLES]
    below = {name: look(folder / name) for name in named}
    annotated = {name for name in named if (folder / name / "val_annotations.txt").is_file()}
    flat = [name for name in named if not below[name].folders and name not in annotated and _ROLES[_base(name)]]
    labelled = [name for name in named if _ROLES[_base(name)] is not None]
    strangers = [name for name in inside.folders if name not in named]
    if strangers and len(flat) == len(labelled) and labelled:
        return False
    has_train = any(_ROLES[_base(name)] == "train" for name in named)
    if strangers or flat or not has_train:
        raise _two_readings(
            folder,
            f"classes {_some(inside.folders)}",
            f"splits {_some(named)}" + (f", and {_some(strangers)} not used" if strangers else ""),
            "layout = 'classes' or layout = 'splits'",
        )
    return True


def _list_splits(
    folder: Path, inside: Inside, classes: Sequence[str] | None, tested: bool
) -> list[tuple[Use, Listing]]:
    """List the parts. Raises DataError if there is none to train on, if one is named in two ways, or if classes differ."""
    parts: dict[Use, list[str]] = {}
    passed_over = list(inside.system)
    for name in inside.folders:
        use = _ROLES.get(_base(name))
        if use is None:
            passed_over.append(f"{name}/")
        else:
            parts.setdefault(use, []).append(name)
    if inside.loose:
        raise DataError(f"{folder / inside.loose[0]}: an image outside the splits' class folders. Move or remove it.")
    if "train" not in parts:
        raise DataError(
            f"{folder}: only {_some([name for names in parts.values() for name in names])}, expected a part to train on too. "
            "Add train/, or name one of them as the stage's folder."
        )
    for use, names in parts.items():
        if len({_base(name) for name in names}) > 1:
            raise DataError(
                f"{folder}: {' and '.join(names)} are both named like the {use} part, expected one. Move one away."
            )
    if not tested and "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    if list(parts) == ["train"] and len(parts["train"]) == 1:
        parts = {"train" if tested else "cut": parts["train"]}
    elif list(parts) == ["train"]:
        raise _two_readings(
            folder,
            f"classes {_some(inside.folders)}",
            f"training parts {_some(parts['train'])} without a held-out one",
            "layout = 'classes' for the first, or add test/ for the second",
        )
    found: list[tuple[Use, Listing]] = []
    for use, names in sorted(parts.items(), key=lambda each: _ORDER.index(each[0])):
        for name in names:
            part = folder / name
            annotated = (part / "val_annotations.txt").is_file()
            inner = look(part)
            if not annotated:
                _refuse_groups(part, inner)
            found.append((use, (list_annotated if annotated else list_class_folders)(part, classes)))
    first = found[0][1]
    found[0] = (found[0][0], replace(first, passed_over=(*first.passed_over, *(f"../{name}" for name in passed_over))))
    _same_classes(folder, found)
    return found


def _same_classes(folder: Path, found: Sequence[tuple[Use, Listing]]) -> None:
    classes = {
        use: {name for other, listing in found if other == use for name in listing.class_names} for use, _ in found
    }
    train = next(iter(classes))
    for use, names in classes.items():
        apart = sorted(names ^ classes[train])
        if apart:
            one, other = (next(part.folder.name for each, part in found if each == kind) for kind in (train, use))
            more = f" (and {len(apart) - 1} more)" if len(apart) > 1 else ""
            raise DataError(
                f"{folder}: class {apart[0]!r}{more} in only one of {one}/ and {other}/, expected in both. Add or remove it."
            )


def _refuse_groups(folder: Path, inside: Inside) -> None:
    """Raise DataError if every folder holds the same folders and no images: then either level may be the classes."""
    if len(inside.folders) < 2 or inside.loose:
        return
    first = look(folder / inside.folders[0])
    if len(first.folders) < 2 or first.loose:
        return
    for name in inside.folders[1:]:
        other = look(folder / name)
        if other.loose or set(other.folders) != set(first.folders):
            return
    raise _two_readings(
        folder,
        f"classes {_some(inside.folders)}, each with folders of images",
        f"groups {_some(inside.folders)} of the classes {_some(first.folders)}",
        f"layout = 'classes' for the first, or name {folder / inside.folders[0]} and the others as stages for the second",
    )


def _two_readings(folder: Path, one: str, other: str, remedy: str) -> DataError:
    return DataError(f"{folder}: could be {one}, or {other}. {CHOOSE} {remedy}.")


def _base(name: str) -> str:
    return _NUMBERED.sub("", plain_name(name).casefold())


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:4])
    return f"{listed} and {len(names) - 4} more" if len(names) > 4 else listed
