"""A user's own old model, used instead of a base model trained here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import stats

from bench.data.feed.update import Update
from bench.errors import ScenarioError, StrategyError
from bench.files import make_folder, write_atomically
from bench.models.build import build_model, head_keys
from bench.models.checkpoint import checkpoint_sha256, fit_checkpoint
from bench.models.stages import find_stages
from bench.records.schema import GivenModel
from bench.scenario import Scenario, Use
from bench.strategies.strategy import Entrant
from bench.training.evaluate import measure_classes
from bench.training.learner import Base

# A model passes for untrained if guessing is as accurate as it with at least this probability.
_SIGNIFICANCE = 0.01


@dataclass(frozen=True)
class OldModel:
    """What is known of a given checkpoint before anything is trained.

    file: its name. read: how its weights were taken from the file, in words. normalization: what it is fed, in words.
    right, images: of each old class, how many validation images it predicts correctly, and how many there are.
    chance: the accuracy of always answering the most frequent class. p: the probability that guessing with this accuracy gets at
    least as many right (exact, binomial). may_have_seen: for which uses old images were held out of a folder that it may have
    been trained on whole.
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
        return lines


@dataclass(frozen=True)
class GivenCheckpoint:
    """A scenario's `model.checkpoint`.

    image_shape: (channels, height, width). old, classes: number of classes in stage 0, and in all stages. may_have_seen: as in
    OldModel.
    """

    path: Path
    sha256: str
    model: str
    image_shape: tuple[int, int, int]
    old: int
    classes: int
    weights: str | None = None
    may_have_seen: tuple[Use, ...] = ()

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
    classes: int,
    entrants: Sequence[Entrant],
    cut_off: tuple[Use, ...],
) -> GivenCheckpoint | None:
    """Return a scenario's checkpoint, read and checked; None if it names none.

    cut_off: for which uses old images were cut off: the model may have been trained on them unless the scenario lists what it was
    trained on.
    Raises ScenarioError if it cannot be read or does not fit, StrategyError if an entrant needs learning speeds.
    """
    if scenario.model.checkpoint is None:
        return None
    for entrant in entrants:
        if entrant.strategy.selection.needs_speed:
            raise StrategyError(
                f"{entrant.name}: {type(entrant.strategy.selection).__name__} needs each old image's learning speed, which a "
                "given checkpoint does not have. Choose another, such as optimized, or drop the checkpoint."
            )
    path = (scenario.root or Path()) / scenario.model.checkpoint
    seen = cut_off if scenario.model.trained_on is None else ()
    given = GivenCheckpoint(
        path, checkpoint_sha256(path), scenario.model.name, image_shape, old, classes, scenario.model.weights, seen
    )
    given.base(0)
    return given


def assess(
    given: GivenCheckpoint,
    scenario: Scenario,
    old: Update,
    class_names: Sequence[str],
    device: torch.device,
    kept: Path,
) -> OldModel:
    """Measure a given checkpoint on the old classes' validation images. Nothing is charged for it.

    old: the data of stage 0. class_names: of the old classes, in the scenario's order. kept: file that holds the counts, once
    they have been measured for this scenario, checkpoint, data and device.
    Raises ScenarioError if it is no better than guessing, unless the scenario says that this is fine.
    """
    base = given.base(0)
    assert base.given is not None
    if kept.is_file():
        right, images = json.loads(kept.read_text(encoding="utf-8"))
    else:
        right, images = _measure(given, base, scenario, old, device)
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
    )
    if p > _SIGNIFICANCE and not scenario.model.untrained_is_fine:
        raise ScenarioError(
            f"{given.path}: model.checkpoint: predicts {sum(right)} of {sum(images)} validation images of the old classes "
            f"correctly, no better than guessing ({chance:.3f}; p = {p:.2g}). Check the order of its head's rows, and mean and "
            "std, or set model.untrained_is_fine = true."
        )
    if not kept.is_file():
        make_folder(kept.parent)
        write_atomically(kept, json.dumps([right, images]).encode())
    return found


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
    given: GivenCheckpoint, base: Base, scenario: Scenario, old: Update, device: torch.device
) -> tuple[list[int], list[int]]:
    channels, height, _ = given.image_shape
    model = build_model(given.model, channels, given.classes, 0, "base", height)
    model.load_state_dict(base.weights)
    model = model.to(device)
    stages = find_stages(model, head_keys(given.model, channels, given.classes, height))
    heads = [model.get_submodule(name) for name in stages[-1].modules]
    return measure_classes(model, heads, old.validation, given.old, scenario.training.precision, device)
