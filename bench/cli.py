"""The command line: arguments, progress, exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, RenderableType

from bench import __version__
from bench.catalog import find_scenario, find_strategy, scenario_names, strategy_names
from bench.cli_data import CACHE, data, data_root_option, prepare_for
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.streaming import Residence
    from bench.records.collect import Records
    from bench.scenario import Scenario

_BASELINES = ("scratch", "naive", "optimized")


class _Commands(click.Group):
    """Turns a user's mistake into one line and its exit code; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as cause:
            click.echo(f"bench: {cause}", err=True)
            ctx.exit(cause.exit_code)
        except KeyboardInterrupt:
            click.echo("bench: stopped. The same command goes on from the last evaluation.", err=True)
            ctx.exit(130)


class Seeds(click.ParamType):
    """Seeds as "0-4", "3" or "0,2,5-7"."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise BenchError(f"--seeds {value!r}: expected whole numbers like 0-4 or 0,2,5. Change it.")
            span = range(int(first), int(last or first) + 1)
            if not span or len(span) > 1000:
                raise BenchError(f"--seeds {value!r}: {part} is an empty or endless range. Change it.")
            seeds.extend(span)
        if len(set(seeds)) != len(seeds):
            raise BenchError(f"--seeds {value!r}: a seed stands there twice. Remove it.")
        return tuple(seeds)


_results = click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, help="Folder of records."
)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """What does updating a trained model cost, compared with training again, at the same accuracy?"""


@main.command()
@click.option("--scenario", default="digits-7-3", show_default=True, help="Name, or path of a .toml file.")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    default=_BASELINES,
    show_default=True,
    help="Name, or path of a .py file.",
)
@click.option("--seeds", type=Seeds(), default="0-2", show_default=True, help="Like 0-4 or 0,2,5.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@data_root_option
@_results
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=CACHE,
    show_default="the user's cache folder",
    help="Base models and checkpoints.",
)
@click.option(
    "--compile/--no-compile", "compiled", default=None, help="Use torch.compile; default: as the scenario says."
)
@click.option(
    "--images",
    "residence",
    type=click.Choice(["auto", "resident", "streamed"]),
    default="auto",
    show_default=True,
    help="On the device as a whole, or batch by batch; auto: resident where at most half of a GPU's free memory is "
    "needed; on a CPU image files are streamed, arrays are not. The same learning, bit for bit.",
)
@click.option("--fresh", is_flag=True, help="Run finished trials again, replacing their records.")
def run(
    scenario: str,
    strategies: tuple[str, ...],
    seeds: tuple[int, ...],
    device: str,
    data_root: Path,
    results: Path,
    cache: Path,
    compiled: bool | None,
    residence: Residence,
    fresh: bool,
) -> None:
    """Train strategies on a scenario, and print the leaderboard.

    What is finished is kept; what was cut off goes on from its last evaluation.
    """
    asked = _load(scenario)
    paths = [find_strategy(name) for name in strategies]
    from bench.execution.local import LocalRun
    from bench.records.collect import collect
    from bench.reporting.progress import progress_for
    from bench.strategies.strategy import load_strategy

    entrants = [load_strategy(path) for path in paths]
    prepare_for(asked, data_root)
    local = LocalRun(
        asked,
        entrants,
        seeds,
        device=device,
        residence=residence,
        data_root=data_root,
        results=results,
        cache=cache,
        compiled=compiled,
        fresh=fresh,
    )
    with progress_for(Console(stderr=True)) as listener:
        local.run(listener)
    click.echo(f"records: {results / asked.name}")
    _print_leaderboard(collect(results).of(asked.name))


main.add_command(data)


@main.command("list")
def list_() -> None:
    """List the shipped scenarios and strategies."""
    from bench.reporting.tables import scenario_table

    _print(scenario_table([_load(name) for name in scenario_names()]))
    click.echo(f"strategies: {', '.join(strategy_names())}, or the path of a .py file")


@main.command()
@click.option("--scenario", default=None, help="Name; default: every scenario with records.")
@_results
def leaderboard(scenario: str | None, results: Path) -> None:
    """Rank strategies by their speedup over scratch at matched accuracy."""
    from bench.records.collect import collect

    for part in collect(results).parts(scenario):
        _print_leaderboard(part)


@main.command()
@click.option("--scenario", default=None, help="Name; default: every scenario with records.")
@_results
@click.option(
    "--reports", type=click.Path(path_type=Path), default=Path("reports"), show_default=True, help="Folder to write to."
)
def report(scenario: str | None, results: Path, reports: Path) -> None:
    """Draw accuracy against FLOPs (PNG and PDF), with the tables it was drawn from beside it."""
    from bench.records.collect import collect
    from bench.records.store import require_writable
    from bench.reporting.report import write_report

    parts = collect(results).parts(scenario)
    require_writable(reports)
    for part in parts:
        for path in write_report(part, reports / part.name):
            click.echo(path)


def _load(name_or_path: str) -> Scenario:
    from bench.scenario import load_scenario

    return load_scenario(find_scenario(name_or_path))


def _print_leaderboard(records: Records) -> None:
    from bench.analysis.leaderboard import leaderboard as rank
    from bench.analysis.life import whole_life
    from bench.reporting.tables import leaderboard_table, life_table

    for part in records.by_update():
        _print(*leaderboard_table(rank(part.trials, part.evals)))
    if records.chain:
        _print(*life_table(whole_life(records.trials, records.evals)))


def _print(*parts: RenderableType) -> None:
    """Print at full width: a table that a narrow terminal folds can still be read, one that is squeezed cannot."""
    console = Console(soft_wrap=True)
    console.width = max(console.width, 240)
    console.print(*parts)
