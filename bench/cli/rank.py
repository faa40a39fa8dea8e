"""The commands that rank: the leaderboard, and two strategies against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.collect import read_results
from bench.cli.options import (
    currency_option,
    one_scenario_option,
    published_option,
    results_option,
    scenario_filter,
    target_option,
    tuning_option,
)
from bench.cli.show import show_tables, width_options
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.records.collect import Seeds


@click.command("leaderboard", short_help="Rank strategies by their speedup.")
@scenario_filter
@currency_option
@target_option
@click.option("--device", default=None, help="Only trials of this device, by its name or a part of it.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "md", "card", "csv", "json", "tex"]),
    default="table",
    show_default=True,
)
@width_options
@results_option
@published_option
@tuning_option
def leaderboard_command(
    scenario: str | None,
    currency: str,
    share: float,
    device: str | None,
    form: str,
    wide: bool,
    columns: str | None,
    results: Path,
    published: bool,
    seeds: Seeds,
) -> None:
    """Rank strategies by their speedup over scratch at matched accuracy.

    One table for each scenario, and for each update of a chain; for several scenarios also one of all together. csv and json hold
    everything, described in docs/tables.md. card is a results card in Markdown, for a paper or beside a model.
    """
    if form != "table" and (wide or columns is not None):
        raise BenchError(f"--wide and --columns: given with --format {form}, which has every column. Remove them.")
    found = read_results(results, published=published, seeds=seeds)
    tables = (found.on(device) if device else found).tables(scenario, currency=currency, target=share)
    if form == "table":
        show_tables([table.cells for table in tables], wide=wide, columns=columns)
        return
    from bench.api.tables import Leaderboard, as_csv, as_json

    if form in ("csv", "json"):
        click.echo(as_csv(tables) if form == "csv" else as_json(tables))
    elif form == "card":
        click.echo("\n".join(table.card() for table in tables if isinstance(table, Leaderboard)), nl=False)
    else:
        click.echo("\n".join(table.markdown() if form == "md" else table.latex() for table in tables))


@click.command("compare", short_help="Compare two strategies, paired by seed.")
@click.argument("one")
@click.argument("other")
@one_scenario_option
@click.option("--update", type=click.IntRange(min=1), default=1, show_default=True, help="Update of a chain.")
@currency_option
@target_option
@width_options
@results_option
@published_option
@tuning_option
def compare_command(
    one: str,
    other: str,
    scenario: str,
    update: int,
    currency: str,
    share: float,
    wide: bool,
    columns: str | None,
    results: Path,
    published: bool,
    seeds: Seeds,
) -> None:
    """Compare two strategies, paired by seed: cost at the target, with tests, and final accuracy, with 95 % intervals.

    Each is a name, or name@horizon. Without a horizon, they are compared at each one that both have.
    """
    found = read_results(results, published=published, seeds=seeds)
    compared = found.compare(one, other, scenario, update=update, currency=currency, target=share)
    show_tables(compared.cells, wide=wide, columns=columns)
