"""Options that several commands share, each declared once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.catalog import BASELINES, LARGEST_SEED
from bench.errors import BenchError
from bench.files import is_address, local_folder
from bench.locks import SINGLE_WRITER
from bench.places import RUNS, cache_folder, data_folder

if TYPE_CHECKING:
    from bench.api.named import ScenarioLike
    from bench.api.plans import Plan
    from bench.api.sweeps import Sweep
    from bench.scenario import Scenario
    from bench.strategies.notation import Setting
    from bench.strategies.strategy import Entrant

MOST_SEEDS = 1000
Command = TypeVar("Command", bound=Callable[..., Any])
Planned = TypeVar("Planned", "Plan", "Sweep")


class Seeds(click.ParamType):
    """Seeds as "0-4", "3" or "0,2,5-7"."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        seeds: list[int] = []
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not _whole(first) or (dash and not _whole(last)):
                raise BenchError(f"--seeds {value!r}: expected whole numbers like 0-4 or 0,2,5. Change it.")
            begin, end = int(first), int(last or first)
            if not begin <= end < begin + MOST_SEEDS:
                raise BenchError(
                    f"--seeds {value!r}: {part}: expected a range of 1 to {MOST_SEEDS:,} seeds. Change it."
                )
            span = range(begin, end + 1)
            seeds.extend(span)
        if len(set(seeds)) != len(seeds):
            raise BenchError(f"--seeds {value!r}: a seed is listed twice. Remove it.")
        return tuple(seeds)


def _whole(text: str) -> bool:
    """Return whether a text is a whole number that a seed can be."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= LARGEST_SEED


class SettingText(click.ParamType):
    """A field of a strategy and its value, or for --grid its values."""

    name = "[strategy:]field=value"

    def __init__(self, option: str) -> None:
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Setting:
        from bench.strategies.notation import read_setting

        return read_setting(self._option, str(value))


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


class Folder(click.Path):
    """A folder here, and no address of a store."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        local_folder(value, param.opts[0] if param else "folder")
        return super().convert(value, param, ctx)


class Records(click.Path):
    """A folder of records to read, or the address of one in a store, which is read by way of a copy here."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not is_address(value):
            return super().convert(value, param, ctx)
        from bench.records.remote import folder_of

        return folder_of(value, lambda line: click.echo(f"bench: {line}", err=True))


class Address(click.ParamType):
    """The address of a folder in a store."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_address(value):
            raise BenchError(
                f"{value}: no address, expected one such as s3://bucket/folder. For folders here, run: bench merge"
            )
        return value


results_option = click.option(
    "--results",
    type=Records(),
    default=RUNS,
    show_default=True,
    help="Folder of records, or an address such as s3://bucket/folder.",
)
results_written_option = click.option(
    "--results", type=Folder(), default=RUNS, show_default=True, help="Folder of records."
)
published_option = click.option(
    "--published", is_flag=True, help="Add the records that come with bench, marked in the table."
)
tuning_option = click.option(
    "--tuning-seeds",
    "seeds",
    flag_value="tuning",
    default="scored",
    help="Only trials of seeds from 100 on, which are for tuning and otherwise left out.",
)
scenario_filter = click.option(
    "--scenario", default=None, help="Name, or path of a .toml file; default: every scenario with records."
)
one_scenario_option = click.option("--scenario", required=True, help="Name, or path of a .toml file.")
currency_option = click.option(
    "--currency",
    type=click.Choice(("flops", "steps", "images", "device_seconds", "gpu_joules")),
    default="flops",
    show_default=True,
)
target_option = click.option(
    "--target",
    "share",
    type=Share(),
    default=1.0,
    show_default=True,
    help="Share of scratch's final accuracy to reach.",
)
pilot_option = click.option(
    "--pilot",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    is_flag=False,
    flag_value=0.1,
    default=None,
    metavar="[SHARE]",
    help="Experimental: compare on this share of the training images and of the steps, 0.1 unless it is given. Favours "
    "continuing; see docs/own-data.md.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=data_folder,
    show_default="the user's cache folder",
    help="Folder of image sets, downloaded or put there, and of prepared images.",
)
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Decoding processes; default: one per processor."
)
skip_broken_option = click.option(
    "--skip-broken", is_flag=True, help="Leave broken images out, and record their names."
)
step_option = click.option(
    "--step",
    type=click.Choice(("auto", "eager", "compiled", "graph", "graph+compiled")),
    default="auto",
    show_default=True,
    metavar="WAY",
    help="eager, operator by operator; compiled, by torch.compile; graph, recorded once as a CUDA graph and replayed; or "
    "graph+compiled. auto: graph on a GPU, compiled as the scenario says, without what cannot run.",
)


