"""The command line: arguments, progress, exit codes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from bench import __version__
from bench.catalog import find_strategy
from bench.cli_data import data, prepare_for, tell_left_out
from bench.cli_options import (
    cache_option,
    compile_option,
    data_root_option,
    device_option,
    load,
    results_option,
    scenario_option,
    seeds_option,
    show,
    strategies_option,
)
from bench.cli_plan import list_command, plan_command
from bench.errors import BenchError, MeterError

if TYPE_CHECKING:
    from bench.data.streaming import Residence
    from bench.records.collect import Records


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


class ImageShape(click.ParamType):
    """An image's shape as "3x224x224": channels, height, width."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
            raise BenchError(f"--image {value!r}: expected channels x height x width, like 3x224x224. Change it.")
        channels, height, width = map(int, parts)
        return channels, height, width


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """What does updating a trained model cost, compared with training again, at the same accuracy?"""


@main.command()
@scenario_option
@strategies_option
@seeds_option
@device_option
@data_root_option
@results_option
@cache_option
@compile_option
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
    asked = load(scenario)
    paths = [find_strategy(name) for name in strategies]
    from bench.execution.local import LocalRun
    from bench.records.collect import collect
    from bench.reporting.progress import progress_for
    from bench.strategies.strategy import load_strategy

    entrants = [load_strategy(path) for path in paths]
    tell_left_out(prepare_for(asked, data_root))
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
main.add_command(list_command)
main.add_command(plan_command)


@main.command()
@click.argument("model")
@click.option("--image", type=ImageShape(), default="3x224x224", show_default=True, help="channels x height x width.")
@click.option("--classes", type=click.IntRange(min=1), default=1000, show_default=True, help="Width of the head.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def flops(model: str, image: tuple[int, int, int], classes: int, form: str) -> None:
    """Count a model's FLOPs, layer by layer, by two counters that must agree.

    Counted are the multiply-adds of convolutions, linear layers and attention, each as 2 FLOPs. Normalization, activations,
    pooling and resizing are not. A step is forward and backward, without the gradient of the image itself.
    """
    from bench.metering.flops import count_layers
    from bench.models import build_model

    count, layers = count_layers(build_model(model, image[0], classes, 0, "flops", image[1]), image)
    facts = {"model": model, "image": list(image), "classes": classes, "forward_macs": count.forward // 2}
    facts |= {
        "forward_flops": count.forward,
        "forward_macs_fvcore": count.forward_fvcore // 2,
        "step_flops": count.step,
    }
    facts |= {"batch_flops": count.batch}
    if form == "json":
        click.echo(json.dumps({**facts, "layers": [asdict(layer) for layer in layers]}, indent=1))
        return
    from bench.reporting.tables import flops_table

    show(flops_table(model, image, count, layers))
    click.echo(f"forward: {count.forward:,} FLOPs; fvcore: {count.forward_fvcore:,}")
    click.echo(
        f"step (forward and backward): {count.step:,} FLOPs an image" + f", {count.batch:,} a batch" * bool(count.batch)
    )


@main.command()
@click.option("--audit", type=click.Path(path_type=Path), required=True, help="Folder of one trial's record.")
@click.option("--strategy", default=None, help="Path of the strategy's file, where it is not a shipped one.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@data_root_option
def check(audit: Path, strategy: str | None, device: str, data_root: Path) -> None:
    """Replay some steps of a recorded trial under a real counter, and compare with what was charged.

    Exits with 1 where they disagree by more than 0.1 %.
    """
    from bench.execution.audit import audit_record
    from bench.reporting.tables import audit_table
    from bench.training.device import choose_device

    found = audit_record(audit, strategy, data_root, choose_device(device))
    show(audit_table(found))
    if not found.agrees:
        wrong = next(part for part in found.parts if not part.agrees)
        raise MeterError(
            f"{audit}: {wrong.name}: {wrong.counted:,} FLOPs counted, {wrong.charged:,} charged, expected within 0.1 %. "
            "Its costs are not to be believed."
        )


@main.command()
@click.option("--scenario", default=None, help="Name; default: every scenario with records.")
@results_option
def leaderboard(scenario: str | None, results: Path) -> None:
    """Rank strategies by their speedup over scratch at matched accuracy."""
    from bench.records.collect import collect

    for part in collect(results).parts(scenario):
        _print_leaderboard(part)


@main.command()
@click.option("--scenario", default=None, help="Name; default: every scenario with records.")
@results_option
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


def _print_leaderboard(records: Records) -> None:
    from bench.analysis.leaderboard import leaderboard as rank
    from bench.analysis.life import whole_life
    from bench.reporting.tables import leaderboard_table, life_table

    for part in records.by_update():
        show(*leaderboard_table(rank(part.trials, part.evals)))
    if records.chain:
        show(*life_table(whole_life(records.trials, records.evals)))
