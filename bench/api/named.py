"""Scenarios and strategies by name, by path or as objects: what every function and command takes them as."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.catalog import LARGEST_SEED, REFERENCE, find_scenario, find_strategy, installed_names, strategy_names
from bench.errors import BenchError, ScenarioError, StrategyError

if TYPE_CHECKING:
    from torch import nn

    from bench.scenario import Scenario
    from bench.strategies.notation import Setting
    from bench.strategies.strategy import Entrant, Strategy

    ScenarioLike = str | os.PathLike[str] | Scenario
    StrategyLike = str | os.PathLike[str] | Strategy | Entrant


def load_scenario(scenario: ScenarioLike) -> Scenario:
    """Return a shipped or installed scenario by name, or one of your own by the path of its TOML file.

    A Scenario object is returned as it is. Raises ScenarioError, naming file and key.

    >>> import bench
    >>> bench.load_scenario("digits-7-3").updates
    1
    """
    from bench.scenario import Scenario, parse_scenario
    from bench.scenario import load_scenario as read

    if isinstance(scenario, Scenario):  # a copy with changed fields is not validated by pydantic
        again = parse_scenario(scenario.model_dump(mode="json"), f"scenario {scenario.name!r}")
        return again.model_copy(update={"root": scenario.root})
    asked = _text(scenario, "scenario", "a name, the path of a .toml file or a Scenario", ScenarioError)
    found = read(find_scenario(asked))
    if asked in installed_names("scenarios") and found.name != asked:
        raise ScenarioError(
            f"scenario {asked}: its file's name is {found.name!r}, expected {asked!r}, as the package that offers it says. Fix "
            "that package, or uninstall it."
        )
    return found


def build_model(name: str, channels: int, classes: int, seed: int = 0, image_size: int | None = None) -> nn.Module:
    """Return a newly initialized model by its name in a scenario, on the CPU, as a trial of that seed begins with it.

    Raises ScenarioError for an unknown name, and for a model of one's own that cannot be loaded.

    >>> import bench
    >>> bench.build_model("resnet8", channels=3, classes=7).head.out_features
    7
    """
    from bench.models.build import build_model as build

    return build(name, channels, classes, seed, "update", image_size)


def strategy(strategy: StrategyLike, /, **fields: Any) -> Entrant:
    """Return a strategy by name, by path or by object, with some of its fields set to other values.

    strategy: a shipped or installed name, the path of a .py file, or of one and a name in it ("./mine.py:half"), each with
    parameters in brackets, or a Strategy, which is then named after its title. fields: "start.shrink", "schedule" or "horizon" ->
    value; see docs/strategies.md for all fields.
    Raises StrategyError for an unknown field, a wrong type or a value out of range.

    >>> import bench
    >>> bench.strategy("optimized", **{"schedule.warmup": 0.2}).name
    'optimized[schedule.warmup=0.2]'
    >>> bench.strategy("naive", horizon=0.5).strategy.horizon
    0.5
    """
    from bench.strategies.strategy import Entrant, Strategy, named
    from bench.strategies.variants import load_variant, vary

    if isinstance(strategy, Entrant):
        return vary(strategy, fields) if fields else strategy
    if isinstance(strategy, Strategy):
        found = named(strategy, _name_of(strategy))
        return vary(found, fields) if fields else found
    found = load_variant(_text(strategy, "strategy", "a name, the path of a .py file, a Strategy", StrategyError))
    return vary(found, fields) if fields else found


def strategies_for(
    strategies: Iterable[StrategyLike], settings: Sequence[Setting] = (), horizons: Sequence[float] = ()
) -> list[Entrant]:
    """Return the strategies to run: with settings and grids applied, and at each of `horizons` where any is given.

    Scratch is the reference, so it also runs at 1. Raises StrategyError.
    """
    from bench.strategies.variants import expand

    if isinstance(strategies, str | os.PathLike) or not isinstance(strategies, Iterable):
        raise StrategyError(
            f"strategies: found {strategies!r}, expected a list of strategies, such as ['scratch', 'naive']."
        )
    asked = list(strategies)
    if not asked:
        raise StrategyError("strategies: none given, expected at least one. Name some.")
    named = [(os.fspath(each) if isinstance(each, str | os.PathLike) else "", strategy(each)) for each in asked]
    if horizons and any(setting.field == "horizon" for setting in settings):
        raise StrategyError("--horizon: given together with horizon in --set or --grid. Use one of them.")
    found = []
    for each in expand(named, settings):
        lengths = dict.fromkeys([1.0, *horizons] if horizons and each.name == REFERENCE else horizons)
        found += [each.at(horizon) for horizon in lengths] or [each]
    return found


def seeds_for(seeds: Iterable[int]) -> tuple[int, ...]:
    """Return seeds as plain integers. Raises BenchError unless they are distinct whole numbers from 0 to 2^63 - 1."""
    expected = "expected distinct whole numbers from 0 to 2^63 - 1, such as range(3). Change them."
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise BenchError(f"seeds: found {seeds!r}, {expected}")
    found = []
    for seed in seeds:
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= operator.index(seed) <= LARGEST_SEED:
            raise BenchError(f"seeds: found {seed!r}, {expected}")
        found.append(operator.index(seed))
    if not found or len(set(found)) < len(found):
        raise BenchError(f"seeds: {'one is given twice' if found else 'none given'}, {expected}")
    return tuple(found)


def recorded_name(name: object) -> str:
    """Return a strategy's name as records have it, with its @horizon, however its parameters are written.

    name: a name, a reference with parameters, the path of a file, or a strategy as returned by strategy().
    """
    if hasattr(name, "strategy") and hasattr(name, "name"):
        return str(name.name)  # pyright: ignore[reportAttributeAccessIssue]
    text = _text(name, "strategy", "a name such as optimized or optimized@0.4", StrategyError)
    reference, at, horizon = text.partition("@") if "]" not in text else _after_brackets(text)
    if found := re.fullmatch(r"(.*)\.py(?::(\w+))?", reference):
        stem = Path(found[1]).name
        reference = stem if found[2] in (None, "strategy") else f"{stem}.{found[2]}"
    elif "[" in reference:
        from bench.strategies.variants import load_variant

        with suppress(StrategyError):  # a variant of a file that is not here: its name as it is
            reference = load_variant(reference).name
    return f"{reference}{at}{float(horizon):g}" if _is_number(horizon) else f"{reference}{at}{horizon}"


def _after_brackets(text: str) -> tuple[str, str, str]:
    end = text.rindex("]") + 1
    return text[:end], text[end : end + 1], text[end + 1 :]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _text(value: object, what: str, expected: str, error: type[BenchError]) -> str:
    if not isinstance(value, str | os.PathLike):
        raise error(f"{what}: found {value!r}, expected {expected}. Change it.")
    return os.fspath(value)


def check_names(strategies: Iterable[str]) -> None:
    """Raise StrategyError for a strategy that cannot be found. Takes a moment: loads no strategy, and no torch."""
    from bench.strategies.notation import split_reference

    for name in strategies:
        find_strategy(split_reference(name)[0])


def scenario_in_results(scenario: ScenarioLike) -> tuple[str, str | None]:
    """Return (name, hash) of the scenario whose results are asked for; no hash for a bare name, which need not be shipped.

    Raises ScenarioError for a path without a scenario.
    """
    from bench.scenario import Scenario

    text = scenario if isinstance(scenario, Scenario) else os.fspath(scenario)
    if isinstance(text, str) and not (text.endswith(".toml") or re.search(r"[/\\]", text) or Path(text).is_dir()):
        return text, None
    found = load_scenario(scenario)
    return found.name, found.hash()


def _name_of(strategy: Strategy) -> str:
    """Return a strategy's title as a name: lower case, with hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", strategy.title.lower()).strip("-")
    if not name or name in strategy_names():
        raise StrategyError(
            f"Strategy: title {strategy.title!r} gives the name {name!r}, which is taken. Change the title."
        )
    return name
