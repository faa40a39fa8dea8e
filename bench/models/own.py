"""Models of the user's own: a function in a Python file, "./mine.py:make", or one that an installed package offers by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bench.catalog import Installed, find_installed, installed_names
from bench.code import OwnCode, load_code, load_installed
from bench.errors import BenchError, ScenarioError


@dataclass(frozen=True)
class OwnModel:
    """make: (channels, classes) -> a model. code: what it is made by; it is recorded, and part of what identifies a trial."""

    make: Callable[[int, int], nn.Module]
    code: OwnCode

    def describe(self) -> dict[str, object]:
        """Return its code as plain values, as records hold it: as of a strategy's own pieces."""
        return {"source": self.code.source, "modules": self.code.modules(), "packages": self.code.packages()}

    def identity(self) -> list[object]:
        """Return what another model, or the same after an edit, has not: all of its code. Versions of packages do not count."""
        return [self.code.source, self.code.modules()]


_READ: dict[str, OwnModel] = {}  # each is read once: what is recorded is what runs


def own_model(name: str, taken: Callable[[], list[str]]) -> OwnModel | None:
    """Return the user's own model of that name; None if it is not one. A path is relative to the current folder.

    taken: returns the names that no installed package may offer. Raises ScenarioError if it cannot be loaded.
    """
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        key, found = f"{Path(path).resolve()}:{attribute}", None
    else:
        if name not in installed_names("models"):
            return None
        found = find_installed(name, "models", taken(), ScenarioError)
        key = str(found)
    if key not in _READ:
        _READ[key] = _load(name, found, Path(path), attribute)
    return _READ[key]


def _load(name: str, found: Installed | None, path: Path, attribute: str) -> OwnModel:
    where = f"model.name {name!r}"
    if found is None and not (path.is_file() and attribute.isidentifier()):
        raise ScenarioError(
            f"{where}: no file {path} in {Path.cwd()}, or no function's name after the colon, expected FILE.py:FUNCTION. Change "
            "it, or run from the folder that it is relative to."
        )
    try:
        code, module = load_installed(found.module, found.attribute) if found else load_code(path)
    except (Exception, SystemExit) as cause:  # anything that a user's file raises is for the user to fix
        said = str(cause) if isinstance(cause, BenchError) else f"{type(cause).__name__}: {cause}"
        raise ScenarioError(f"{where}: cannot be loaded: {' '.join(said.split())}. Fix the file.") from cause
    function = getattr(module, "strategy" if found else attribute, None)
    if not callable(function):
        raise ScenarioError(f"{where}: {attribute} is {function!r}, expected a function (channels, classes). Add it.")

    def make(channels: int, classes: int) -> nn.Module:
        try:
            model = function(channels, classes)
        except Exception as cause:
            said = " ".join(f"{type(cause).__name__}: {cause}".split())
            raise ScenarioError(f"{where}: failed with {said}. Fix the file.") from cause
        if not isinstance(model, nn.Module):
            raise ScenarioError(f"{where}: returned {type(model).__name__}, expected a torch.nn.Module. Fix the file.")
        return model

    return OwnModel(make, code)
