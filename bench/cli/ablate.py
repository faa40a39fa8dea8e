"""The command that takes a strategy apart, at equal cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli.data import prepare_and_tell
from bench.cli.options import running_options
from bench.cli.show import columns_asked, show_tables, width_options
from bench.errors import BenchError


@click.command("ablate", short_help="Say which pieces of a strategy earn their place.")
@click.option(
    "--strategy",
    required=True,
    help="Name, path of a .py file, or either with parameters: 'optimized[start.shrink=0.9]'.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    default=("glyphs-32-15",),
    show_default=True,
    help="Name, or path of a .toml file; once per scenario.",
)
@running_options
@click.option(
    "--dry-run", is_flag=True, help="Print the variants, with horizons and expected costs, and train nothing."
)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@width_options
def ablate_command(
    strategy: str,
    scenarios: tuple[str, ...],
    data_root: Path,
    jobs: int,
    dry_run: bool,
    form: str,
    wide: bool,
    columns: str | None,
    **asked: Any,
) -> None:
    """Say which pieces of a strategy earn their place: train it with each piece left out, and with each alone, at equal cost.

    Leaving a piece out means plain continuing, as naive does, in that aspect. A variant is as long as the strategy's expected
    FLOPs allow. Its final accuracy is compared with the strategy's by paired t tests, corrected for their number by Holm's
    method. Finished trials are kept; interrupted ones resume.
    """
    from bench.api.ablations import ablate, plan_ablation
    from bench.api.named import check_names, load_scenario
    from bench.api.plans import require_data
    from bench.reporting.ablations import COLUMNS
    from bench.reporting.layout import Cells
    from bench.reporting.progress import progress_on_terminal
    from bench.training.device import check_jobs, choose_device

    if form != "table" and (wide or columns is not None):
        raise BenchError(f"--wide and --columns: given with --format {form}, which has every column. Remove them.")
    if not dry_run:
        columns_asked([Cells("", COLUMNS, ())], columns)  # now, rather than after hours of training
    check_names([strategy])
    check_jobs(jobs, choose_device(asked["device"]))
    chosen = [load_scenario(name) for name in scenarios]
    for name, scenario in zip(scenarios, chosen, strict=True):
        if dry_run:
            require_data(scenario, data_root, name)
        else:
            prepare_and_tell(scenario, data_root)
    plan = plan_ablation(strategy, chosen, data_root=data_root, **asked)
    if dry_run:
        _print(plan.tables, form, wide, columns)
        return
    with progress_on_terminal() as listener:
        found = ablate(plan, jobs=jobs, listener=listener)
    if form == "table":
        for each in plan.plans:
            click.echo(f"records: {each.results / each.scenario.name}")
    _print(found.tables, form, wide, columns)


def _print(tables: Any, form: str, wide: bool, columns: str | None) -> None:
    if form == "table":
        show_tables([table.cells for table in tables], wide=wide, columns=columns)
        return
    from bench.api.tables import as_csv, as_json

    click.echo(as_csv(tables) if form == "csv" else as_json(tables))
