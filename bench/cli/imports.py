"""The command that puts curves from elsewhere beside the records."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import one_scenario_option, results_written_option


@click.command("import", short_help="Show curves from elsewhere in the tables, marked.")
@click.argument("curves", type=click.Path(path_type=Path))
@one_scenario_option
@results_written_option
def import_command(curves: Path, scenario: str, results: Path) -> None:
    """Keep the curves of a CSV file beside a scenario's records; its leaderboard then shows them, marked and without a rank.

    Columns: step, cost (FLOPs since the trial began), accuracy (on the validation images, 0 to 1), seed and strategy.
    """
    from bench.api.imports import import_curves

    found = import_curves(curves, scenario, results=results)
    strategies = found.frame["strategy"].nunique()
    what = "1 strategy" if strategies == 1 else f"{strategies} strategies"
    click.echo(f"{found.path}: {len(found.frame):,} evaluations of {what}, imported, not audited")
