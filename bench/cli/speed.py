"""The command that times the training step against other loops, trials in processes, and the harness itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import device_option, results_written_option, step_option
from bench.cli.show import show_tables, width_options
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.training.step import StepChoice

# Those of bench.execution.loops.CASES, which needs torch.
MODELS = ("mlp", "resnet8-12", "resnet8-28", "resnet8-32", "resnet18-32", "vit-tiny-32")
_FORMATS = ("pdf", "svg", "png")


@click.command("speed", short_help="Time the training step against other loops.")
@click.option(
    "--model",
    "models",
    type=click.Choice(MODELS),
    multiple=True,
    default=MODELS[:4],
    show_default=True,
    help="May be repeated. The number is the size of the images; mlp has 28 px.",
)
@click.option("--precision", type=click.Choice(("fp32", "bf16")), default="fp32", show_default=True)
@step_option
@device_option
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads; default: one per core.")
@click.option("--pairs", type=click.IntRange(min=2), default=10, show_default=True, help="How often each has its turn.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="Of a turn."
)
@click.option("--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Of the usual loop.")
@click.option("--images", type=click.IntRange(min=1), default=20_000, show_default=True, help="Made up, to train on.")
@results_written_option
@click.option("--show", is_flag=True, help="Time nothing; print what the results folder holds.")
@click.option("--figure", type=click.Path(path_type=Path), default=None, help="Draw the table: .pdf, .svg or .png.")
@click.option("--profile", is_flag=True, help="Print where the time goes, too.")
@click.option("--harness", is_flag=True, help="Time planning and scoring of made-up trials instead.")
@click.option("--trials", type=int, default=10_000, show_default=True, help="With --harness.")
@click.option("--evaluations", type=click.IntRange(min=1), default=200, show_default=True, help="With --harness.")
@click.option(
    "--processes",
    type=int,
    default=None,
    help="Time small trials instead: so many processes of one thread against one of so many threads.",
)
@click.option("--scenario", default="digits-7-3", show_default=True, help="With --processes: name, or path.")
@click.option("--turn", type=click.IntRange(min=1), default=8, show_default=True, help="Trials, with --processes.")
@width_options
def speed_command(
    models: tuple[str, ...],
    results: Path,
    show: bool,
    figure: Path | None,
    profile: bool,
    harness: bool,
    trials: int,
    evaluations: int,
    processes: int | None,
    scenario: str,
    turn: int,
    wide: bool,
    columns: str | None,
    seconds: float,
    **asked: Any,
) -> None:
    """Time our training step, a bare hand-written loop and the loop that people write, in turns.

    Records go to the folder speed in the results folder; no table of trials reads them.
    """
    if figure is not None and figure.suffix[1:] not in _FORMATS:
        raise BenchError(f"--figure {figure}: expected a name that ends in .pdf, .svg or .png. Change it.")
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # before torch loads: its profiler would report that there is no GPU
    if harness:
        _harness(results, trials, evaluations, show)
        return
    if processes is not None:
        _processes(results, scenario, processes, asked["pairs"], turn, show)
        return
    from bench.records.speed import read_speeds
    from bench.reporting.speed import profile_cells, speed_cells

    records = read_speeds(results) if show else _measure(models, results, seconds, **asked)
    show_tables(
        [speed_cells(records), *(profile_cells(record) for record in records if profile)], wide=wide, columns=columns
    )
    if figure is not None:
        from bench.reporting.figures.speed import write_speed_figure

        write_speed_figure(records, figure)
        click.echo(f"figure: {figure}")


def _measure(models: tuple[str, ...], results: Path, seconds: float, *, step: StepChoice, **asked: Any) -> list[Any]:
    from bench.execution.loops import CASES
    from bench.execution.speed import measure_speed
    from bench.records.speed import write_speed
    from bench.records.store import require_writable

    require_writable(results)
    found = []
    for name in dict.fromkeys(models):

        def told(line: str, name: str = name) -> None:
            click.echo(f"{name}: {line}", err=True)

        record = measure_speed(CASES[name], step=step, round_seconds=seconds, told=told, **asked)
        told(f"record: {write_speed(results, record)}")
        found.append(record)
    return found


def _harness(results: Path, trials: int, evaluations: int, show: bool) -> None:
    from bench.execution.harness import measure_harness
    from bench.records.speed import read_harnesses, write_harness
    from bench.records.store import require_writable
    from bench.reporting.speed import harness_cells

    if show:
        records = read_harnesses(results)
    else:
        require_writable(results)
        records = [measure_harness(trials, evaluations, lambda line: click.echo(f"harness: {line}", err=True))]
        click.echo(f"record: {write_harness(results, records[0])}", err=True)
    show_tables([harness_cells(record) for record in records], wide=True)


def _processes(results: Path, scenario: str, processes: int, pairs: int, trials: int, show: bool) -> None:
    from bench.catalog import find_scenario
    from bench.execution.throughput import measure_throughput
    from bench.places import data_folder
    from bench.records.speed import read_throughputs, write_throughput
    from bench.records.store import require_writable
    from bench.reporting.speed import throughput_cells
    from bench.scenario import load_scenario

    def told(line: str) -> None:
        click.echo(f"{scenario}: {line}", err=True)

    if show:
        records = read_throughputs(results)
    else:
        require_writable(results)
        found = load_scenario(find_scenario(scenario))
        records = [measure_throughput(found, data_folder(), processes, pairs=pairs, trials=trials, told=told)]
        told(f"record: {write_throughput(results, records[0])}")
    show_tables([throughput_cells(record) for record in records], wide=True)
