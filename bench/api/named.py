"""Scenarios and strategies by name, by path or as objects: what every function and command takes them as."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.catalog import BASELINES, REFERENCE, find_scenario, find_strategy
from bench.errors import StrategyError

if TYPE_CHECKING:
    from bench.scenario import Scenario
    from bench.strategies.notation import Setting
    from bench.strategies.strategy import Entrant, Strategy

    ScenarioLike = str | os.PathLike[str] | Scenario
    StrategyLike = str | os.PathLike[str] | Strategy | Entrant


def load_scenario(scenario: ScenarioLike) -> Scenario:
    """Return a shipped scenario by name, or one of your own by the path of its TOML file.

    A Scenario object is returned as it is. Raises ScenarioError, naming file and key.

    >>> import bench
    >>> bench.load_scenario("digits-7-3").updates
    1
    """
    from bench.scenario import Scenario
    from bench.scenario import load_scenario as read

    if isinstance(scenario, Scenario):
        return scenario
    return read(find_scenario(os.fspath(scenario)))


def strategy(strategy: StrategyLike, /, **fields: Any) -> Entrant:
    """Return a strategy by name, by path or by object, with some of its fields set to other values.

    strategy: a shipped name, the path of a .py file, either with parameters in brackets, or a Strategy, which is then named after
    its title. fields: "start.shrink", "schedule" or "horizon" -> value; see docs/strategies.md for all fields.
    Raises StrategyError for an unknown field, a wrong type or a value out of range.

    >>> import bench
    >>> bench.strategy("optimized", **{"start.shrink": 0.9}).name
    'optimized[start.shrink=0.9]'
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
    found = load_variant(os.fspath(strategy))
    return vary(found, fields) if fields else found


def strategies_for(
    strategies: Iterable[StrategyLike], settings: Sequence[Setting] = (), horizons: Sequence[float] = ()
) -> list[Entrant]:
    """Return the strategies to run: with settings and grids applied, and at each of `horizons` where any is given.

    Scratch is the reference, so it also runs at 1. Raises StrategyError, also for a horizon that is given twice.
    """
    from bench.strategies.variants import expand

    asked = list(strategies)
    named = [(os.fspath(each) if isinstance(each, str | os.PathLike) else "", strategy(each)) for each in asked]
    if horizons and any(setting.field == "horizon" for setting in settings):
        raise StrategyError("--horizon: given together with horizon in --set or --grid. Use one of them.")
    found = []
    for each in expand(named, settings):
        lengths = dict.fromkeys([1.0, *horizons] if horizons and each.name == REFERENCE else horizons)
        found += [each.at(horizon) for horizon in lengths] or [each]
    return found


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
    if not name or name in BASELINES:
        raise StrategyError(
            f"Strategy: title {strategy.title!r} gives the name {name!r}, expected one of its own. Change the title."
        )
    return name
