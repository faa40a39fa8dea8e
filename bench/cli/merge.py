"""The command that joins folders of records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from bench.cli.options import results_option


@click.command("merge", short_help="Join the records of several machines.")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@results_option
def merge_command(sources: tuple[Path, ...], results: Path) -> None:
    """Copy the finished trials of other folders of records, SOURCES, into the results folder, and imported curves.

    A trial that is there already stays, if both learned and counted the same. If anything is in conflict, each conflict is named
    and nothing is copied. Unfinished trials stay where they are.
    """
    from bench.records.merge import merge

    counts = Counter((merged.source, merged.outcome) for merged in merge(sources, results))
    for source in dict.fromkeys(sources):
        words = {
            "copied": "copied",
            "replaced": "in place of unfinished ones",
            "equal": "there already, equal",
            "unfinished": "unfinished, left out",
            "curves copied": "of imported curves copied",
            "curves equal": "of imported curves there already, equal",
        }
        found = [f"{counts[source, key]:,} {text}" for key, text in words.items() if counts[source, key]]
        click.echo(f"{source}: {', '.join(found) or 'no trials'}")