def _be_single_writer(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        before = os.environ.get(SINGLE_WRITER)
        os.environ[SINGLE_WRITER] = "1"
        ctx.call_on_close(lambda: _restore(before))


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop(SINGLE_WRITER, None)
    else:
        os.environ[SINGLE_WRITER] = before


single_writer_option = click.option(
    "--single-writer",
    is_flag=True,
    expose_value=False,
    callback=_be_single_writer,
    help="Write where the file system has no locks: no other run may write to the same folders.",
)

_horizon_option = click.option(
    "--horizon",
    "horizons",
    type=float,
    multiple=True,
    show_default="each strategy's own",
    help="Planned length, as a share of scratch's steps; several for a frontier. Scratch also runs at 1.",
)
_seeds_option = click.option("--seeds", type=Seeds(), default="0-2", show_default=True, help="Like 0-4 or 0,2,5.")
_scenario_option = click.option(
    "--scenario", default="glyphs-32-15", show_default=True, help="Name, or path of a .toml file."
)
_scenarios_option = click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    default=("glyphs-32-15",),
    show_default=True,
    help="Name, or path of a .toml file; once per scenario.",
)
_WHAT = (
    click.option(
        "--strategy",
        "strategies",
        multiple=True,
        default=BASELINES,
        show_default=True,
        help="Name, path of a .py file, or either with parameters: 'optimized[schedule.warmup=0.2]'.",
    ),
    click.option(
        "--set",
        "settings",
        type=SettingText("--set"),
        multiple=True,
        help="Set a field of the strategies, such as schedule.warmup=0.2; for one strategy only: optimized:schedule.warmup=0.2.",
    ),
    click.option(
        "--grid",
        "grids",
        type=SettingText("--grid"),
        multiple=True,
        help="The same with several values: a variant for each, such as horizon=0.2,0.3,0.5. Several grids: their product.",
    ),
)
_jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trials that run side by side, each in a process of its own, and on a GPU of its own. Learns the same, bit for bit.",
)
_WHERE = (
    device_option,
    data_root_option,
    results_written_option,
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        default=cache_folder,
        show_default="the user's cache folder",
        help="Folder of base models and checkpoints.",
    ),
    click.option(
        "--compile/--no-compile", "compiled", default=None, help="Use torch.compile; default: as the scenario says."
    ),
    step_option,
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=None,
        show_default="one per core; with --jobs above 1: one",
        help="CPU threads of PyTorch in each process; kept for the whole run, and recorded.",
    ),
    _jobs_option,
    single_writer_option,
)


def training_options(command: Command) -> Command:
    """Add the options that say what to train, where and with what; plan_of takes them, but for the scenarios."""
    return _adding(_scenarios_option, *_WHAT, _horizon_option, _seeds_option, *_WHERE)(command)


def running_options(command: Command) -> Command:
    """Add the options that say on which seeds, where and with what to train."""
    return _adding(_seeds_option, *_WHERE)(command)


def where_options(command: Command) -> Command:
    """Add the options that say where and with what to train, for a command whose trials run one after the other."""
    return _adding(*(option for option in _WHERE if option is not _jobs_option))(command)


def output_options(command: Command) -> Command:
    """Add the same options as running_options, for a command whose records go into its own output folder."""
    return _adding(_seeds_option, *(option for option in _WHERE if option is not results_written_option))(command)


def what_and_where(*own: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds the same options for one scenario, and a command's own in place of --horizon and --seeds."""
    return _adding(_scenario_option, *_WHAT, *own, *_WHERE)


def _adding(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def entrants_of(
    *,
    strategies: tuple[str, ...],
    settings: tuple[Setting, ...],
    grids: tuple[Setting, ...],
    horizons: tuple[float, ...],
    device: str,
    jobs: int,
    **others: Any,
) -> list[Entrant]:
    """Return the strategies that these options ask for. Raises a BenchError, also for a device that is not there."""
    from bench.api.named import strategies_for
    from bench.training.device import check_jobs, choose_device

    check_jobs(jobs, choose_device(device))
    return strategies_for(strategies, (*settings, *grids), horizons)


# Those of a command's options that plan() and sweep() take under the same name.
_PLANNED = (
    "results",
    "device",
    "data_root",
    "cache",
    "compiled",
    "step",
    "threads",
    "images",
    "fresh",
    "timed",
    "interleave",
)


def sweep_of(entrants: list[Entrant], *, scenarios: list[Scenario], seeds: tuple[int, ...], **options: Any) -> Sweep:
    """Return the graph of jobs that these options ask for, and say what it goes without.

    Raises a BenchError for what can be known to be wrong.
    """
    from bench.api.sweeps import sweep

    return noted(sweep(scenarios, entrants, seeds, **planned(options)))


def plan_of(entrants: list[Entrant], *, scenario: ScenarioLike, seeds: tuple[int, ...], **options: Any) -> Plan:
    """Return the plan that these options ask for, and say what it goes without.

    Raises a BenchError for what can be known to be wrong.
    """
    from bench.api.plans import plan

    return noted(plan(scenario, entrants, seeds, **planned(options)))


def planned(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of a command's options that plan() and sweep() take."""
    return {name: options[name] for name in _PLANNED if name in options}


def noted(found: Planned) -> Planned:
    """Say what a plan goes without."""
    for note in found.notes:
        click.echo(f"bench: {note}", err=True)
    return found
