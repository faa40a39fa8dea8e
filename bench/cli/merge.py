"""The command that joins folders of records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import Records, results_written_option

if TYPE_CHECKING:
    from bench.records.merge import Merged

_WORDS = {
    "copied": "copied",
    "replaced": "in place of unfinished ones",
    "equal": "there already, equal",
    "unfinished": "unfinished, left out",
    "curves copied": "of imported curves copied",
    "curves equal": "of imported curves there already, equal",
}


@click.command("merge", short_help="Join the records of several machines.")
@click.argument("sources", nargs=-1, required=True, type=Records())
@results_written_option
def merge_command(sources: tuple[Path, ...], results: Path) -> None:
    """Copy the finished trials of other folders of records, SOURCES, into the results folder, and imported curves.

    A trial that is there already stays, if both learned and counted the same. If anything is in conflict, each conflict is named
    and nothing is copied. Unfinished trials stay where they are. A source may be an address, such as s3://bucket/folder.
    """
    from bench.records.merge import merge

    say_merged(merge(sources, results), sources)


def say_merged(merged: Sequence[Merged], sources: Sequence[Path], name: str | None = None) -> None:
    """Say what became of each source's trials, in a line. name: of the only one."""
    counts = Counter((each.source, each.outcome) for each in merged)
    for source in dict.fromkeys(sources):
        found = [f"{counts[source, key]:,} {text}" for key, text in _WORDS.items() if counts[source, key]]
        click.echo(f"{name or source}: {', '.join(found) or 'no trials'}")
