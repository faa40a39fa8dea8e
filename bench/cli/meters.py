"""The commands that meter: a model's FLOPs, and what a recorded trial was charged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.options import Records, data_root_option, device_option
from bench.cli.show import show
from bench.errors import BenchError, MeterError, RuleError

if TYPE_CHECKING:
    from bench.metering.flops import FlopCount, LayerFlops


_COUNTED = (
    "Counted: convolutions, linear layers, attention, and other products of matrices; a multiply-add is 2 FLOPs. "
    "Not counted: normalization, activations, pooling, resizing, and the gradient of the image itself."
)


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


@click.command("flops", short_help="Count a model's FLOPs layer by layer.")
@click.argument("model")
@click.option("--image", type=ImageShape(), default="3x224x224", show_default=True, help="channels x height x width.")
@click.option("--classes", type=click.IntRange(min=1), default=1000, show_default=True, help="Width of the head.")
@click.option("--stages", is_flag=True, help="By stage instead, with what a step costs behind frozen ones.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def flops_command(model: str, image: tuple[int, int, int], classes: int, stages: bool, form: str) -> None:
    """Count a model's FLOPs, layer by layer, by two counters that must agree.

    Counted are the multiply-adds of convolutions, linear layers and attention, each as 2 FLOPs. Normalization, activations,
    pooling and resizing are not. A step is forward and backward, without the gradient of the image itself.

    --stages lists the names that FreezeStages takes.
    """
    if stages:
        _stages(model, image, classes, form)
        return
    count, layers = _count(model, image, classes)
    if form == "json":
        facts = {
            "model": model,
            "image": image,
            "classes": classes,
            "forward_macs": count.forward // 2,
            "forward_macs_fvcore": count.forward_fvcore // 2,
            "forward_flops": count.forward,
            "step_flops": count.step,
            "batch_flops": count.batch,
            "layers": [asdict(layer) for layer in layers],
        }
        click.echo(json.dumps(facts, indent=1))
        return
    from bench.reporting.metering import flops_cells

    once = f", and {count.batch:,} per batch" if count.batch else ""
    notes = (
        f"forward: {count.forward:,} FLOPs per image; by fvcore {count.forward_fvcore:,}",
        f"step, forward and backward: {count.step:,} FLOPs per image{once}",
        _COUNTED,
    )
    show(replace(flops_cells(model, image, count, layers), notes=notes))


@click.command("check", short_help="Check records against the rules, or audit one.")
@click.argument("results", type=Records(), required=False)
@click.option("--audit", type=click.Path(path_type=Path), default=None, help="Folder of one trial's record.")
@click.option("--strategy", default=None, help="With --audit: the strategy's file, if it is not shipped.")
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    default=None,
    help="With --audit: the scenario's file, if folders of your own are relative to it and are not found.",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@device_option
@data_root_option
def check_command(
    results: Path | None,
    audit: Path | None,
    strategy: str | None,
    scenario: Path | None,
    form: str,
    device: str,
    data_root: Path,
) -> None:
    """Check records: all of RESULTS against the rules for a leaderboard's row, or one trial's charges (--audit).

    An audit replays some steps of a recorded trial under a real counter. Exits with 1 if a rule is broken, or if what was counted
    and what was charged are more than 0.1 % apart.
    """
    if (results is None) == (audit is None):
        raise BenchError("bench check: give either a results folder, or --audit with one trial's folder.")
    if audit is not None:
        _audit(audit, strategy, scenario, device, data_root, form)
    elif results is not None:
        _check_rules(results, form)


def _stages(model: str, image: tuple[int, int, int], classes: int, form: str) -> None:
    from bench.reporting.metering import stage_cells
    from bench.training.stage_costs import stage_costs

    with _image_that_fits(model, image):
        count, found = stage_costs(model, image, classes)
    if form == "json":
        facts = {"model": model, "image": image, "classes": classes, "step_flops": count.step}
        click.echo(json.dumps({**facts, "stages": [asdict(stage) for stage in found]}, indent=1))
        return
    show(stage_cells(model, image, count, found))


def _audit(trial: Path, strategy: str | None, scenario: Path | None, device: str, data_root: Path, form: str) -> None:
    from bench.execution.audit import audit_record
    from bench.reporting.metering import audit_cells
    from bench.training.device import choose_device

    found = audit_record(trial, strategy, data_root, choose_device(device), scenario)
    if form == "json":
        click.echo(
            json.dumps(
                {"trial": found.trial, "agrees": found.agrees, "parts": list(map(asdict, found.parts))}, indent=1
            )
        )
    else:
        show(audit_cells(found))
    if not found.agrees:
        wrong = next(part for part in found.parts if not part.agrees)
        raise MeterError(
            f"{trial}: {wrong.name}: {wrong.counted:,} FLOPs counted, {wrong.charged:,} charged, expected within 0.1 %. "
            "Do not trust its costs. Charge what the strategy computes, and run it again."
        )


def _check_rules(results: Path, form: str) -> None:
    from bench.analysis.guards.rules import GUARDS
    from bench.records.rules import check_results
    from bench.reporting.metering import rules_cells

    verdict = check_results(results, GUARDS)
    if form == "json":
        click.echo(json.dumps(asdict(verdict), indent=1))
    else:
        show(rules_cells(verdict))
    if verdict.violations:
        first = verdict.violations[0]
        more = f" (and {len(verdict.violations) - 1} more)" if len(verdict.violations) > 1 else ""
        asked = verdict.rules[first.rule]
        raise RuleError(
            f"{first.where}: {first.rule}: {first.found}{more}, expected: {asked} Run it again, or remove the record."
        )


def _count(model: str, image: tuple[int, int, int], classes: int) -> tuple[FlopCount, list[LayerFlops]]:
    """Count a model of some name."""
    from bench.metering.flops import count_layers
    from bench.models import build_model

    with _image_that_fits(model, image):
        return count_layers(build_model(model, image[0], classes, 0, "flops", image[1]), image)


@contextmanager
def _image_that_fits(model: str, image: tuple[int, int, int]) -> Iterator[None]:
    """Turn what a model raises for an image of a shape that it does not take into a BenchError."""
    try:
        yield
    except BenchError:
        raise
    except (RuntimeError, AssertionError, ValueError, IndexError) as cause:  # a model's own ways to say so
        size, reason = "x".join(map(str, image)), (str(cause).splitlines() or [type(cause).__name__])[0]
        raise BenchError(f"{model}: takes no image of {size} ({reason}). Give another --image.") from cause
