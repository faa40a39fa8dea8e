"""Packages that bench can do without, until something asks for one."""

from __future__ import annotations

import importlib
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


def extra(module: str, name: str, asked_by: str) -> Any:
    """Import a module that one of bench's extras brings. name: of the extra. Raises BenchError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise BenchError(
            f"{asked_by}: needs the extra {name}, which is not installed. Run: pip install 'compute-to-accuracy[{name}]'"
        ) from cause
