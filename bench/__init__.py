"""bench: what does updating a trained model cost, compared with training again, at the same accuracy?

A strategy's file imports the pieces it needs from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded on first use: the names below need torch, `bench leaderboard` does not.
_PUBLIC = {
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
    "Pool": "bench.data.feed.batches",
    "ShrinkAndPerturb": "bench.strategies.start",
    "Strategy": "bench.strategies.strategy",
    "Uniform": "bench.strategies.selection",
}

__all__ = [
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
    "Pool",
    "ShrinkAndPerturb",
    "Strategy",
    "Uniform",
    "__version__",
]

if TYPE_CHECKING:
    from bench.data.feed.batches import Pool
    from bench.strategies.regularizer import L2Init, NoRegularizer
    from bench.strategies.schedule import Cosine, Linear, MultiStep, OneCycle
    from bench.strategies.selection import LearningSpeed, OldShare, Uniform
    from bench.strategies.start import Fresh, Keep, ShrinkAndPerturb
    from bench.strategies.strategy import Strategy


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
