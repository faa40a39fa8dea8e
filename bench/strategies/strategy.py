"""A strategy: how an update is trained. Loading one from a Python file."""

from __future__ import annotations

import dataclasses
import inspect
import json
import numbers
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.catalog import InFile, Installed, shipped_folder, strategy_names
from bench.code import OwnCode, code_that_defines, load_code, load_installed, read_code
from bench.errors import BenchError, StrategyError
from bench.scenario import digest
from bench.strategies.averaging import Averaging, NoAveraging
from bench.strategies.fields import canonical
from bench.strategies.freezing import Freezing, NoFreezing
from bench.strategies.head import Head, RandomHead
from bench.strategies.objective import CrossEntropy, Objective, require_declared
from bench.strategies.regularizer import NoRegularizer, Regularizer
from bench.strategies.schedule import Schedule
from bench.strategies.selection import Selection, Uniform
from bench.strategies.start import Start
from bench.strategies.teacher import NoTeacher, Teacher


@dataclass(frozen=True)
class Strategy:
    """One choice for each of the nine aspects, and the horizon: the planned length as a share of scratch's steps.

    tuned_on: scenario name -> how many trials were spent on tuning the recipe there. tuning: the tuning.json that bench tune
    wrote, relative to the strategy's file. Both for the record; not hashed.
    """

    title: str
    start: Start
    schedule: Schedule
    regularizer: Regularizer = field(default_factory=NoRegularizer)
    selection: Selection = field(default_factory=Uniform)
    freezing: Freezing = field(default_factory=NoFreezing)
    head: Head = field(default_factory=RandomHead)
    averaging: Averaging = field(default_factory=NoAveraging)
    teacher: Teacher = field(default_factory=NoTeacher)
    objective: Objective = field(default_factory=CrossEntropy)
    horizon: float = 1.0
    tuned_on: Mapping[str, int] = field(default_factory=dict)
    tuning: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.horizon, numbers.Real) or isinstance(self.horizon, bool) or not 0 < self.horizon <= 10:
            raise StrategyError(f"Strategy: horizon {self.horizon}, expected above 0 and at most 10. Change it.")
        for name, kind in ASPECTS.items():
            piece = getattr(self, name)
            if not isinstance(piece, kind) or not dataclasses.is_dataclass(piece) or isinstance(piece, type):
                raise StrategyError(
                    f"Strategy: {name} is {' '.join(repr(piece).split())[:100]}, expected an instance of a frozen dataclass with "
                    f"the method of its aspect. See those in bench/strategies/{name}.py."
                )
        require_declared(self.objective)

    @property
    def needs_base(self) -> bool:
        """Whether a base model must exist first."""
        old = self.objective.needs_old_logits or self.objective.needs_old_model
        return self.start.needs_base or self.selection.needs_speed or self.needs_predictions or old

    @property
    def needs_predictions(self) -> bool:
        """Whether the old model must predict the old images: for a teacher, or a selection with needs_old_loss."""
        return self.teacher != NoTeacher() or getattr(self.selection, "needs_old_loss", False)


ASPECTS = {
    "start": Start,
    "regularizer": Regularizer,
    "selection": Selection,
    "schedule": Schedule,
    "freezing": Freezing,
    "head": Head,
    "averaging": Averaging,
    "teacher": Teacher,
    "objective": Objective,
}
# Aspects that came later: a strategy that leaves them at these has the description and the hash that it had before.
_UNSAID = {
    "freezing": NoFreezing(),
    "head": RandomHead(),
    "averaging": NoAveraging(),
    "teacher": NoTeacher(),
    "objective": CrossEntropy(),
}


