"""Packages that bench can do without, until something asks for one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from bench.errors import BenchError, ScenarioError


def optional_package(name: str, asked_by: str, *, package: str | None = None) -> Any:
    """Import a module of an optional package. package: its name for pip; None if that is `name`.

    Raises ScenarioError if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as cause:
        package = package or name
        raise ScenarioError(
            f"{asked_by}: needs the package {package}, which is not installed. Run: pip install {package}"
        ) from cause


def extra_package(names: Sequence[str], extra: str, asked_by: str) -> Any:
    """Import the first of these modules that is installed; extra: of bench's own, which installs one of them.

    Raises BenchError if none is.
    """
    cause: ImportError | None = None
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError as missing:
            cause = missing
    raise BenchError(
        f"{asked_by}: needs the extra {extra}, which is not installed. Run: pip install 'compute-to-accuracy[{extra}]'"
    ) from cause
