"""The commands on data: what is there, decoding it, checking it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.options import (
    data_root_option,
    one_scenario_option,
    single_writer_option,
    skip_broken_option,
    workers_option,
)
from bench.cli.show import show
from bench.data.files.names import shown
from bench.errors import DataError

if TYPE_CHECKING:
    from bench.data.files.prepare import Prepared
    from bench.scenario import Scenario


@click.group("data", short_help="See, prepare and check image sets.")
def data() -> None:
    """See which image sets are there, decode image files, check them."""


@data.command()
@data_root_option
def status(data_root: Path) -> None:
    """Show each set's state (ready, size and where, or what is missing) and its licence."""
    from bench.data.sources.find import set_state
    from bench.data.sources.known import SETS
    from bench.data.sources.verify import folder_bytes
    from bench.reporting.layout import Cells, Column

    rows = []
    for name, facts in SETS.items():
        state = set_state(name, data_root)
        where = f" ({state.where})" if state.where else ""
        rows.append((name, _megabytes(state.bytes), f"{state.text}{where}. Licence: {facts.licence}"))
    columns = (Column("set", "set", left=True), Column("size", "size"), Column("state", "state", left=True, prose=True))
    show(Cells("Image sets", columns, tuple(rows)))
    prepared = _megabytes(folder_bytes(data_root / "prepared"))
    click.echo(f"data root: {data_root}; prepared there: {prepared or 'nothing'}")


@data.command()
@click.option("--scenario", default=None, help="Name, or path of a .toml file.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=None, help="One tree of images, instead of a scenario's."
)
@click.option("--size", type=click.IntRange(min=1), default=None, help="Pixels, square; with --folder.")
@click.option(
    "--max-megapixels",
    type=click.IntRange(min=1),
    default=None,
    show_default="64",
    help="Refuse larger images; with --folder.",
)
@data_root_option
@workers_option
@skip_broken_option
@single_writer_option
def prepare(
    scenario: str | None,
    folder: Path | None,
    size: int | None,
    max_megapixels: int | None,
    data_root: Path,
    workers: int | None,
    skip_broken: bool,
) -> None:
    """Decode a scenario's image files once, into arrays of its resolution: in parallel; a killed run resumes.

    Each image is turned upright and its centre square resampled to the resolution.
    """
    if (scenario is None) == (folder is None) or (folder is None) != (size is None):
        raise DataError("bench data prepare: give --scenario, or --folder with --size.")
    if folder is None and max_megapixels is not None:
        raise DataError("--max-megapixels: given without --folder. Set data.max_megapixels in the scenario instead.")
    if folder is not None and size is not None:
        from bench.data.files.decode import MEGAPIXELS
        from bench.data.files.layouts import list_tree
        from bench.data.files.prepare import prepare as prepare_tree
        from bench.processors import usable_processors

        listings = [listing for _, listing in list_tree(folder)]
        with _bar(sum(len(listing.files) for listing in listings)) as advance:
            done = [
                prepare_tree(
                    listing,
                    size,
                    data_root,
                    workers=workers or usable_processors(),
                    megapixels=max_megapixels or MEGAPIXELS,
                    skip_broken=skip_broken,
                    progress=advance,
                )
                for listing in listings
            ]
    else:
        from bench.api.named import load_scenario

        done = prepare_for(load_scenario(scenario or ""), data_root, workers, skip_broken=skip_broken)
    if not done:
        click.echo("nothing to prepare: the set comes as arrays")
    for tree in done:
        click.echo(tree_in_words(tree))


