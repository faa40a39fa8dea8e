"""The command that makes a target to publish."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import Seeds, results_option


@click.command("target")
@click.option("--scenario", required=True, help="Name.")
@click.option("--seeds", type=Seeds(), default="0-4", show_default=True, help="At least five; later not scored.")
@click.option("--source", default=None, help="Where it is published, in words; default: device and commit.")
@results_option
def target_command(scenario: str, seeds: tuple[int, ...], source: str | None, results: Path) -> None:
    """Print the target that finished trials of scratch give, as a table to paste into the scenario's file.

    From then on that is the scenario's published target, for older records, too; these seeds are not scored any more.
    """
    from bench.analysis.ranking.publish import make_targets
    from bench.records.collect import collect
    from bench.reporting.target import target_toml

    part = collect(results).of(scenario)
    click.echo(target_toml(make_targets(part.trials, part.evals, seeds, source)), nl=False)
