"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from platformdirs import user_cache_path
from rich.console import Console, RenderableType

from bench.catalog import REFERENCE, find_scenario
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.scenario import Scenario
    from bench.strategies.strategy import Entrant

CACHE = user_cache_path("compute-to-accuracy", appauthor=False)
BASELINES = ("scratch", "naive", "optimized")


class Seeds(click.ParamType):
    """Seeds as "0-4", "3" or "0,2,5-7"."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise BenchError(f"--seeds {value!r}: expected whole numbers like 0-4 or 0,2,5. Change it.")
            span = range(int(first), int(last or first) + 1)
            if not span or len(span) > 1000:
                raise BenchError(f"--seeds {value!r}: {part} is an empty or endless range. Change it.")
            seeds.extend(span)
        if len(set(seeds)) != len(seeds):
            raise BenchError(f"--seeds {value!r}: a seed stands there twice. Remove it.")
        return tuple(seeds)


results_option = click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of records."
)
scenario_option = click.option(
    "--scenario", default="digits-7-3", show_default=True, help="Name, or path of a .toml file."
)
strategies_option = click.option(
    "--strategy",
    "strategies",
    multiple=True,
    default=BASELINES,
    show_default=True,
    help="Name, or path of a .py file.",
)
seeds_option = click.option("--seeds", type=Seeds(), default="0-2", show_default=True, help="Like 0-4 or 0,2,5.")
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=CACHE / "data",
    show_default="the user's cache folder",
    help="Where image sets lie, or are downloaded to, and where what is prepared goes.",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=CACHE,
    show_default="the user's cache folder",
    help="Base models and checkpoints.",
)
horizons_option = click.option(
    "--horizon",
    "horizons",
    type=float,
    multiple=True,
    show_default="each strategy's own",
    help="Planned length, as a share of scratch's steps; several for a frontier. Scratch itself is always run at 1, too.",
)
compile_option = click.option(
    "--compile/--no-compile", "compiled", default=None, help="Use torch.compile; default: as the scenario says."
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=None,
    show_default="one a core",
    help="Of PyTorch on the CPU; kept for the whole run, and in every record.",
)


def load(name_or_path: str) -> Scenario:
    """Return a shipped scenario, or the user's own by path."""
    from bench.scenario import load_scenario

    return load_scenario(find_scenario(name_or_path))


def load_entrants(paths: Sequence[Path], horizons: Sequence[float]) -> list[Entrant]:
    """Return the strategies of these files: at their own horizons, or at each of those given, and scratch at 1."""
    from bench.strategies.strategy import load_strategy

    entrants = []
    for path in paths:
        entrant = load_strategy(path)
        asked = dict.fromkeys([1.0, *horizons] if horizons and entrant.name == REFERENCE else horizons)
        entrants += [entrant.at(horizon) for horizon in asked] or [entrant]
    return entrants


def show(*parts: RenderableType) -> None:
    """Print at full width: a table that a narrow terminal folds can still be read, one that is squeezed cannot."""
    console = Console(soft_wrap=True)
    console.width = max(console.width, 240)
    console.print(*parts)
