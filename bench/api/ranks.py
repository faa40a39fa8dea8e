"""Running a plan on several devices that train each trial together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api.plans import Plan
    from bench.training.ranks import Ranks


def join(plan: Plan, world: Ranks) -> None:
    """Let all ranks train each of a plan's trials. Every rank calls it. Raises a BenchError for what is not done on several."""
    plan._local.join(world)


def follow(plan: Plan, world: Ranks) -> None:
    """Train what rank 0 runs of the plan, until it ends."""
    from bench.execution.follow import follow as follow_first

    follow_first(plan._local, world)