@dataclass(frozen=True)
class Entrant:
    """A loaded strategy: its name (the file's), and what identifies it.

    source: the file's text, where a piece is defined in it, or in what it imports, rather than in bench; else None. modules: the
    texts of what it then imports from outside installed packages, by name; packages: the versions of those. code: what its file
    was loaded as. plain: for a variant, the strategy as its file has it. The last two are no part of what is recorded or hashed.
    tuning: what tuning the recipe cost, see read_tuning; recorded, not hashed.
    """

    name: str
    strategy: Strategy
    source: str | None = None
    modules: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    code: OwnCode | None = field(default=None, compare=False, repr=False)
    plain: Entrant | None = field(default=None, compare=False, repr=False)
    tuning: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def at(self, horizon: float) -> Entrant:
        """Return the same strategy at another horizon. Raises StrategyError for one that is out of range."""
        return dataclasses.replace(self, strategy=dataclasses.replace(self.strategy, horizon=horizon))

    def describe(self) -> dict[str, Any]:
        """Return the resolved strategy as plain values, as records hold it.

        Without freezing, averaging and teacher where there is none, and without a head that is as a new network has it or a
        loss that is the scenario's.
        """
        chosen = {name: getattr(self.strategy, name) for name in ASPECTS}
        pieces = {name: _describe_piece(piece) for name, piece in chosen.items() if piece != _UNSAID.get(name)}
        return {
            "name": self.name,
            "title": self.strategy.title,
            "horizon": self.strategy.horizon,
            **pieces,
            "tuned_on": dict(self.strategy.tuned_on),
            **({"tuning": dict(self.tuning)} if self.tuning else {}),
            "source": self.source,
            **({"modules": dict(self.modules)} if self.modules else {}),
            **({"packages": dict(self.packages)} if self.packages else {}),
        }

    def hash(self) -> str:
        """Return 16 hex digits over everything that changes training; title, name, tuning notes and versions do not count."""
        content = self.describe()
        return digest({key: content[key] for key in (*ASPECTS, "horizon", "source", "modules") if key in content})


def load_strategy(found: Path | InFile | Installed) -> Entrant:
    """Run a strategy's Python file and return its `strategy`, or the Strategy of another name in it, or an installed one.

    Of half in mine.py, the name is mine.half. Raises StrategyError if the file fails, has no Strategy of that name, or has a name
    that its records cannot have, such as that of a shipped strategy. The file is code and is trusted as such.
    """
    where = found.path if isinstance(found, InFile) else found
    if isinstance(where, Path):
        _check_name(where)
    try:
        code, module = load_code(where) if isinstance(where, Path) else load_installed(where.module, where.attribute)
    except BenchError as cause:
        raise StrategyError(f"{where}: {cause}") from cause
    except (Exception, SystemExit) as cause:  # anything that a user's file raises is for the user to fix
        said = re.sub(r"bench_strategy_\w+?_\d+_\d+\.?", "", in_a_line(cause))
        remedy = "Fix the file" if isinstance(where, Path) else "Fix that package, or uninstall it"
        raise StrategyError(f"{where}: cannot be loaded: {said}. {remedy}.") from cause
    attribute = found.attribute if isinstance(found, InFile) else "strategy"
    strategy = getattr(module, attribute, None)
    if not isinstance(strategy, Strategy):
        said = " ".join(repr(strategy).split())[:100]
        raise StrategyError(f"{where}: {attribute} is {said}, expected a Strategy. Add: {attribute} = Strategy(...).")
    if isinstance(where, Installed):
        return named(strategy, where.name, code)
    return named(strategy, where.stem if where is found else f"{where.stem}.{attribute}", code)


def _check_name(path: Path) -> None:
    """Raise StrategyError for a file whose name no folder can have, or that a shipped strategy or a variant has."""
    name = path.stem
    shipped = shipped_folder("baselines") / f"{name.casefold()}.py"
    if name.casefold() in strategy_names() and path.resolve() != shipped.resolve():
        raise StrategyError(f"{path}: {name.casefold()} is the name of a shipped strategy. Rename the file.")
    if name.startswith(".") or name != name.strip() or not name.isprintable() or set(name) & set("/\\[]@"):
        raise StrategyError(
            f"{path}: {name!r} cannot name a strategy: expected no dot in front, no space around it, and none of [ ] @ \\ in it. "
            "Rename the file."
        )


def named(
    strategy: Strategy, name: str, code: OwnCode | None = None, tuning: Mapping[str, Any] | None = None
) -> Entrant:
    """Return a strategy with its name, with its fields as their types have them, and the code of its own pieces.

    code: of the file that defines it, if any. tuning: what its tuning cost, where that was read before; None reads it.
    Raises StrategyError for a field of another type, or that cannot be recorded.
    """
    pieces = {aspect: canonical(getattr(strategy, aspect), f"{name}: {aspect}") for aspect in ASPECTS}
    told = tuning or (strategy.tuning and read_tuning(strategy.tuning, name, code.path if code else None))
    whole = dataclasses.replace(strategy, horizon=float(strategy.horizon), **pieces)
    plain = Entrant(name, whole, code=code, tuning=told or None)
    return require_recordable(dataclasses.replace(plain, **own_code(plain.strategy, plain)))


