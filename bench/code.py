"""The code of a strategy or model: its file, and all that it imports from outside the standard library and installed packages.

Every text is read once. What was read is what runs, what is hashed and recorded, and what is sent to other processes. It runs in
modules of the strategy's own, so that those of two strategies never mix, whatever their names.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import importlib
import importlib.util
import itertools
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import StrategyError

_PREFIX = "bench_strategy_"
# Beside a strategy's file, these names mean what they always do: a strategy may be called random.py and import random.
_NEVER_OWN = {"bench", "__main__", *sys.stdlib_module_names}
_STANDARD = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_SITES = {"site-packages", "dist-packages"}
_LOADED: dict[str, OwnCode] = {}
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class _Module:
    """A module as it was read. path: None for a folder without code; search: where its submodules are, if it is a package."""

    path: str | None
    text: str
    search: tuple[str, ...] = ()


class OwnCode:
    """The code of one strategy's file, loaded as the module `package`, and of what it imports, as modules below that.

    installed: the top-level names of what it imports from elsewhere, without the standard library and bench. own: the installed
    package that the strategy is a part of, by its top-level name: its modules are the strategy's, too, though they are installed.
    """

    def __init__(
        self,
        path: Path,
        package: str,
        modules: dict[str, _Module] | None = None,
        *,
        own: str | None = None,
        text: str | None = None,
    ) -> None:
        """modules: as they were read in another process, by name; "" is the file itself. text: in the file's place."""
        self.path = path
        self.package = package
        self.own = own
        self.installed: set[str] = set()
        self._modules = modules or {}
        self._complete = modules is not None
        if not self._modules:
            importlib.invalidate_caches()  # a module may have been written a moment ago
            folder = str(path.resolve().parent)
            self._modules[""] = (
                _Module(str(path), _text(path), (folder,)) if text is None else _Module(None, text, ("",))
            )
        _LOADED[package] = self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.path, self.package, self._modules, self.own)

    @property
    def source(self) -> str:
        """The text of the strategy's file."""
        return self._modules[""].text

    def modules(self) -> dict[str, str]:
        """Return the texts of what it imports, by the names it imports them by, sorted."""
        return {name: each.text for name, each in sorted(self._modules.items()) if name and each.path}

    def packages(self) -> dict[str, str]:
        """Return the versions of the installed packages that it imports, by the packages' names."""
        imported = self.installed | ({self.own} if self.own else set())
        if not imported:
            return {}
        known = _packages()
        return {each: version(each) for name in sorted(imported) for each in sorted(set(known.get(name, ())))}

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain values: the texts as they were read, and where they lay."""
        modules = {name: [each.path, each.text, list(each.search)] for name, each in self._modules.items()}
        return {"path": str(self.path), "own": self.own, "modules": modules}

    def run(self) -> ModuleType:
        """Run the file, and return its module. Raises what it raises; nothing of it is then left."""
        try:
            spec = self.spec("")
            assert spec is not None
            module = sys.modules[self.package] = importlib.util.module_from_spec(spec)
            self.execute(module, "")
            if not self._complete:
                self.complete()
        except BaseException:
            _LOADED.pop(self.package, None)
            for name in [name for name in sys.modules if f"{name}.".startswith(f"{self.package}.")]:
                del sys.modules[name]
            raise
        return module

    def complete(self) -> None:
        """Read what is imported only later, in functions, without running it. From here on nothing more is read."""
        done: set[str] = set()
        while todo := set(self._modules) - done:
            for name in sorted(todo):
                for asked, absolute in _imports(name, self._modules[name]):
                    self._note(asked, absolute)
            done |= todo
        self._complete = True

    def spec(self, name: str) -> ModuleSpec | None:
        """Return how to load a module by its name below the package, or None if there is none."""
        found = self._find(name)
        if found is None:
            return None
        full = f"{self.package}.{name}" if name else self.package
        spec = ModuleSpec(full, _Loader(self, name), origin=found.path, is_package=bool(found.search))
        if found.search:
            spec.submodule_search_locations = list(found.search)
        spec.has_location = found.path is not None
        return spec

    def execute(self, module: ModuleType, name: str) -> None:
        """Run a module's text, with an `import` that looks for the strategy's own modules first."""
        found = self._modules[name]
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        exec(compile(found.text, found.path or name, "exec", dont_inherit=True), module.__dict__)

    def _import(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level or not self._note(name.partition(".")[0], absolute=True):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = importlib.import_module(f"{self.package}.{name}")
        if fromlist:
            return builtins.__import__(found.__name__, globals, locals, fromlist, 0)
        return sys.modules[f"{self.package}.{name.partition('.')[0]}"]

    def _note(self, name: str, absolute: bool) -> bool:
        """Read what a name stands for, and all that it lies in. Returns whether its first part is the strategy's own."""
        parts = name.split(".")
        if absolute and (parts[0] in _NEVER_OWN or parts[0] in self.installed):
            return False
        for end in range(1, len(parts) + 1):
            if self._find(".".join(parts[:end])) is None:
                if end == 1 and absolute:
                    self.installed.add(parts[0])
                return end > 1
        return True

    def _find(self, name: str) -> _Module | None:
        if name in self._modules:
            return self._modules[name]
        spec = self._locate(name)
        if spec is None:
            return None
        if self._complete:
            raise ImportError(
                f"{name} is imported only now, so it was not recorded: write it as an import statement, or import it when loaded"
            )
        search = tuple(spec.submodule_search_locations or ())
        if spec.origin is None:
            found = _Module(None, "", search)
        else:
            same = (each for each in self._modules.values() if each.path == spec.origin)
            read = next(same, None)
            found = _Module(spec.origin, read.text if read else _text(Path(spec.origin)), search)
        self._modules[name] = found
        return found

    def _locate(self, name: str) -> ModuleSpec | None:
        """Return where a module of the strategy's own lies: beside the file, or elsewhere but not installed; else None."""
        above, dot, _ = name.rpartition(".")
        if dot:
            parent = self._find(above)
            return PathFinder.find_spec(name, list(parent.search)) if parent and parent.search else None
        if name == self.own:
            return _usual_spec(name)
        folder = self._modules[""].search
        beside = None if self.own or _is_for_packages(Path(*folder)) else PathFinder.find_spec(name, list(folder))
        if beside and beside.origin:
            return beside
        usual = _usual_spec(name)
        if usual and (usual.origin or not beside):  # as in Python, a mere folder stands behind everything else
            return None if _is_installed(usual) else usual
        return beside


