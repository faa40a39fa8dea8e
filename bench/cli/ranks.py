"""`bench run` as one of several processes that torchrun started. Rank 0 does what the command does, the others train with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import entrants_of, noted, planned
from bench.errors import RanksError

if TYPE_CHECKING:
    from bench.torchrun import Launch


def run_on_ranks(
    found: Launch, asked: dict[str, Any], *, tell: Callable[[str], None], show: Callable[..., None]
) -> None:
    """Train trials on all ranks, one after the other; on rank 0, print the leaderboard.

    asked: the options of `bench run`. tell, show: print a line, and the results. Raises a BenchError on every rank; rank 0's says
    what is wrong.
    """
    scenarios, executor, jobs, pilot = (asked[name] for name in ("scenarios", "executor", "jobs", "pilot"))
    _refuse(len(scenarios) > 1, "several scenarios", "one")
    _refuse(executor is not None, f"--executor {executor}", "none")
    _refuse(jobs > 1, f"--jobs {jobs}", "one trial at a time")
    from bench.api.named import check_names, load_scenario
    from bench.api.plans import plan, require_data
    from bench.api.plans import run as run_plan
    from bench.api.ranks import follow, join
    from bench.reporting.progress import progress_on_terminal
    from bench.training.ranks import Ranks

    if found.rank:
        logging.disable(logging.WARNING)  # what rank 0 says, too
    world = Ranks(found)
    try:
        with world.agreed():
            asked = {**asked, "device": world.device(asked["device"])}
            check_names(asked["strategies"])
            scenario = load_scenario(scenarios[0])
            entrants = entrants_of(**asked)
            scenario = scenario if pilot is None else scenario.as_pilot(pilot)
            require_data(scenario, asked["data_root"], scenarios[0])
            run = plan(scenario, entrants, asked["seeds"], **planned(asked))
        join(run, world)
        if found.rank:
            follow(run, world)
            return
        noted(run)
        with world.leading():
            old = run.old_model()
            for line in old.lines() if old else ():
                click.echo(line)
            with progress_on_terminal() as listener:
                results = run_plan(run, listener=listener, log=asked["log"], log_folder=asked["log_folder"], tell=tell)
    finally:
        world.close()
    show(results, run.results, run.scenario, min(run.seeds))


def _refuse(found: bool, what: str, expected: str) -> None:
    if found:
        raise RanksError(
            f"torchrun: found together with {what}, expected {expected}. Change it, or start it without torchrun."
        )
