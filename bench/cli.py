"""The command line: arguments, progress, exit codes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from platformdirs import user_cache_path
from rich.console import Console, RenderableType

from bench import __version__
from bench.catalog import find_scenario, find_strategy, scenario_names, strategy_names
from bench.errors import BenchError, MeterError

if TYPE_CHECKING:
    from bench.records.collect import Records
    from bench.scenario import Scenario

_BASELINES = ("scratch", "naive", "optimized")
_CACHE = user_cache_path("compute-to-accuracy", appauthor=False)


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


_data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=_CACHE / "data",
    show_default="the user's cache folder",
    help="Where image sets lie, or are downloaded to.",
)
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
@_data_root
@_results
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=_CACHE,
    show_default="the user's cache folder",
    help="Base models and checkpoints.",
)
@click.option(
    "--compile/--no-compile", "compiled", default=None, help="Use torch.compile; default: as the scenario says."
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
    local = LocalRun(
        asked,
        entrants,
        seeds,
        device=device,
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


@main.command("list")
def list_() -> None:
    """List the shipped scenarios and strategies."""
    from bench.reporting.tables import scenario_table

    _print(scenario_table([_load(name) for name in scenario_names()]))
    click.echo(f"strategies: {', '.join(strategy_names())}, or the path of a .py file")


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

    count, layers = count_layers(build_model(model, image[0], classes, 0, "flops"), image)
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

    _print(flops_table(model, image, count, layers))
    click.echo(f"forward: {count.forward:,} FLOPs; fvcore: {count.forward_fvcore:,}")
    click.echo(
        f"step (forward and backward): {count.step:,} FLOPs an image" + f", {count.batch:,} a batch" * bool(count.batch)
    )


@main.command()
@click.option("--audit", type=click.Path(path_type=Path), required=True, help="Folder of one trial's record.")
@click.option("--strategy", default=None, help="Path of the strategy's file, where it is not a shipped one.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@_data_root
def check(audit: Path, strategy: str | None, device: str, data_root: Path) -> None:
    """Replay some steps of a recorded trial under a real counter, and compare with what was charged.

    Exits with 1 where they disagree by more than 0.1 %.
    """
    from bench.execution.audit import audit_record
    from bench.reporting.tables import audit_table
    from bench.training.device import choose_device

    found = audit_record(audit, strategy, data_root, choose_device(device))
    _print(audit_table(found))
    if not found.agrees:
        wrong = next(part for part in found.parts if not part.agrees)
        raise MeterError(
            f"{audit}: {wrong.name}: {wrong.counted:,} FLOPs counted, {wrong.charged:,} charged, expected within 0.1 %. "
            "Its costs are not to be believed."
        )


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
    from bench.reporting.tables import leaderboard_table

    _print(*leaderboard_table(rank(records.trials, records.evals)))


def _print(*parts: RenderableType) -> None:
    """Print at full width: a table that a narrow terminal folds can still be read, one that is squeezed cannot."""
    console = Console(soft_wrap=True)
    console.width = max(console.width, 240)
    console.print(*parts)
