"""Finding scenarios and strategies: shipped ones by name, a user's own by path."""

from __future__ import annotations

import difflib
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


def scenario_argument(name: str) -> str:
    """Return what --scenario takes for a recorded scenario: its name, or the file that it would be in if it is not shipped."""
    return name if name in scenario_names() else f"./{name}.toml"


def find_scenario(name_or_path: str) -> Path:
    """Return the TOML file of a shipped scenario by name, or of a user's own by path. Raises ScenarioError."""
    return _find(name_or_path, "scenarios", ".toml", scenario_names(), ScenarioError)


def find_strategy(name_or_path: str) -> Path:
    """Return the Python file of a shipped strategy by name, or of a user's own by path. Raises StrategyError."""
    return _find(name_or_path, "baselines", ".py", strategy_names(), StrategyError)


def _find(asked: str, room: str, suffix: str, names: list[str], error: type[BenchError]) -> Path:
    what = "scenario" if suffix == ".toml" else "strategy"
    if asked.endswith(suffix) or "/" in asked or "\\" in asked:
        path = Path(asked)
        if path.is_file() and path.suffix == suffix:
            return path
        if path.is_dir():
            raise error(f"{what} {asked}: is a folder, expected a {suffix} file. Name a file in it.")
        raise error(
            f"{what} {asked}: no such {suffix} file. Give the path of a {suffix} file, or one of: {_row(names)}."
        )
    if asked in names:
        return shipped_folder(room) / f"{asked}{suffix}"
    if Path(asked).is_dir():
        raise error(f"{what} {asked}: is a folder, expected a {suffix} file. Name a file in it.")
    near = difflib.get_close_matches(asked, names, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise error(f"{what} {asked!r}: not shipped. {hint}Choose one of {_row(names)}, or a path ending in {suffix}.")


def _row(names: list[str]) -> str:
    return ", ".join(names)
