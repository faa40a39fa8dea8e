"""The command `bench`: its group, and the commands that train and draw."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.catalog import TUNING_FROM
from bench.cli.ablate import ablate_command
from bench.cli.collect import collect_command, left_out_text, read_results, say_unreadable
from bench.cli.contract import check_strategy_command
from bench.cli.data import data, prepare_and_tell
from bench.cli.frontier import frontier_command
from bench.cli.imports import import_command
from bench.cli.merge import merge_command
from bench.cli.meters import check_command, flops_command
from bench.cli.new import new_command
from bench.cli.options import (
    entrants_of,
    pilot_option,
    plan_of,
    published_option,
    results_option,
    scenario_filter,
    sweep_of,
    training_options,
    tuning_option,
)
from bench.cli.plain import plain_where_needed
from bench.cli.plan import list_command, plan_command
from bench.cli.rank import compare_command, leaderboard_command
from bench.cli.remote import pull_command, push_command
from bench.cli.show import show_tables
from bench.cli.speed import speed_command
from bench.cli.status import status_command
from bench.cli.target import target_command
from bench.cli.tune import tune_command
from bench.cli.update import update_command
from bench.errors import BenchError, NothingToCompareError, RanksError
from bench.interrupts import Interrupted, interruptible
from bench.places import LOGS, REPORTS
from bench.torchrun import launch, speaks
from bench.version import __version__

if TYPE_CHECKING:
    from bench.api.results import Results
    from bench.data.feed.streaming import Residence
    from bench.records.collect import Seeds
    from bench.scenario import Scenario


class _Commands(click.Group):
    """Turns a user's mistake into one line and its exit code; a bug keeps its traceback."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        plain_where_needed()
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with interruptible():
                return super().invoke(ctx)
        except BenchError as cause:
            _say(f"bench: {' '.join(str(cause).split())}")
            ctx.exit(cause.exit_code)
        except click.UsageError as cause:
            command = cause.ctx.command_path if cause.ctx else "bench"
            _say(f"bench: {' '.join(cause.format_message().split())} See: {command} --help")
            ctx.exit(2)
        except OSError as cause:  # a path that is too long, or may not be read or written: the user's to change
            if cause.filename is None:
                raise
            _say(f"bench: {str(cause.filename)[:200]}: {cause.strerror}. Name another path.")
            ctx.exit(2)
        except KeyboardInterrupt as cause:
            trains = ctx.invoked_subcommand in ("run", "ablate", "frontier", "update", "tune")
            resumes = " The same command resumes from the last checkpoint." if trains else ""
            with suppress(OSError):  # a terminal that hung up
                _say(f"bench: stopped.{resumes}")
            ctx.exit(128 + (cause.number if isinstance(cause, Interrupted) else signal.SIGINT))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """What does updating a trained model cost, compared with training again, at the same accuracy?"""
    command, several = click.get_current_context().invoked_subcommand, launch()
    if several is not None and command != "run":
        raise RanksError(
            f"bench {command}: found {several.size} processes of torchrun, expected one, as only bench run trains on several. "
            "Start it without torchrun."
        )


def _say(line: str) -> None:
    """Write a line to the standard error: of several processes of torchrun, one does."""
    if speaks():
        click.echo(line, err=True)


