"""Finding scenarios, strategies and models: shipped and installed ones by name, a user's own by path."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from bench.errors import BenchError, ScenarioError, StrategyError

# The shipped strategy that all others are compared with. It trains on all old images, even if others have only a share.
REFERENCE = "scratch"
LARGEST_SEED = 2**63 - 1  # of the streams and tables that hold them
TUNING_FROM = 100  # seeds from here on are for tuning, and are never scored
BASELINES = (REFERENCE, "naive", "optimized")
_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(room: str) -> Path:
    """Return the folder of shipped files, `room` being "scenarios", "baselines" or "results".

    In an installed wheel it is bench/_shipped/<room>; in an editable install and in a bare checkout it is <room>
    next to the package.
    """
    for folder in (_PACKAGE / "_shipped" / room, _PACKAGE.parent / room):
        if folder.is_dir():
            return folder
    raise BenchError(f"{room}: not found in {_PACKAGE} or next to it. The installation is incomplete; reinstall.")


def scenario_names() -> list[str]:
    """Return the names of the shipped scenarios, sorted."""
    return sorted(path.stem for path in shipped_folder("scenarios").glob("*.toml"))


def strategy_names() -> list[str]:
    """Return the names of the shipped strategies, sorted."""
    return sorted(path.stem for path in shipped_folder("baselines").glob("*.py"))


@dataclass(frozen=True)
class InFile:
    """An object of some name in a Python file of the user's own: "./mine.py:half"."""

    path: Path
    attribute: str


@dataclass(frozen=True)
class Installed:
    """What an installed package offers under a name, as an entry point. distribution: the package, as pip calls it."""

    name: str
    module: str
    attribute: str
    distribution: str

    def __str__(self) -> str:
        return f"{self.name} (of {self.distribution}: {self.module}:{self.attribute})"


def installed_names(room: str) -> list[str]:
    """Return the names under which installed packages offer something, sorted. room: "scenarios", "strategies" or "models"."""
    return sorted({point.name for point in _points(room)})


def find_installed(name: str, room: str, shipped: list[str], error: type[BenchError]) -> Installed | None:
    """Return what an installed package offers under a name, or None if none does.

    Raises `error` if two do, or if it is the name of a shipped one, and for an entry point that names no object in a module.
    """
    points = [point for point in _points(room) if point.name == name]
    if not points:
        return None
    packages = [point.dist.name if point.dist else "a package" for point in points]
    where = f"entry point {name!r} in bench.{room} of {' and '.join(packages)}"
    if len(points) > 1 or name.casefold() in shipped:
        found = "also the name of a shipped one" if name.casefold() in shipped else "offered twice"
        raise error(f"{where}: {found}, expected a name of its own. Uninstall that package, or rename it there.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise error(f"{where}: expected a name of letters, digits, dots, hyphens and underscores. Rename it there.")
    if not re.fullmatch(r"[\w.]+\s*:\s*[A-Za-z_]\w*", points[0].value):
        raise error(
            f"{where}: found {points[0].value!r}, expected module:name. Fix it in that package's pyproject.toml."
        )
    return Installed(name, points[0].module, points[0].attr, packages[0])


def _points(room: str) -> tuple[EntryPoint, ...]:
    return _points_on(f"bench.{room}", tuple(sys.path))


@cache
def _points_on(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group. Looking through what is installed takes 30 ms. path: sys.path, as it is."""
    return tuple(entry_points(group=group))


def scenario_argument(name: str) -> str:
    """Return what --scenario takes for a recorded scenario: its name, or the file that it would be in if it has none."""
    return name if name in (*scenario_names(), *installed_names("scenarios")) else f"./{name}.toml"


def find_scenario(name_or_path: str) -> Path:
    """Return the TOML file of a shipped or installed scenario by name, or of a user's own by path. Raises ScenarioError."""
    found = _find(name_or_path, "scenarios", ".toml", scenario_names(), ScenarioError)
    if isinstance(found, Path):
        return found
    try:
        path = Path(os.fspath(getattr(importlib.import_module(found.module), found.attribute)))
    except (Exception, SystemExit) as cause:  # anything that another's package raises is for its author to fix
        raise ScenarioError(
            f"scenario {found}: cannot be loaded: {type(cause).__name__}: {' '.join(str(cause).split())}. It is to be the "
            "path of a .toml file. Fix that package, or uninstall it."
        ) from cause
    if path.suffix != ".toml" or not path.is_file():
        raise ScenarioError(f"scenario {found}: no .toml file lies at {path}. Fix that package, or uninstall it.")
    return path


def find_strategy(name_or_path: str) -> Path | InFile | Installed:
    """Return where a strategy is: shipped or installed, by name, or a user's own, by path, which may end in :name.

    Raises StrategyError.
    """
    path, colon, attribute = name_or_path.rpartition(":")
    if colon and path.endswith(".py"):
        if not attribute.isidentifier():
            raise StrategyError(
                f"strategy {name_or_path}: found {attribute!r} after the file, expected the name of a Strategy in it. Change it."
            )
        found = _find(path, "baselines", ".py", strategy_names(), StrategyError)
        return InFile(found, attribute) if isinstance(found, Path) and attribute != "strategy" else found
    return _find(name_or_path, "baselines", ".py", strategy_names(), StrategyError)


def _find(asked: str, room: str, suffix: str, names: list[str], error: type[BenchError]) -> Path | Installed:
    what, group = ("scenario", "scenarios") if suffix == ".toml" else ("strategy", "strategies")
    if asked.endswith(suffix) or "/" in asked or "\\" in asked:
        path = Path(asked)
        if path.is_file() and path.suffix == suffix:
            return path
        if path.is_dir():
            raise error(f"{what} {asked}: is a folder, expected a {suffix} file. Name a file in it.")
        raise error(
            f"{what} {asked}: no such {suffix} file. Give the path of a {suffix} file, or one of: {_row(names)}."
        )
    found = find_installed(asked, group, names, error)
    if found or asked in names:
        return found or shipped_folder(room) / f"{asked}{suffix}"
    if Path(asked).is_dir():
        raise error(f"{what} {asked}: is a folder, expected a {suffix} file. Name a file in it.")
    others = installed_names(group)
    names = [*names, *others]
    near = difflib.get_close_matches(asked, names, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    shipped = "neither shipped nor installed" if others else "not shipped"
    raise error(f"{what} {asked!r}: {shipped}. {hint}Choose one of {_row(names)}, or a path ending in {suffix}.")


def _row(names: list[str]) -> str:
    return ", ".join(names)
