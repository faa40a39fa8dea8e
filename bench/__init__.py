"""bench: what does updating a trained model cost, compared with training again, at the same accuracy?

To run and compare strategies from Python: plan, run, load_results, report. To write a strategy: Strategy and the pieces of
its four aspects. docs/python.md and docs/strategies.md show both.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.version import __version__

# Loaded on first use: most of these need torch, `import bench` and `bench leaderboard` do not.
_PUBLIC = {
    "BenchError": "bench.errors",
    "Cosine": "bench.strategies.schedule",
    "Fresh": "bench.strategies.start",
    "Keep": "bench.strategies.start",
    "L2Init": "bench.strategies.regularizer",
    "LearningSpeed": "bench.strategies.selection",
    "Linear": "bench.strategies.schedule",
    "MultiStep": "bench.strategies.schedule",
    "NoRegularizer": "bench.strategies.regularizer",
    "OldShare": "bench.strategies.selection",
    "OneCycle": "bench.strategies.schedule",
    "Plan": "bench.api.plans",
    "Pool": "bench.data.feed.batches",
    "Results": "bench.api.results",
    "Scenario": "bench.scenario",
    "ShrinkAndPerturb": "bench.strategies.start",
    "Strategy": "bench.strategies.strategy",
    "Uniform": "bench.strategies.selection",
    "find_horizons": "bench.api.horizons",
    "frontier": "bench.api.horizons",
    "load_results": "bench.api.results",
    "load_scenario": "bench.api.named",
    "plan": "bench.api.plans",
    "prepare": "bench.api.plans",
    "report": "bench.api.results",
    "run": "bench.api.plans",
    "strategy": "bench.api.named",
}

__all__ = [
    "BenchError",
    "Cosine",
    "Fresh",
    "Keep",
    "L2Init",
    "LearningSpeed",
    "Linear",
    "MultiStep",
    "NoRegularizer",
    "OldShare",
    "OneCycle",
    "Plan",
    "Pool",
    "Results",
    "Scenario",
    "ShrinkAndPerturb",
    "Strategy",
    "Uniform",
    "__version__",
    "find_horizons",
    "frontier",
    "load_results",
    "load_scenario",
    "plan",
    "prepare",
    "report",
    "run",
    "strategy",
]

if TYPE_CHECKING:
    from bench.api.horizons import find_horizons, frontier
    from bench.api.named import load_scenario, strategy
    from bench.api.plans import Plan, plan, prepare, run
    from bench.api.results import Results, load_results, report
    from bench.data.feed.batches import Pool
    from bench.errors import BenchError
    from bench.scenario import Scenario
    from bench.strategies.regularizer import L2Init, NoRegularizer
    from bench.strategies.schedule import Cosine, Linear, MultiStep, OneCycle
    from bench.strategies.selection import LearningSpeed, OldShare, Uniform
    from bench.strategies.start import Fresh, Keep, ShrinkAndPerturb
    from bench.strategies.strategy import Strategy


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
