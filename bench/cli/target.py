"""The command that makes a target to publish."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.collect import read_results
from bench.cli.options import Seeds, one_scenario_option, results_option


@click.command("target", short_help="Make a target to publish.")
@one_scenario_option
@click.option("--seeds", type=Seeds(), default="0-4", show_default=True, help="At least five; not scored afterwards.")
@click.option("--source", default=None, help="Where it is published, in words; default: device and commit.")
@results_option
def target_command(scenario: str, seeds: tuple[int, ...], source: str | None, results: Path) -> None:
    """Print the target that finished trials of scratch give, as a table to paste into the scenario's file.

    It then becomes the scenario's published target, also for older records, and these seeds are no longer scored.
    """
    from bench.reporting.target import target_toml

    click.echo(target_toml(read_results(results, seeds="all").published_targets(scenario, seeds, source)), nl=False)
