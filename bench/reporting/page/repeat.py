"""The commands that reproduce a leaderboard row."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bench.catalog import REFERENCE, installed_names, scenario_argument, strategy_names


def repeat_commands(scenario: str, strategy: str, horizon: float, seeds: Sequence[int], own: bool) -> tuple[str, ...]:
    """Return the commands, in order: scratch first, because every row is compared with it.

    own: whether the strategy has pieces of the user's own, so that a shipped one of that name is a different one. A file that is
    not shipped is named as if it were in the working directory.
    """
    where = scenario_argument(scenario)
    name, bracket, settings = strategy.partition("[")
    shipped = (name in strategy_names() and not own) or name in installed_names("strategies")
    file, _, variable = name.partition(".")  # records call half = Strategy(...) in mine.py mine.half
    own_file = f"./{file}.py:{variable}" if variable.isidentifier() else f"./{name}.py"
    asked = [(f"{name if shipped else own_file}{bracket}{settings}", horizon)]
    if (strategy, horizon) != (REFERENCE, 1.0):
        asked.insert(0, (REFERENCE, 1.0))
    return tuple(
        shlex.join(["bench", "run", "--scenario", where, "--strategy", name, "--horizon", f"{length:g}"])
        + f" --seeds {seeds_text(seeds)}"
        for name, length in asked
    )


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds in the form that --seeds takes: 0-2,5."""
    spans: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
