"""The commands that say beforehand: which scenarios there are, and what a run would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.catalog import find_installed, installed_names, scenario_names, strategy_names
from bench.cli.options import data_root_option, entrants_of, plan_of, results_option, sweep_of, training_options
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
@click.option(
    "--json",
    "graph",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="FILE",
    help="Write the graph of jobs: what each is, needs and is expected to cost.",
)
@width_options
def plan_command(
    scenarios: tuple[str, ...], jobs: int, graph: Path | None, wide: bool, columns: str | None, **asked: Any
) -> None:
    """Say what `bench run` would do, and how long it would take on this machine. Times a few steps; runs nothing else.

    Of one scenario, what each strategy would take; of several, or with --json, the graph of all jobs.
    """
    from bench.api.named import check_names, load_scenario
    from bench.api.plans import require_data
    from bench.reporting.plans import graph_cells, plan_cells

    check_names(asked["strategies"])
    alone = len(scenarios) == 1 and graph is None
    # Jobs of a graph have a GPU each.
    chosen, entrants = [load_scenario(each) for each in scenarios], entrants_of(jobs=jobs if alone else 1, **asked)
    for scenario, name in zip(chosen, scenarios, strict=True):
        require_data(scenario, asked["data_root"], name)
    if alone:
        plan = plan_of(entrants, scenario=chosen[0], **asked)
        cells = plan_cells(plan.scenario, plan.costs(jobs).estimates)
    else:
        found = sweep_of(entrants, scenarios=chosen, timed=True, **asked)
        cells = graph_cells(found.graph, jobs)
        if graph is not None:
            found.write(graph)
    show_tables([cells], wide=wide, columns=columns)
