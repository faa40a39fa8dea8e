"""A strategy: how an update is trained. Loading one from a Python file."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError, StrategyError
from bench.scenario import digest
from bench.strategies.regularizer import NoRegularizer, Regularizer
from bench.strategies.schedule import Schedule
from bench.strategies.selection import Selection, Uniform
from bench.strategies.start import Start


@dataclass(frozen=True)
class Strategy:
    """One choice for each of the four aspects, and the horizon: the planned length as a share of scratch's steps.

    tuned_on: scenario name -> how many trials were spent on tuning the recipe there. For the record; not hashed.
    """

    title: str
    start: Start
    schedule: Schedule
    regularizer: Regularizer = field(default_factory=NoRegularizer)
    selection: Selection = field(default_factory=Uniform)
    horizon: float = 1.0
    tuned_on: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.horizon <= 10:
            raise StrategyError(f"Strategy: horizon {self.horizon}, expected above 0 and at most 10. Change it.")
        for name, kind in ASPECTS.items():
            piece = getattr(self, name)
            if not isinstance(piece, kind) or not dataclasses.is_dataclass(piece) or isinstance(piece, type):
                raise StrategyError(
                    f"Strategy: {name} is {piece!r}, expected an instance of a frozen dataclass. "
                    f"See those in bench/strategies/{name}.py."
                )

    @property
    def needs_base(self) -> bool:
        """Whether a base model must exist first."""
        return self.start.needs_base or self.selection.needs_speed


ASPECTS = {"start": Start, "regularizer": Regularizer, "selection": Selection, "schedule": Schedule}


@dataclass(frozen=True)
class Entrant:
    """A loaded strategy: its name (the file's), and what identifies it.

    source: the file's text, where a piece is defined in it rather than in bench; else None. origin: that file, where there is
    one. plain: for a variant, the strategy as its file has it. Neither is part of what is recorded or hashed.
    """

    name: str
    strategy: Strategy
    source: str | None = None
    origin: Path | None = field(default=None, compare=False)
    plain: Entrant | None = field(default=None, compare=False, repr=False)

    def at(self, horizon: float) -> Entrant:
        """Return the same strategy at another horizon. Raises StrategyError for one that is out of range."""
        return dataclasses.replace(self, strategy=dataclasses.replace(self.strategy, horizon=horizon))

    def describe(self) -> dict[str, Any]:
        """Return the resolved strategy as plain values, as records hold it."""
        pieces = {name: _describe_piece(getattr(self.strategy, name)) for name in ASPECTS}
        return {
            "name": self.name,
            "title": self.strategy.title,
            "horizon": self.strategy.horizon,
            **pieces,
            "tuned_on": dict(self.strategy.tuned_on),
            "source": self.source,
        }

    def hash(self) -> str:
        """Return 16 hex digits over everything that changes training; title, name and tuning notes do not count."""
        content = self.describe()
        return digest({key: content[key] for key in (*ASPECTS, "horizon", "source")})


def load_strategy(path: Path) -> Entrant:
    """Run a strategy's Python file and return its `strategy`.

    Raises StrategyError if the file fails, or has no Strategy of that name. The file is code and is trusted as such.
    """
    spec = importlib.util.spec_from_file_location(module_name(path.stem), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name(path.stem)] = module  # dataclasses look up their own module
    try:
        spec.loader.exec_module(module)
    except BenchError as cause:
        raise StrategyError(f"{path}: {cause}") from cause
    except Exception as cause:  # whatever a user's file raises is for the user to fix
        raise StrategyError(f"{path}: cannot be loaded: {type(cause).__name__}: {cause}. Fix the file.") from cause
    strategy = getattr(module, "strategy", None)
    if not isinstance(strategy, Strategy):
        raise StrategyError(f"{path}: strategy is {strategy!r}, expected a Strategy. Add: strategy = Strategy(...).")
    return named(strategy, path.stem, path)


def named(strategy: Strategy, name: str, origin: Path | None = None) -> Entrant:
    """Return a strategy with its name and the code of its own pieces. origin: the file that defines them, if any."""
    plain = Entrant(name, strategy, origin=origin)
    return dataclasses.replace(plain, source=source_of(strategy, plain))


def module_name(strategy: str) -> str:
    """Return the name of the module that a strategy's file is loaded as."""
    return f"bench_strategy_{strategy}"


def source_of(strategy: Strategy, plain: Entrant) -> str | None:
    """Return the code of a strategy's own pieces, or None if all are bench's: the text of its file, or else of their classes.

    plain: the strategy as it was loaded. Raises StrategyError if there is no code to read: it has to be recorded and hashed.
    """
    kinds = [type(getattr(strategy, name)) for name in ASPECTS]
    if plain.origin is not None:
        own = any(kind.__module__ == module_name(plain.name) for kind in kinds)
        return plain.origin.read_text(encoding="utf-8") if own else None
    own = [kind for kind in kinds if not kind.__module__.startswith("bench.")]
    try:
        return "\n".join(inspect.getsource(kind) for kind in own) or None
    except (OSError, TypeError) as cause:
        raise StrategyError(
            f"{plain.name}: the code of its pieces cannot be read ({cause}), and it has to be recorded. Define them in a file."
        ) from cause


@contextmanager
def running(piece: object) -> Iterator[None]:
    """Turn an exception from a user's own piece into a StrategyError; a bug in one of bench's keeps its traceback."""
    try:
        yield
    except BenchError:
        raise
    except Exception as cause:
        if type(piece).__module__.startswith("bench."):
            raise
        name = type(piece).__name__
        raise StrategyError(f"{name}: failed with {type(cause).__name__}: {cause}. Fix the strategy's file.") from cause


def _describe_piece(piece: Any) -> dict[str, Any]:
    return {"type": type(piece).__name__, **dataclasses.asdict(piece)}
