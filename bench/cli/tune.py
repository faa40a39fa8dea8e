"""The command that tunes a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.catalog import TUNING_FROM
from bench.cli.data import prepare_and_tell
from bench.cli.options import Seeds, where_options

if TYPE_CHECKING:
    from bench.api.tuning import Tried


@click.command("tune", short_help="Tune a strategy's fields on tuning seeds.")
@click.option("--scenario", default="glyphs-32-15", show_default=True, help="Name, or path of a .toml file.")
@click.option("--strategy", required=True, help="Name, path of a .py file, or either with parameters.")
@click.option(
    "--range",
    "ranges",
    multiple=True,
    show_default="those that the strategy's file declares as space",
    help="What a field may be: schedule.peak=0.3:3:log, schedule.warmup=0.02:0.3 or averaging=NoAveraging,TailMean. Once per "
    "field.",
)
@click.option(
    "--budget",
    type=float,
    default=10.0,
    show_default=True,
    help="FLOPs for everything, base models and scratch included, in units of one scratch training.",
)
@click.option("--seeds", type=Seeds(), default=str(TUNING_FROM), show_default=True, help=f"From {TUNING_FROM} on.")
@where_options
def tune_command(
    scenario: str, strategy: str, ranges: tuple[str, ...], budget: float, seeds: tuple[int, ...], **asked: Any
) -> None:
    """Look for the fields of a strategy that make its final validation accuracy highest, at equal cost, within a budget.

    Needs Optuna (pip install optuna). The first trial is the strategy as it is. Finished trials are kept; the same command
    continues, also with a larger budget.
    """
    from bench.api.named import check_names, load_scenario
    from bench.api.named import strategy as named_strategy
    from bench.api.tuning import TUNING_FILE, file_name, tune
    from bench.extras import optional_package
    from bench.reporting.progress import progress_on_terminal
    from bench.strategies.ranges import ranges_of

    optional_package("optuna", "bench tune")
    check_names([strategy])
    chosen, recipe = load_scenario(scenario), named_strategy(strategy)
    ranges_of(recipe, ranges)  # before images are decoded, which may take hours
    results: Path = asked["results"]
    prepare_and_tell(chosen, asked["data_root"])
    with progress_on_terminal() as listener:
        found = tune(chosen, recipe, ranges, budget=budget, seeds=seeds, tell=_say, listener=listener, **asked)
    folder = results / chosen.name / recipe.name / "tuning"
    parts = ", ".join(f"{part} {flops / found.scratch_flops:.2f}" for part, flops in found.spent.items())
    click.echo(f"spent: {found.scratch_trainings:.2f} scratch trainings ({parts})")
    click.echo(f"record: {folder / TUNING_FILE}")
    if found.best is None:
        click.echo("no best: no trial was trained to its end within the budget. Give a larger --budget.")
        return
    accuracy = found.best.validation_accuracy
    click.echo(f"best: {accuracy:.4f}, where scratch has {found.scratch_accuracy:.4f} (validation, tuning seeds)")
    click.echo(f"run it: {found.command}")
    file = folder / f"{file_name(recipe)}.py"
    if file.is_file():
        click.echo(f"as a file: {file}")


def _say(tried: Tried) -> None:
    """Print one trial."""
    found = "ended early" if tried.validation_accuracy is None else f"{tried.validation_accuracy:.4f}"
    settings = ", ".join(f"{field}={value}" for field, value in tried.settings.items())
    click.echo(f"trial {tried.number}: {found}: {settings}")