def read_tuning(file: str, name: str, origin: Path | None) -> dict[str, Any]:
    """Return what tuning a recipe cost: the scenario, trials, FLOPs, and FLOPs in units of one scratch training there.

    file: a tuning.json, relative to the strategy's own file. Raises StrategyError if it cannot be read.
    """
    path = (origin.parent if origin else Path()) / file
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            "scenario": str(content["scenario"]),
            "trials": len(content["trials"]),
            "flops": sum(map(int, content["spent"].values())),
            "scratch_trainings": float(content["scratch_trainings"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise StrategyError(
            f"{name}: tuning: {path} cannot be read ({in_a_line(cause)}), expected a tuning.json that bench tune wrote. "
            "Put it there, or leave tuning out."
        ) from cause


def require_recordable(entrant: Entrant) -> Entrant:
    """Return the strategy. Raises StrategyError if a record cannot hold a field's value."""
    try:
        entrant.hash()
    except (TypeError, ValueError) as cause:
        raise StrategyError(
            f"{entrant.name}: a field cannot be recorded: {in_a_line(cause)}. Use numbers, texts, None, or tuples of them."
        ) from cause
    return entrant


def in_a_line(cause: BaseException) -> str:
    """Return what an exception says, as one line."""
    said = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {said}" if said else type(cause).__name__


def own_code(strategy: Strategy, plain: Entrant) -> dict[str, Any]:
    """Return the fields source, modules and packages of Entrant: nothing if all pieces are bench's, whose fields say all.

    plain: the strategy as it was loaded. Of one that was made in Python rather than loaded from a file, source is the code of the
    pieces' classes. Raises StrategyError if there is no code to read: it has to be recorded and hashed.
    """
    kinds = {type(getattr(strategy, name)): None for name in ASPECTS}
    own = [kind for kind in kinds if kind.__module__.partition(".")[0] != "bench"]
    if not own:
        return {"source": None, "modules": {}, "packages": {}}
    codes = {each: None for each in (plain.code, *map(code_that_defines, own)) if each}
    try:
        others = {kind.__module__: None for kind in own if code_that_defines(kind) is None}
        files = {name: getattr(sys.modules[name], "__file__", None) for name in others}
        beside = {name: read_code(Path(file)) for name, file in files.items() if file}
        source = next(iter(codes)).source if codes else "\n".join(map(inspect.getsource, own))
    except (OSError, TypeError, KeyError) as cause:
        raise StrategyError(
            f"{plain.name}: the code of its pieces cannot be read ({in_a_line(cause)}), and it has to be recorded. "
            "Define them in a file."
        ) from cause
    modules: dict[str, str] = {}
    packages: dict[str, str] = {}
    for place, (name, code) in enumerate([*((code.path.stem, code) for code in codes), *beside.items()]):
        if place or not codes:  # a script also holds what is no part of the strategy
            modules |= {f"{name}/{each}": text for each, text in code.modules().items()}
            modules |= {} if name == "__main__" else {name: code.source}
        else:
            modules |= code.modules()
        packages |= code.packages()
    return {"source": source, "modules": modules, "packages": packages}


@contextmanager
def running(piece: object, hook: str = "") -> Iterator[None]:
    """Turn an exception from a user's own piece into a StrategyError; a bug in one of bench's keeps its traceback.

    hook: of those that a piece has several of, the one that runs.
    """
    try:
        yield
    except BenchError:
        raise
    except (Exception, SystemExit) as cause:
        if type(piece).__module__.startswith("bench."):
            raise
        where = f"{type(piece).__name__}: {hook}" if hook else type(piece).__name__
        raise StrategyError(f"{where}: failed with {in_a_line(cause)}. Fix the strategy's file.") from cause


def _describe_piece(piece: Any) -> dict[str, Any]:
    return {"type": type(piece).__name__, **dataclasses.asdict(piece)}
