"""The command that updates a model of one's own: whether to continue it or to train a new one, and the model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.cli.collect import say_unreadable
from bench.cli.data import prepare_for, tree_in_words
from bench.cli.options import Folder, output_options, pilot_option
from bench.cli.show import show
from bench.errors import BenchError

_FOLDERS = (
    "old",
    "new",
    "model",
    "weights",
    "architecture",
    "preprocessing",
    "trained_on",
    "untrained_is_fine",
    "image_size",
    "validation",
    "test",
    "old_layout",
    "new_layout",
    "duplicates",
    "max_megapixels",
    "epochs",
    "batch_size",
    "learning_rate",
)
_PATH = click.Path(path_type=Path)
_LAYOUT = click.Choice(("classes", "splits"))


def _each(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Split values at commas, but for those in the brackets of a variant."""
    found = [name.strip() for text in given for name in re.split(r",(?![^\[]*\])", text)]
    return tuple(name for name in found if name)


@click.command("update", short_help="Continue or retrain? The answer, and the model.")
@click.option("--old", type=_PATH, default=None, help="Folder of the old images, one folder per class; or .npz.")
@click.option(
    "--new", type=_PATH, default=None, help="Folder of the new images: new classes, more of the old ones, or both."
)
@click.option(
    "--model", type=_PATH, default=None, help="The old model's weights; default: one is trained on the old images."
)
@click.option(
    "--weights", default=None, metavar="ema|model|NAME", help="Which of them, where its file holds several models."
)
@click.option(
    "--validation",
    type=_PATH,
    default=None,
    help="Folder of validation images; default: a fifth of each class is cut off.",
)
@click.option("--test", type=_PATH, default=None, help="The same for test images.")
@click.option(
    "--old-layout", type=_LAYOUT, default=None, help="What the folders in --old are, where they could be both."
)
@click.option("--new-layout", type=_LAYOUT, default=None, help="The same for --new.")
@click.option(
    "--duplicates",
    type=click.Choice(("drop", "refuse")),
    default=None,
    show_default="drop",
    help="Held-out images that come twice: leave the other one out, or stop.",
)
@click.option("--architecture", default=None, show_default="resnet8", help="Of the model, such as resnet18.")
@click.option(
    "--preprocessing",
    default=None,
    metavar="imagenet|imagenet-224",
    help="How the old model expects pixels; default: normalized by the old images, or as its model.json says.",
)
@click.option(
    "--trained-on",
    type=_PATH,
    default=None,
    metavar="FILE",
    help="List of the old images that the model was trained on: held-out ones are cut from the others.",
)
@click.option(
    "--untrained-is-fine", is_flag=True, default=None, help="Take a model that does not stand out from guessing, too."
)
@click.option("--image-size", type=click.IntRange(min=1), default=None, show_default="64", help="Pixels, square.")
@click.option(
    "--max-megapixels", type=click.IntRange(min=1), default=None, show_default="64", help="Refuse larger images."
)
@click.option(
    "--epochs", type=click.IntRange(min=1), default=None, show_default="30", help="Of a training from scratch."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=None, show_default="64")
@click.option("--learning-rate", type=float, default=None, show_default="0.1", help="Its peak.")
@click.option("--scenario", default=None, help="A scenario file, instead of all of these.")
@click.option("--output", type=Folder(), required=True, help="Folder for verdict, model, records and scenario file.")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    default=("naive[horizon=0.5]", "optimized"),
    show_default=True,
    help="Ways to continue that are compared with scratch.",
)
@click.option(
    "--only", default=None, metavar="STRATEGY", help="Train with this strategy, one seed, and compare nothing."
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=100, max_open=True),
    default=0.5,
    show_default=True,
    help="Percentage points of accuracy that may be lost.",
)
@pilot_option
@click.option(
    "--keep-model",
    "keep",
    multiple=True,
    callback=_each,
    metavar="STRATEGY,...",
    help="Write the models of these as well.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be trained on, and how long it takes; train nothing.")
@click.option("--fresh", is_flag=True, help="Run finished trials again, replacing their records.")
@output_options
def update_command(
    scenario: str | None,
    output: Path,
    strategies: tuple[str, ...],
    only: str | None,
    pilot: float | None,
    margin: float,
    keep: tuple[str, ...],
    dry_run: bool,
    seeds: tuple[int, ...],
    jobs: int,
    **asked: Any,
) -> None:
    """Train an update of your own model, and say whether to continue the old model or to train a new one.

    Compares ways to continue with scratch, three seeds each, and writes the answer to verdict.json and the better model to
    model.safetensors and model.json. A killed command resumes.
    """
    from bench.api.named import load_scenario
    from bench.api.updates import plan_update, preflight, update, update_scenario, write_scenario
    from bench.catalog import REFERENCE
    from bench.data.files.headers import sizes_and_modes
    from bench.reporting.plans import plan_cells
    from bench.reporting.progress import progress_on_terminal
    from bench.reporting.updates import decision_lines, pilot_lines, preflight_cells

    if pilot and (only or keep):
        raise BenchError(
            f"--pilot: given together with {'--only' if only else '--keep-model'}, but a pilot compares, and leaves no model. "
            "Remove one."
        )
    given = {name: asked.pop(name) for name in _FOLDERS}
    named = {name: value for name, value in given.items() if value is not None}
    if scenario is not None and named:
        raise BenchError(
            f"--{min(named).replace('_', '-')}: given together with --scenario, which says it. Remove one."
        )
    if scenario is None and not {"old", "new"} <= named.keys():
        raise BenchError("--old and --new: expected two folders of images, or --scenario instead. Add them.")
    if scenario is None:
        known = update_scenario(named.pop("old"), named.pop("new"), name=output.absolute().name, **named)
    else:
        known = load_scenario(scenario)
    options = {"fresh": asked.pop("fresh"), **asked}
    trees = prepare_for(known, asked["data_root"], fitting=True)
    read = [f"{tree_in_words(tree)}; {sizes_and_modes(tree.listing.folder, tree.listing.files)}" for tree in trees]
    ways = (only,) if only else (REFERENCE, *strategies)
    named_seeds = click.get_current_context().get_parameter_source("seeds") is not ParameterSource.DEFAULT
    numbers = seeds[:1] if only or (pilot and not named_seeds) else seeds
    plan = plan_update(known, output, ways, numbers, pilot=pilot, **options)
    for left_out in plan.left_out:
        for line in left_out.lines():
            click.echo(line)
    show(preflight_cells(plan.scenario, preflight(plan), read))
    click.echo()
    show(plan_cells(plan.scenario, plan.costs(jobs).estimates))
    if dry_run:
        return
    click.echo()
    if scenario is None:
        write_scenario(known, output / "scenario.toml")
    with progress_on_terminal() as listener:
        done = update(plan, output, margin=margin / 100, keep=keep, jobs=jobs, listener=listener)
    say_unreadable(done.results)
    if done.decision and done.pilot:
        for line in pilot_lines(done.pilot, done.decision):
            click.echo(line)
    elif done.decision:
        for line in decision_lines(done.decision):
            click.echo(line)
    for name, folder in done.models.items():
        click.echo(f"model of {name}: {folder / 'model.safetensors'}")
