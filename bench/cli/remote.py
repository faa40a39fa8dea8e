"""The commands that copy records to and from a store such as S3."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.merge import say_merged
from bench.cli.options import Address, Folder


@click.command("push", short_help="Copy records to a store, such as S3.")
@click.argument("results", type=Folder())
@click.argument("address", type=Address())
def push_command(results: Path, address: str) -> None:
    """Copy the finished trials of the folder RESULTS, and imported curves, to ADDRESS, such as s3://bucket/folder.

    Only what is not there goes over. A trial that is there already stays, if both learned and counted the same. If anything is in
    conflict, each conflict is named and nothing is copied. Needs the extra 'remote'.
    """
    from bench.records.remote import push

    say_merged(push(results, address), [results])


@click.command("pull", short_help="Copy records from a store, such as S3.")
@click.argument("address", type=Address())
@click.argument("results", type=Folder())
def pull_command(address: str, results: Path) -> None:
    """Copy the finished trials at ADDRESS, such as s3://bucket/folder, and imported curves, into the folder RESULTS.

    As for push; and as bench merge does it. To read records, no pull is needed: --results takes an address, too.
    """
    from bench.records.remote import pull

    merged = pull(address, results)
    say_merged(merged, list(dict.fromkeys(each.source for each in merged)), address)