@data.command()
@one_scenario_option
@data_root_option
def verify(scenario: str, data_root: Path) -> None:
    """Check a scenario's data: counts, classes, checksums of what was prepared, and images that are in both training and test."""
    from bench.api.named import load_scenario
    from bench.data.sources.find import find_trees, load_images
    from bench.data.sources.verify import broken_chunks, count_images, find_duplicates
    from bench.data.stages.splits import cut
    from bench.reporting.duplicates import twice_in_words

    asked = load_scenario(scenario)
    images = load_images(asked, data_root, download=False)
    click.echo(f"{asked.name}: {images.source}, {len(images.class_names)} classes, hash {images.hash()}")
    for domain, train, fewest, test, fewest_test in count_images(images):
        where = f"{domain}: " if domain else ""
        click.echo(
            f"{where}{train:,} training images (at least {fewest} per class), {test:,} test images ({fewest_test} per class)"
        )
    wrong = []
    for tree in find_trees(asked, data_root):
        found = broken_chunks(tree)
        click.echo(f"{tree.listing.folder}: checksums {'differ' if found else 'agree'}; {len(tree.skipped)} skipped")
        wrong += [f"{tree.folder}: {part}" for part in found]
        changed = tree.changed_files()
        if changed:
            raise DataError(
                f"{tree.listing.folder / changed[0]}: changed since it was prepared{_more(changed)}. "
                f"Remove {tree.folder}, and prepare again."
            )
    twice = find_duplicates(images)
    click.echo(
        f"{twice.count} test images are identical to a training image, {twice.unlike} of them with a different class"
    )
    for line in twice_in_words(cut(asked, images)):
        click.echo(line)
    if twice.pairs:
        click.echo("test and training place: " + ", ".join(f"{a} = {b}" for a, b in twice.pairs))
    if wrong:
        raise DataError(
            f"{wrong[0]}: changed since it was written{_more(wrong)}. Remove that folder, and prepare again."
        )


@data.command()
@click.option("--set", "name", default="digits", show_default=True, help="A set that comes as arrays.")
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="Folder to write; must be empty.")
@click.option(
    "--old-classes", type=int, default=7, show_default=True, help="How many classes go to old; the others to new."
)
@data_root_option
def export(name: str, folder: Path, old_classes: int, data_root: Path) -> None:
    """Write a set as folders of PNG files, old/ and new/: data like a user's own, to try things out with."""
    from bench.data.sources.export import export_folders
    from bench.data.sources.find import load_set

    for path in export_folders(load_set(name, data_root), folder, old_classes):
        click.echo(path)


def prepare_for(
    scenario: Scenario,
    data_root: Path,
    workers: int | None = None,
    *,
    skip_broken: bool = False,
    fitting: bool = False,
) -> list[Prepared]:
    """Decode what a scenario needs and is not decoded yet, with a bar on the terminal. fitting: first, refuse an old model that
    does not fit.
    """
    from bench.data.sources.find import prepare_images, trees_of
    from bench.processors import usable_processors

    trees, workers = trees_of(scenario, data_root), workers or usable_processors()
    if fitting and scenario.model.checkpoint is not None:  # what checks it loads torch
        from bench.training.given import require_fit

        require_fit(scenario, trees)
    with _bar(sum(len(tree.listing.files) for tree in trees)) as advance:
        return prepare_images(
            scenario, data_root, workers=workers, skip_broken=skip_broken, progress=advance, trees=trees
        )


def prepare_and_tell(scenario: Scenario, data_root: Path) -> None:
    """Decode what a scenario needs, and say on stderr what a run goes without.

    That is broken images that were skipped, other files, system folders, and training images that are held out too. An old model
    that does not fit is refused first.
    """
    from bench.data.sources.find import load_images
    from bench.data.stages.splits import cut
    from bench.reporting.duplicates import twice_in_words

    for tree in prepare_for(scenario, data_root, fitting=True):
        if tree.skipped or tree.listing.left_out or tree.listing.passed_over:
            click.echo(tree_in_words(tree), err=True)
    if scenario.own_folders:
        for line in twice_in_words(cut(scenario, load_images(scenario, data_root))):
            click.echo(line, err=True)


@contextmanager
def _bar(images: int) -> Iterator[Callable[[int], None]]:
    """Show how many images are decoded, from the first one on: what is ready already shows nothing."""
    if not images:  # spares rich, which takes 0.1 s to load
        yield lambda done: None
        return
    from bench.reporting.progress import decoding_bar

    with decoding_bar(images) as advance:
        yield advance


def tree_in_words(tree: Prepared) -> str:
    """Say what a folder was read as, and what was not used of it."""
    left_out = tree.listing.left_out
    others = f", {len(left_out)} files of other endings left out ({shown(left_out[0])})" if left_out else ""
    if tree.listing.passed_over:
        others += f", {len(tree.listing.passed_over)} hidden, system or unlabelled ones passed over"
        others += f" ({', '.join(map(shown, tree.listing.passed_over[:3]))})"
    skipped = f", {len(tree.skipped)} broken ones skipped ({', '.join(list(tree.skipped)[:3])})" if tree.skipped else ""
    return (
        f"{tree.listing.folder}: {len(tree.rows):,} images of {len(tree.listing.class_names)} classes ready at {tree.size} "
        f"pixels{skipped}{others}"
    )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _megabytes(count: int | None) -> str:
    return f"{count / 1e6:,.0f} MB" if count else ""
