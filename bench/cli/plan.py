"""The commands that say beforehand: which scenarios there are, and what a run would take."""

from __future__ import annotations

from pathlib import Path

import click

from bench.catalog import find_strategy, scenario_names, strategy_names
from bench.cli.options import (
    cache_option,
    compile_option,
    data_root_option,
    device_option,
    horizons_option,
    load,
    load_entrants,
    results_option,
    scenario_option,
    seeds_option,
    show,
    strategies_option,
    threads_option,
)
from bench.errors import DataError


@click.command("list")
@data_root_option
@results_option
def list_command(data_root: Path, results: Path) -> None:
    """List the shipped scenarios and strategies, and whether a scenario's data are ready."""
    from bench.data.sources.find import data_ready
    from bench.records.store import recorded_scratch
    from bench.reporting.plans import scenario_table

    scenarios = [load(name) for name in scenario_names()]
    ready = [data_ready(scenario, data_root) for scenario in scenarios]
    records = [recorded_scratch(results, scenario.name, scenario.hash(), scenario.updates) for scenario in scenarios]
    show(*scenario_table(scenarios, ready, records))
    click.echo(f"strategies: {', '.join(strategy_names())}, or the path of a .py file")


@click.command("plan")
@scenario_option
@strategies_option
@horizons_option
@seeds_option
@device_option
@data_root_option
@results_option
@cache_option
@compile_option
@threads_option
def plan_command(
    scenario: str,
    strategies: tuple[str, ...],
    horizons: tuple[float, ...],
    seeds: tuple[int, ...],
    device: str,
    data_root: Path,
    results: Path,
    cache: Path,
    compiled: bool | None,
    threads: int | None,
) -> None:
    """Say what `bench run` would do, and what it would take on this machine: a few steps are timed, nothing else runs."""
    asked = load(scenario)
    paths = [find_strategy(name) for name in strategies]
    from bench.data.sources.find import data_ready

    state = data_ready(asked, data_root)
    if state != "ready":
        raise DataError(
            f"{asked.name}: data {state}, expected them ready. See: bench data status; bench data prepare --scenario {scenario}"
        )
    from bench.execution.estimate import estimate
    from bench.execution.local import LocalRun
    from bench.reporting.plans import plan_table

    entrants = load_entrants(paths, horizons)
    local = LocalRun(
        asked,
        entrants,
        seeds,
        device=device,
        data_root=data_root,
        results=results,
        cache=cache,
        compiled=compiled,
        threads=threads,
    )
    show(*plan_table(asked, estimate(local)))
