"""A user's own old model, used instead of a base model trained here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import stats

from bench.analysis.guards.seen import Counts, seen_p
from bench.data.feed.batches import HeldOutImages
from bench.data.feed.update import Update
from bench.data.files.decode import CHANNELS
from bench.data.sources.assemble import Tree
from bench.data.sources.find import image_size
from bench.data.sources.own import own_class_names
from bench.errors import ScenarioError, StrategyError
from bench.files import make_folder, write_atomically
from bench.models.build import build_model, head_keys
from bench.models.checkpoint import checkpoint_sha256, fit_checkpoint
from bench.models.export import read_card
from bench.models.stages import find_stages
from bench.records.schema import GivenModel, SeenTest
from bench.scenario import HELD_OUT, Scenario, Use
from bench.strategies.strategy import Entrant
from bench.training.evaluate import measure_classes
from bench.training.spec import Base

# A model passes for untrained if guessing is as accurate as it with at least this probability, and for trained on held-out
# images if one that has not seen them is as accurate on them with less than this probability.
_SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class OldModel:
    """What is known of a given checkpoint before anything is trained.

    file: its name. read: how its weights were taken from the file, in words. normalization: what it is fed, in words.
    right, images: of each old class, how many validation images it predicts correctly, and how many there are.
    chance: the accuracy of always answering the most frequent class. p: the probability that guessing with this accuracy gets at
    least as many right (exact, binomial). may_have_seen: for which uses old images were held out of a folder that it may have
    been trained on whole. listed: whether the scenario lists what it was trained on. seen_test: see GivenModel.
    """

    file: str
    read: str
    normalization: str
    classes: tuple[str, ...]
    right: tuple[int, ...]
    images: tuple[int, ...]
    chance: float
    p: float
    may_have_seen: tuple[Use, ...] = ()
    listed: bool = False
    seen_test: SeenTest | None = None

    @property
    def accuracy(self) -> float:
        """Of the old classes' validation images."""
        return sum(self.right) / sum(self.images)

    @property
    def by_class(self) -> dict[str, float]:
        """Accuracy of each old class that has validation images."""
        return {name: r / n for name, r, n in zip(self.classes, self.right, self.images, strict=True) if n}

    def lines(self) -> list[str]:
        """Return what to tell the user, in words."""
        read = f"{self.file}: {self.read}" if self.read else f"{self.file}: taken as it is"
        lines = [
            f"old model: {read}",
            f"old model: pixels are {self.normalization}",
            f"old model: accuracy {self.accuracy:.4f} on {sum(self.images)} validation images of the old classes "
            f"(guessing: {self.chance:.4f})",
        ]
        if self.may_have_seen:
            uses = " and ".join(self.may_have_seen)
            lines.append(
                f"old model: it may have been trained on {uses} images, which were cut off the old ones: its accuracy may be too "
                "high, and so may that of what continues it. Name images of their own (data.validation and data.test, or "
                "--validation and --test), or list those that it was trained on (model.trained_on, or --trained-on)"
            )
        if self.seen_test is not None and self.seen_test.likely:
            remedy = "; complete the list of images that it was trained on" if self.listed else ""
            lines.append(
                f"old model: warning: it was probably trained on held-out images: {in_words(self.seen_test)}{remedy}"
            )
        return lines


@dataclass(frozen=True)
class GivenCheckpoint:
    """A scenario's `model.checkpoint`.

    image_shape: (channels, height, width). old, classes: number of classes in stage 0, and in all stages. cut_off: for which uses
    old images were cut off. listed: as in OldModel.
    """

    path: Path
    sha256: str
    model: str
    image_shape: tuple[int, int, int]
    old: int
    classes: int
    weights: str | None = None
    cut_off: tuple[Use, ...] = ()
    listed: bool = False

    @property
    def may_have_seen(self) -> tuple[Use, ...]:
        """As in OldModel."""
        return () if self.listed else self.cut_off

    def base(self, seed: int) -> Base:
        """Return it as the base model of a seed, from which the head's rows for new classes are drawn.

        What it cost, and how fast it learned each image, is unknown. Raises ScenarioError if it does not fit.
        """
        fitted = fit_checkpoint(self.path, self.model, self.image_shape, self.old, self.classes, seed, self.weights)
        given = GivenModel(file=self.path.name, sha256=self.sha256, read=fitted.done, may_have_seen=self.may_have_seen)
        return Base(weights=fitted.weights, learning_speed=None, cost=None, given=given)


