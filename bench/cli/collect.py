"""The command that collects records into one file, and how the others read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.catalog import TUNING_FROM
from bench.cli.options import results_option

if TYPE_CHECKING:
    from bench.api.results import Results
    from bench.records.collect import Seeds


@click.command("collect", short_help="Write all records into one Parquet file.")
@results_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    show_default="records.parquet in the results folder",
    help="File to write.",
)
@click.option(
    "--export",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    show_default="no folder",
    help="Folder for trials.parquet, evaluations.parquet and a README instead, to publish or to send.",
)
def collect_command(results: Path, output: Path | None, export: Path | None) -> None:
    """Write all records into one Parquet file, one row per evaluation.

    In the results folder, leaderboard, compare, report and target read this file instead of the records, as long as no record has
    changed. The tables are the same. Anywhere else, the file is a copy to work with or to send.
    """
    if export is not None:
        if output is not None:
            raise click.UsageError("--export, --output: found both, expected one. Leave one out.")
        for path in read_results(results, whole=True, seeds="all").export(export):
            click.echo(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")
        return
    from bench.records.collect import write_collected

    found = write_collected(results, output)
    for each in found.unreadable:
        click.echo(f"bench: left out: {each.why}", err=True)
    click.echo(f"{found.path}: {found.trials:,} trials, {found.evals:,} evaluations, {found.size / 1e6:,.1f} MB")


def read_results(results: Path, *, published: bool = False, whole: bool = False, seeds: Seeds = "scored") -> Results:
    """Return the results, and say on stderr why a collected file was not used, and how many tuning trials were left out.

    whole: every column of the evaluations, not only what leaderboards read.
    """
    from bench.analysis.speedup.curves import COLUMNS
    from bench.api.results import load_results

    def tell(note: str) -> None:
        click.echo(f"bench: {note}", err=True)

    columns = None if whole else COLUMNS
    found = load_results(results, published=published, seeds=seeds, columns=columns, tell=tell)
    if found.left_out and seeds == "scored":
        tell(left_out_text(found.left_out))
    return found


def say_unreadable(results: Results) -> None:
    """Say on stderr which records of a folder are in no table, because they cannot be read."""
    from bench.api.results import unreadable_lines

    for line in unreadable_lines(results.folder, results._records):
        click.echo(f"bench: {line}", err=True)


def left_out_text(count: int) -> str:
    """Say how many trials of tuning seeds are in no table."""
    trials = "1 trial" if count == 1 else f"{count:,} trials"
    return f"{trials} of tuning seeds ({TUNING_FROM} and up) not scored; --tuning-seeds shows these alone"