@main.command(short_help="Train strategies, and print the leaderboard.")
@training_options
@click.option(
    "--images",
    type=click.Choice(["auto", "resident", "streamed"]),
    default="auto",
    show_default=True,
    help="All on the device, or batch by batch. auto: resident where that takes at most half of a GPU's memory; on a CPU, "
    "image files are streamed and arrays are not. Results are bit-identical either way.",
)
@pilot_option
@click.option("--fresh", is_flag=True, help="Run finished trials again, replacing their records.")
@click.option(
    "--interleave",
    is_flag=True,
    help="Run each seed's strategies in an order drawn from the seed, so that a drift of the machine hits all alike.",
)
@click.option(
    "--log",
    type=click.Choice(["tensorboard", "wandb", "mlflow"]),
    multiple=True,
    help="Show evaluations there as well, off the clock; each needs the extra of that name.",
)
@click.option(
    "--log-folder",
    type=click.Path(path_type=Path),
    default=LOGS,
    show_default=True,
    help="Where --log keeps its files.",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "slurm", "ray"]),
    default=None,
    show_default="this process; with several scenarios: local",
    help="Run the jobs in processes of this machine (local: as many as --jobs, one a GPU), by Slurm, or by Ray.",
)
@click.option(
    "--with",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="What the executor asks for: partition, account, time (minutes), gpus, ... of slurm; address, cpus, gpus, ... of ray.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=None,
    show_default="1",
    help="With --executor: how often a job that failed is tried again.",
)
def run(
    scenarios: tuple[str, ...],
    images: Residence,
    fresh: bool,
    jobs: int,
    pilot: float | None,
    log: tuple[str, ...],
    log_folder: Path,
    executor: str | None,
    options: tuple[str, ...],
    retries: int | None,
    interleave: bool,
    **asked: Any,
) -> None:
    """Train strategies on scenarios, and print the leaderboards.

    Finished trials are kept; interrupted ones resume from their last checkpoint.
    """
    from bench.api.named import check_names, load_scenario
    from bench.api.plans import run as run_plan
    from bench.api.sweeps import run_sweep
    from bench.reporting.progress import progress_on_terminal

    if (several := launch()) is not None:
        from bench.cli.ranks import run_on_ranks

        _refuse_alone({"--with": options, "--retries": retries is not None})
        run_on_ranks(several, click.get_current_context().params, tell=_tell, show=_show_results)
        return
    executor = executor or ("local" if len(scenarios) > 1 else None)
    if interleave and (executor or jobs > 1):
        raise BenchError(
            "--interleave: is for one scenario and one trial at a time, without --executor and --jobs. Remove one."
        )
    if executor is None:
        _refuse_alone({"--with": options, "--retries": retries is not None})
    else:
        from bench.execution.executors import check_log, read_options

        read_options(executor, options)
        check_log(executor, log)
    check_names(asked["strategies"])
    chosen = [load_scenario(each) for each in scenarios]
    entrants = entrants_of(jobs=jobs if executor in (None, "local") else 1, **asked)
    if pilot is not None:
        chosen = [scenario.as_pilot(pilot) for scenario in chosen]
    # All that can be refused is refused before images are decoded, which may take hours.
    for scenario in chosen:
        prepare_and_tell(scenario, asked["data_root"])
    if executor is not None:
        found = sweep_of(entrants, scenarios=chosen, images=images, fresh=fresh, **asked)
        given = click.get_current_context().get_parameter_source("jobs") is not ParameterSource.DEFAULT
        with progress_on_terminal() as listener:
            every = run_sweep(
                found,
                executor,
                jobs=jobs if given else None,
                retries=1 if retries is None else retries,
                options=options,
                listener=listener,
                log=log,
                log_folder=log_folder,
                tell=_tell,
            )
        for scenario in chosen:
            _show_results(every[scenario.name], found.results, scenario, min(found.seeds))
        return
    plan = plan_of(entrants, scenario=chosen[0], images=images, fresh=fresh, interleave=interleave, **asked)
    old = plan.old_model()
    for line in old.lines() if old else ():
        click.echo(line)
    with progress_on_terminal() as listener:
        results = run_plan(plan, jobs=jobs, listener=listener, log=log, log_folder=log_folder, tell=_tell)
    _show_results(results, plan.results, plan.scenario, min(plan.seeds))


def _tell(line: str) -> None:
    click.echo(f"bench: {line}", err=True)


def _refuse_alone(together: dict[str, Any]) -> None:
    """Raise BenchError for options that only executors take."""
    for name, given in together.items():
        if given:
            raise BenchError(f"{name}: is for --executor. Remove it, or name an executor.")


def _show_results(results: Results, folder: Path, scenario: Scenario, first_seed: int) -> None:
    """Print where a scenario's records are, and its tables."""
    click.echo(f"records: {folder / scenario.name}")
    say_unreadable(results)
    if results.left_out and first_seed < TUNING_FROM:
        click.echo(f"bench: {left_out_text(results.left_out)}", err=True)
    try:
        tables = results.tables(scenario)
    except NothingToCompareError as reason:  # nothing went wrong: there is only no target
        click.echo(f"no leaderboard: {reason}")
    else:
        show_tables([table.cells for table in tables])


@main.command(short_help="Draw figures, tables and a page.")
@scenario_filter
@results_option
@published_option
@tuning_option
@click.option(
    "--reports", type=click.Path(path_type=Path), default=REPORTS, show_default=True, help="Folder to write to."
)
@click.option("--formats", default="pdf,svg,png", show_default=True, help="Formats of the figures.")
@click.option(
    "--width",
    type=click.Choice(["page", "column", "both"]),
    default="both",
    show_default=True,
    help="Printed width of the figures: 6.75 inches, 3.3 inches, or both (column width as PDF only).",
)
def report(
    scenario: str | None, results: Path, published: bool, seeds: Seeds, reports: Path, formats: str, width: str
) -> None:
    """Draw figures, each with its caption and table, and write index.html with all of them.

    Figures that compare scenarios are drawn where several are reported, and go into the folder itself. With --scenario, the page
    holds that scenario alone.
    """
    from bench.api.results import report as write_report

    found = read_results(results, published=published, whole=True, seeds=seeds)
    write_report(found, reports, scenario=scenario, formats=formats.split(","), width=width, written=click.echo)


for _command in (
    data,
    list_command,
    new_command,
    plan_command,
    flops_command,
    check_command,
    check_strategy_command,
    collect_command,
    merge_command,
    push_command,
    pull_command,
    import_command,
    frontier_command,
    status_command,
    leaderboard_command,
    compare_command,
    ablate_command,
    target_command,
    speed_command,
    tune_command,
    update_command,
):
    main.add_command(_command)