def load_code(path: Path) -> tuple[OwnCode, ModuleType]:
    """Read and run a strategy's file; return its code and its module. Raises what the file raises, and StrategyError."""
    stem = re.sub(r"\W", "_", path.stem)
    code = OwnCode(path, f"{_PREFIX}{stem}_{os.getpid()}_{next(_NUMBERS)}")
    return code, code.run()


def load_installed(module: str, attribute: str) -> tuple[OwnCode, ModuleType]:
    """Read and run what an installed package has, as a file of one line would: its module imports `attribute` as `strategy`.

    The modules of that package are the strategy's own, by their texts; other packages are what is installed. Raises what loading
    raises.
    """
    own = module.partition(".")[0]
    spec = _usual_spec(own)
    if spec is None or own in _NEVER_OWN:
        raise ImportError(f"no module {own} is installed")
    path = Path(spec.origin) if spec.origin else Path(*list(spec.submodule_search_locations or ())[:1], "__init__.py")
    for part in module.split(".")[1:]:
        path = path.parent / part / "__init__.py"
        path = path if path.is_file() else path.parent.with_suffix(".py")
    text = f"from {module} import {attribute} as strategy\n"
    code = OwnCode(path, f"{_PREFIX}{own}_{os.getpid()}_{next(_NUMBERS)}", own=own, text=text)
    return code, code.run()