def find_given(
    scenario: Scenario,
    image_shape: tuple[int, int, int],
    old: int,
    class_names: Sequence[str],
    entrants: Sequence[Entrant],
    cut_off: tuple[Use, ...],
) -> GivenCheckpoint | None:
    """Return a scenario's checkpoint, read and checked; None if it names none.

    old: number of classes in stage 0. class_names: all, in the scenario's order. cut_off: for which uses old images were cut off:
    the model may have been trained on them unless the scenario lists what it was trained on.
    Raises ScenarioError if it cannot be read or does not fit, StrategyError if an entrant needs learning speeds.
    """
    if scenario.model.checkpoint is None:
        return None
    require_no_speed(entrants)
    path = (scenario.root or Path()) / scenario.model.checkpoint
    sha256, listed, classes = checkpoint_sha256(path), scenario.model.trained_on is not None, len(class_names)
    given = GivenCheckpoint(
        path, sha256, scenario.model.name, image_shape, old, classes, scenario.model.weights, cut_off, listed
    )
    given.base(0)
    _require_classes(path, class_names, old)
    return given


def require_no_speed(entrants: Sequence[Entrant]) -> None:
    """Raise StrategyError for a strategy that needs learning speeds, where the old model is a given checkpoint."""
    for entrant in entrants:
        if entrant.strategy.selection.needs_speed:
            raise StrategyError(
                f"{entrant.name}: {type(entrant.strategy.selection).__name__} needs each old image's learning speed, which a "
                "given checkpoint does not have. Choose another, such as optimized, or drop the checkpoint."
            )


def require_fit(scenario: Scenario, trees: Sequence[Tree]) -> None:
    """Refuse a checkpoint that cannot be read or does not fit, before images are decoded, which may take hours.

    trees: the scenario's, listed. Does nothing where a stage is an archive. Raises ScenarioError, as find_given does.
    """
    places = [{stage.folder} for stage in scenario.stages]
    if scenario.model.checkpoint is None or not all(any(tree.domain in at for tree in trees) for at in places):
        return
    known = {name for tree in trees if tree.domain in places[0] for name in tree.listing.class_names}
    names = sorted(own_class_names(scenario, trees), key=lambda name: name not in known)  # the old ones first
    shape = (CHANNELS, image_size(scenario), image_size(scenario))
    find_given(scenario, shape, sum(name in known for name in names), names, (), ())


def _require_classes(path: Path, names: Sequence[str], old: int) -> None:
    """Raise ScenarioError where the card of a model of bench's own says that its head's rows are other classes.

    names: of all classes, in the scenario's order, of which the first `old` are the old ones.
    """
    card = read_card(path)
    if card is None or card["classes"] in (tuple(names[:old]), tuple(names)):
        return
    apart = sorted(set(card["classes"]) ^ set(names[:old]))
    found = f"class {apart[0]!r} in only one of it and the old folder" if apart else "the old classes in another order"
    raise ScenarioError(
        f"{path}: model.checkpoint: its model.json names {len(card['classes'])} classes of its head's rows; found {found}. Name "
        "the folder of all the images that it was trained on."
    )


