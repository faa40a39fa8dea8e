"""The commands that say beforehand: which scenarios there are, and what a run would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.catalog import find_installed, installed_names, scenario_names, strategy_names
from bench.cli.options import data_root_option, entrants_of, plan_of, results_option, training_options
from bench.cli.show import show_tables, width_options
from bench.errors import StrategyError


@click.command("list", short_help="List scenarios and strategies.")
@data_root_option
@results_option
@width_options
def list_command(data_root: Path, results: Path, wide: bool, columns: str | None) -> None:
    """List scenarios and strategies, shipped or offered by installed packages, and whether a scenario's data are ready."""
    from bench.api.named import load_scenario
    from bench.data.sources.find import data_ready
    from bench.records.store import recorded_scratch
    from bench.reporting.plans import scenario_cells

    scenarios = [load_scenario(name) for name in (*scenario_names(), *installed_names("scenarios"))]
    ready = [data_ready(scenario, data_root) for scenario in scenarios]
    records = [recorded_scratch(results, scenario.name, scenario.hash(), scenario.updates) for scenario in scenarios]
    show_tables([scenario_cells(scenarios, ready, records)], wide=wide, columns=columns)
    for room, shipped in (("strategies", strategy_names()), ("models", [])):
        for name in installed_names(room):
            find_installed(name, room, shipped, StrategyError)
    strategies = (*strategy_names(), *installed_names("strategies"))
    click.echo(f"strategies: {', '.join(strategies)}, or the path of a .py file")
    if models := installed_names("models"):
        click.echo(f"models that installed packages offer: {', '.join(models)}")


@click.command("plan", short_help="Say what a run would do, and how long it takes.")
@training_options
@width_options
def plan_command(jobs: int, wide: bool, columns: str | None, **asked: Any) -> None:
    """Say what `bench run` would do, and how long it would take on this machine. Times a few steps; runs nothing else."""
    from bench.api.named import check_names, load_scenario
    from bench.api.plans import require_data
    from bench.reporting.plans import plan_cells

    check_names(asked["strategies"])
    scenario, entrants = load_scenario(asked["scenario"]), entrants_of(jobs=jobs, **asked)
    require_data(scenario, asked["data_root"], asked["scenario"])
    plan = plan_of(entrants, **asked)
    show_tables([plan_cells(plan.scenario, plan.costs(jobs).estimates)], wide=wide, columns=columns)
