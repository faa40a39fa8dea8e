"""The commands that rank: the leaderboard, and two strategies against each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.collect import read_records
from bench.cli.options import results_option, show
from bench.errors import BenchError, RecordError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from bench.records.collect import Records

_CURRENCIES = ("flops", "steps", "images", "device_seconds", "gpu_joules")

scenario_filter = click.option("--scenario", default=None, help="Name; default: every scenario with records.")
_currency = click.option("--currency", type=click.Choice(_CURRENCIES), default="flops", show_default=True)


class Share(click.ParamType):
    """A share above 0 and at most 1."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise BenchError(
                f"--target {value}: expected a share of scratch's accuracy, above 0 and at most 1. Change it."
            )
        return share


_target = click.option(
    "--target",
    "share",
    type=Share(),
    default=1.0,
    show_default=True,
    help="Share of scratch's final accuracy to reach.",
)


@click.command("leaderboard")
@scenario_filter
@_currency
@_target
@click.option("--device", default=None, help="Only trials of this device, by its name or a part of it.")
@click.option(
    "--format", "form", type=click.Choice(["table", "md", "csv", "json", "tex"]), default="table", show_default=True
)
@results_option
def leaderboard_command(
    scenario: str | None, currency: str, share: float, device: str | None, form: str, results: Path
) -> None:
    """Rank strategies by their speedup over scratch at matched accuracy.

    A table for each scenario, and for each update of a chain; of several scenarios also one of all together.
    """
    parts = _on(device, read_records(results)).parts(scenario)
    if form in ("csv", "json"):
        click.echo(_rows(parts, currency, share, form))
        return
    boards = [board for part in parts for board in print_leaderboard(part, currency, share, form)]
    if len(parts) > 1:
        _print_pooled(parts, boards, currency, share, form)


@click.command("compare")
@click.argument("one")
@click.argument("other")
@click.option("--scenario", required=True, help="Name.")
@click.option("--update", type=click.IntRange(min=1), default=1, show_default=True, help="Of a chain.")
@_currency
@_target
@results_option
def compare_command(
    one: str, other: str, scenario: str, update: int, currency: str, share: float, results: Path
) -> None:
    """Compare two strategies, paired seed by seed, with tests. Each is a name, or name@horizon where it has several."""
    from bench.analysis.studies.duel import duel
    from bench.reporting.tables import duel_table

    part = next((part for part in read_records(results).of(scenario).by_update() if part.update == update), None)
    if part is None:
        raise RecordError(f"{scenario}: no trials of update {update} among the results. Run them, or name another.")
    keys = [part.find(name) for name in (one, other)]
    show(*duel_table(duel(part.trials, part.evals, *keys, currency=currency, share=share), one, other))


def _on(device: str | None, records: Records) -> Records:
    """Return the trials of one device. Raises RecordError where there are none."""
    if device is None or records.trials.empty:
        return records
    trials = records.trials[records.trials["device"].str.contains(device, case=False, regex=False)]
    if trials.empty:
        found = ", ".join(sorted(set(records.trials["device"]))) or "none"
        raise RecordError(
            f"--device {device}: no trials of such a device among the results, found: {found}. Change it."
        )
    return records.only(trials)


def print_leaderboard(
    records: Records, currency: str = "flops", share: float = 1.0, form: str = "table"
) -> list[pd.DataFrame]:
    """Print one scenario's leaderboards, an update each, and a chain's whole life; return the former."""
    from bench.analysis.ranking.leaderboard import leaderboard
    from bench.analysis.studies.frontier import frontiers
    from bench.analysis.studies.life import whole_life
    from bench.reporting.latex import latex_frontier, latex_life, latex_table
    from bench.reporting.tables import (
        frontier_markdown,
        frontier_table,
        leaderboard_table,
        life_markdown,
        life_table,
        markdown_table,
    )

    parts = records.by_update()
    boards = [leaderboard(part.trials, part.evals, currency=currency, share=share) for part in parts]
    for part, board in zip(parts, boards, strict=True):
        _print(form, board, leaderboard_table, markdown_table, latex_table)
        over_horizons = frontiers(part.trials, part.evals, currency=currency, share=share)
        if not over_horizons.empty:
            _print(
                form,
                over_horizons,
                partial(frontier_table, currency=currency),
                partial(frontier_markdown, currency=currency),
                partial(latex_frontier, currency=currency),
            )
    if records.chain:
        _print(form, whole_life(records.trials, records.evals, share=share), life_table, life_markdown, latex_life)
    return boards


def _rows(parts: list[Records], currency: str, share: float, form: str) -> str:
    """Return every table's rows, one below the other, as CSV or JSON."""
    import pandas as pd

    from bench.analysis.ranking.leaderboard import leaderboard

    updates = [update for part in parts for update in part.by_update()]
    rows = pd.concat(
        [leaderboard(part.trials, part.evals, currency=currency, share=share) for part in updates], ignore_index=True
    )
    if form == "csv":
        return rows.to_csv(index=False, lineterminator="\n").rstrip("\n")
    return rows.to_json(orient="records", indent=1)


def _print_pooled(parts: list[Records], boards: list[pd.DataFrame], currency: str, share: float, form: str) -> None:
    from bench.analysis.ranking.aggregate import seed_speedups
    from bench.analysis.ranking.pooled import pool
    from bench.reporting.latex import latex_pooled
    from bench.reporting.tables import pooled_markdown, pooled_table

    updates = [update for part in parts for update in part.by_update()]
    seeds = [seed_speedups(each.trials, each.evals, currency=currency, share=share) for each in updates]
    _print(form, pool(boards, seeds), pooled_table, pooled_markdown, latex_pooled)


def _print(
    form: str,
    rows: pd.DataFrame,
    table: Callable[[pd.DataFrame], tuple[Text, Table, Text]],
    markdown: Callable[[pd.DataFrame], str],
    latex: Callable[[pd.DataFrame], str],
) -> None:
    """Print rows in the form that was asked for."""
    if form == "table":
        show(*table(rows))
    else:
        click.echo(markdown(rows) if form == "md" else latex(rows))