def assess(
    given: GivenCheckpoint,
    scenario: Scenario,
    old: Update,
    class_names: Sequence[str],
    device: torch.device,
    kept: Path,
) -> OldModel:
    """Measure a given checkpoint on the old classes' validation images; where either these or the test images were cut off
    and the others were not, on both. Nothing is charged for it.

    old: the data of stage 0. class_names: of the old classes, in the scenario's order. kept: folder of the counts, once
    they have been measured for this scenario, checkpoint, data and device.
    Raises ScenarioError if it is no better than guessing, unless the scenario says that this is fine.
    """
    base = given.base(0)
    assert base.given is not None
    counts: dict[Use, Counts] = {}
    held = {"validation": old.validation, "test": old.test}
    for use in HELD_OUT if len(given.cut_off) == 1 else HELD_OUT[:1]:
        file = kept / f"{use}.json"
        if file.is_file():
            counts[use] = json.loads(file.read_text(encoding="utf-8"))
        else:
            counts[use] = _measure(given, base, scenario, held[use], device)
    right, images = counts["validation"]
    chance = max(images) / sum(images)
    p = float(stats.binom.sf(sum(right) - 1, sum(images), chance))
    found = OldModel(
        file=given.path.name,
        read=base.given.read or "",
        normalization=normalization_in_words(scenario, old),
        classes=tuple(class_names),
        right=tuple(right),
        images=tuple(images),
        chance=chance,
        p=p,
        may_have_seen=given.may_have_seen,
        listed=given.listed,
        seen_test=_compare(given.cut_off[0], counts) if len(counts) == 2 else None,
    )
    if p > _SIGNIFICANCE and not scenario.model.untrained_is_fine:
        raise ScenarioError(
            f"{given.path}: model.checkpoint: predicts {sum(right)} of {sum(images)} validation images of the old classes "
            f"correctly, no better than guessing ({chance:.3f}; p = {p:.2g}). Check the order of its head's rows, and mean and "
            "std, or allow it (model.untrained_is_fine = true, or --untrained-is-fine)."
        )
    for use, measured in counts.items():
        if not (kept / f"{use}.json").is_file():
            make_folder(kept)
            write_atomically(kept / f"{use}.json", json.dumps(measured).encode())
    return found


def _compare(cut_off: Use, counts: dict[Use, Counts]) -> SeenTest:
    """Compare the accuracy on images that were cut off with that on the others, which the user held out."""
    unseen: Use = "test" if cut_off == "validation" else "validation"
    p = seen_p(counts[cut_off], counts[unseen])
    return SeenTest(
        use=cut_off,
        right=sum(counts[cut_off][0]),
        images=sum(counts[cut_off][1]),
        unseen_use=unseen,
        unseen_right=sum(counts[unseen][0]),
        unseen_images=sum(counts[unseen][1]),
        p=p,
        likely=p < _SIGNIFICANCE,
    )


def in_words(found: SeenTest) -> str:
    """Say what makes it likely that an old model was trained on held-out images."""
    return (
        f"its accuracy is {found.right / found.images:.4f} on {found.images} {found.use} images that were cut off the old ones, "
        f"but {found.unseen_right / found.unseen_images:.4f} on {found.unseen_images} {found.unseen_use} images that it cannot "
        f"have seen, further below than chance allows (Fisher's exact test, class by class: p = {found.p:.2g})"
    )


def normalization_in_words(scenario: Scenario, old: Update) -> str:
    """Say what is subtracted from each channel and what it is divided by, in 0..1, and where the numbers come from."""
    mean, std = (
        ", ".join(f"{value / 255:.4g}" for value in values.tolist())
        for values in (old.train.normalize.mean, old.train.normalize.std)
    )
    if scenario.model.preprocessing:
        source = f"model.preprocessing {scenario.model.preprocessing!r}"
    else:
        source = "of the old training images" if scenario.model.normalization is None else "model.mean and model.std"
    return f"normalized with mean {mean} and standard deviation {std} ({source})"


def _measure(
    given: GivenCheckpoint, base: Base, scenario: Scenario, images: HeldOutImages, device: torch.device
) -> tuple[list[int], list[int]]:
    channels, height, _ = given.image_shape
    model = build_model(given.model, channels, given.classes, 0, "base", height)
    model.load_state_dict(base.weights)
    model = model.to(device)
    stages = find_stages(model, head_keys(given.model, channels, given.classes, height))
    heads = [model.get_submodule(name) for name in stages[-1].modules]
    return measure_classes(model, heads, images, given.old, scenario.training.precision, device)
