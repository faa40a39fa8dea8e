"""The command line: arguments, progress, exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from bench import __version__
from bench.catalog import find_strategy
from bench.cli.collect import collect_command, read_records
from bench.cli.data import data, prepare_for, tell_left_out
from bench.cli.meters import check_command, flops_command
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
    strategies_option,
    threads_option,
)
from bench.cli.plan import list_command, plan_command
from bench.cli.rank import compare_command, leaderboard_command, print_leaderboard, scenario_filter
from bench.cli.target import target_command
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.feed.streaming import Residence


class _Commands(click.Group):
    """Turns a user's mistake into one line and its exit code; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as cause:
            click.echo(f"bench: {cause}", err=True)
            ctx.exit(cause.exit_code)
        except KeyboardInterrupt:
            click.echo("bench: stopped. The same command goes on from the last evaluation.", err=True)
            ctx.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """What does updating a trained model cost, compared with training again, at the same accuracy?"""


@main.command()
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
@click.option(
    "--images",
    "residence",
    type=click.Choice(["auto", "resident", "streamed"]),
    default="auto",
    show_default=True,
    help="On the device as a whole, or batch by batch; auto: resident where at most half of a GPU's free memory is "
    "needed; on a CPU image files are streamed, arrays are not. The same learning, bit for bit.",
)
@click.option("--fresh", is_flag=True, help="Run finished trials again, replacing their records.")
def run(
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
    residence: Residence,
    fresh: bool,
) -> None:
    """Train strategies on a scenario, and print the leaderboard.

    What is finished is kept; what was cut off goes on from its last evaluation.
    """
    asked = load(scenario)
    paths = [find_strategy(name) for name in strategies]
    from bench.execution.local import LocalRun
    from bench.records.collect import collect
    from bench.reporting.progress import progress_for

    entrants = load_entrants(paths, horizons)
    tell_left_out(prepare_for(asked, data_root))
    local = LocalRun(
        asked,
        entrants,
        seeds,
        device=device,
        residence=residence,
        data_root=data_root,
        results=results,
        cache=cache,
        compiled=compiled,
        threads=threads,
        fresh=fresh,
    )
    with progress_for(Console(stderr=True)) as listener:
        local.run(listener)
    click.echo(f"records: {results / asked.name}")
    print_leaderboard(collect(results).of(asked.name))


main.add_command(data)
main.add_command(list_command)
main.add_command(plan_command)
main.add_command(flops_command)
main.add_command(check_command)
main.add_command(collect_command)
main.add_command(leaderboard_command)
main.add_command(compare_command)
main.add_command(target_command)


@main.command()
@scenario_filter
@results_option
@click.option(
    "--reports", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, help="Folder to write to."
)
@click.option("--formats", default="pdf,svg,png", show_default=True, help="Of the figures.")
@click.option(
    "--width",
    type=click.Choice(["page", "column", "both"]),
    default="both",
    show_default=True,
    help="Of the figures, in print: 6.75 inches or 3.3; both: in a column's as PDF alone.",
)
def report(scenario: str | None, results: Path, reports: Path, formats: str, width: str) -> None:
    """Draw figures, with their captions and tables beside them, and write index.html over them all.

    What compares scenarios is drawn where several are reported, and lies in the folder itself. With --scenario the page
    holds that scenario alone.
    """
    from bench.records.store import require_writable
    from bench.reporting.figures.sheet import prints_of
    from bench.reporting.page import write_page
    from bench.reporting.report import write_reports

    prints = prints_of(formats, width)
    parts = read_records(results, whole=True).parts(scenario)
    require_writable(reports)
    written: list[Path] = []
    for path in write_reports(parts, reports, prints):
        click.echo(path)
        written.append(path)
    click.echo(write_page(parts, reports, written, only=scenario))
