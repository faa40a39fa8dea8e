"""The command that writes a start for something of one's own."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new", short_help="Write a start for a strategy, scenario or model of your own.")
@click.argument("kind", type=click.Choice(["strategy", "scenario", "model"]))
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), default=".", show_default=True, help="Folder to write to.")
def new_command(kind: str, name: str, folder: Path) -> None:
    """Write a start for a strategy, a scenario or a model of your own, with comments, and a test of it.

    Both run as they are. Nothing is ever overwritten.
    """
    from bench.api.starts import new

    for path in new(kind, name, folder):
        click.echo(path)