def code_from(plain: Mapping[str, Any]) -> tuple[OwnCode, ModuleType]:
    """Return the code that OwnCode.plain described, perhaps in another process, and its module, and run it unless it has been.

    No file is read. Raises what the code raises.
    """
    path = Path(plain["path"])
    modules = {name: _Module(place, text, tuple(search)) for name, (place, text, search) in plain["modules"].items()}
    number = int(hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16], 16)
    stem = re.sub(r"\W", "_", path.stem)
    package = f"{_PREFIX}{stem}_0_{number}"
    return _again(path, package, modules, plain["own"]), sys.modules[package]


def read_code(path: Path) -> OwnCode:
    """Return the code of a module that runs already, and of what it imports, without running any of it again."""
    code = OwnCode(path, f"{_PREFIX}_{os.getpid()}_{next(_NUMBERS)}")
    try:
        code.complete()
    finally:
        del _LOADED[code.package]
    return code


def code_that_defines(kind: type) -> OwnCode | None:
    """Return the code of the strategy's file that a class comes from, or None if it comes from none."""
    return _LOADED.get(kind.__module__.partition(".")[0])


class _Finder:
    """Finds the modules of strategies, for Python's import."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, dot, below = name.partition(".")
        return _LOADED[package].spec(below) if dot and package in _LOADED else None


class _Loader(Loader):
    def __init__(self, code: OwnCode, name: str) -> None:
        self._code = code
        self._name = name

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make the module."""

    def exec_module(self, module: ModuleType) -> None:
        self._code.execute(module, self._name)


sys.meta_path.insert(0, _Finder)


def _again(path: Path, package: str, modules: dict[str, _Module], own: str | None) -> OwnCode:
    """Return the code with the texts that another process read, and run it here unless it has been."""
    if package not in _LOADED:
        OwnCode(path, package, modules, own=own).run()
    return _LOADED[package]


def _imports(name: str, module: _Module) -> Iterator[tuple[str, bool]]:
    """Yield (name below the package, whether it is absolute) of all that a module imports, wherever in its text."""
    within = name if module.search or not name else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(module.text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, True) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = within.split(".") if within else []
            if node.level - 1 > len(parts):
                continue  # above the strategy's folder; Python says so when it runs
            base = parts[: len(parts) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((".".join([*base, *more]), not node.level) for more in ([], *([a.name] for a in node.names)))


@functools.cache
def _packages() -> Mapping[str, list[str]]:
    """Return which installed packages a top-level name belongs to. Takes half a second where many are installed."""
    return packages_distributions()


def _text(path: Path) -> str:
    if path.suffix != ".py":
        raise StrategyError(
            f"imports {path.name}, which is compiled and cannot be recorded. Install it as a package, or import its .py file."
        )
    return importlib.util.decode_source(path.read_bytes())


def _usual_spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a spec, such as a notebook's own
        return None


def _is_installed(spec: ModuleSpec) -> bool:
    """Return whether a top-level module comes with Python or with an installed package, whose version identifies it.

    What is installed to be edited lies where it is edited, and is not.
    """
    if not spec.origin:
        return all(_is_installed_in(Path(place).parent) for place in spec.submodule_search_locations or ())
    path = Path(spec.origin)
    folder = path.parent.parent if spec.submodule_search_locations else path.parent
    return not path.is_file() or _is_installed_in(folder)


def _is_installed_in(folder: Path) -> bool:
    standard = f"{folder}{os.sep}".startswith(_STANDARD)
    return standard or bool(_SITES & set(folder.parts)) or _is_for_packages(folder)


def _is_for_packages(folder: Path) -> bool:
    return folder.name in _SITES or any(folder.glob("*.dist-info"))


def forget(code: OwnCode) -> None:
    """Let go of what a file was loaded as, as if another process went on: it can be made again from what was pickled."""
    _LOADED.pop(code.package, None)
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{code.package}.")]:
        del sys.modules[name]
