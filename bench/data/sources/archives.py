"""Archives of arrays that hold parts of a data set: one for all domains, or one per stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data.files.folders import Use
from bench.data.files.names import distinct_names
from bench.data.sources.arrays import check_arrays, npz_names, read_npz
from bench.data.sources.assemble import Part
from bench.data.sources.known import SetFacts
from bench.errors import DataError
from bench.scenario import Scenario


def domain_archive_parts(path: Path, facts: SetFacts, domains: Sequence[str], scenario: Scenario) -> list[Part]:
    """Read x_DOMAIN and y_DOMAIN of each domain of a known set. Raises DataError if one is missing or has the wrong shape."""
    names, size = npz_names(path), scenario.data.image_size
    for domain in domains:
        if f"x_{domain}" not in names or f"y_{domain}" not in names:
            raise DataError(f"{path}: no x_{domain} or y_{domain}: domain {domain} is missing. Pack the set again.")
    needed = [f"{axis}_{domain}" for domain in domains for axis in "xy"]
    arrays = read_npz(path, needed)
    class_names = distinct_names(map(str, arrays.get("classes", np.arange(facts.classes))), str(path))
    if len(class_names) != facts.classes:
        raise DataError(f"{path}: {len(class_names)} class names, expected {facts.classes}. Pack again.")
    unknown = sorted(set(scenario.data.classes or ()) - set(class_names))
    if unknown:
        raise DataError(f"{scenario.name}: data.classes: {unknown[0]!r} is not a class of {path}. Fix data.classes.")
    parts = []
    for domain in domains:
        pair = arrays[f"x_{domain}"], arrays[f"y_{domain}"]
        x, y = check_arrays(*pair, domain, str(path), classes=facts.classes)
        if size is not None and x.shape[1:3] != (size, size):
            raise DataError(
                f"{path}: x_{domain} holds images of {x.shape[1:3]}, but data.image_size is {size}. Change it, or replace "
                "the archive with the set's files."
            )
        parts.append(Part(x, y, class_names, "cut", str(path), domain))
    return parts


def own_archive_parts(scenario: Scenario, path: Path, domain: str) -> list[Part]:
    """Read a user's archive of x_train, y_train and optionally x_test, y_test, classes. Raises DataError if it is invalid."""
    arrays = read_npz(path, ("x_train", "y_train"), ("x_test", "y_test", "classes"))
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path}: only one of x_test and y_test, expected both or neither. Pack again.")
    has_test, size = "x_test" in arrays, scenario.data.image_size
    names = distinct_names(map(str, arrays["classes"]), str(path)) if "classes" in arrays else None
    uses: tuple[Use, ...] = ("train", "test") if has_test else ("cut",)
    parts = []
    for use in uses:
        side = "test" if use == "test" else "train"
        x, y = check_arrays(
            arrays[f"x_{side}"], arrays[f"y_{side}"], side, str(path), classes=len(names) if names else None
        )
        if size is not None and x.shape[1:3] != (size, size):
            raise DataError(
                f"{path}: x_{side} holds images of {x.shape[1:3]}, but data.image_size is {size}. Change it, or pack again."
            )
        labels, local = np.unique(y, return_inverse=True)
        own = tuple(names[label] if names else str(label) for label in labels)
        parts.append(Part(x, local.reshape(-1), own, use, str(path), domain))
    if has_test and parts[0].class_names != parts[1].class_names:
        raise DataError(f"{path}: y_train and y_test hold different classes, expected the same. Pack again.")
    return parts
