"""The command that says how far runs are, from another terminal."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.options import results_option
from bench.cli.show import columns_asked, show, width_options


@click.command("status", short_help="Say how far the trials of a folder are.")
@results_option
@click.option("--all", "whole", is_flag=True, help="Finished trials, too, a line each.")
@width_options
def status_command(results: Path, whole: bool, wide: bool, columns: str | None) -> None:
    """Say which trials run, where, and how long they will take; which were cut off or failed, and why; how many are finished.

    Reads the records and their locks, so it can be asked at any time, from any machine that sees the folder.
    """
    from bench.records.status import progress
    from bench.reporting.status import status_cells

    cells = status_cells(str(results), progress(results), whole=whole)
    show(cells, wide=wide, columns=columns_asked([cells], columns))
