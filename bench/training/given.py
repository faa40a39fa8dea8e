"""A user's own old model, used instead of a base model trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import StrategyError
from bench.models.checkpoint import checkpoint_sha256, fit_checkpoint
from bench.records.schema import GivenModel
from bench.scenario import Scenario
from bench.strategies.strategy import Entrant
from bench.training.learner import Base


@dataclass(frozen=True)
class GivenCheckpoint:
    """A scenario's `model.checkpoint`.

    image_shape: (channels, height, width). old, classes: number of classes in stage 0, and in all stages.
    """

    path: Path
    sha256: str
    model: str
    image_shape: tuple[int, int, int]
    old: int
    classes: int

    def base(self, seed: int) -> Base:
        """Return it as the base model of a seed, from which the head's rows for new classes are drawn.

        What it cost, and how fast it learned each image, is unknown. Raises ScenarioError if it does not fit.
        """
        weights = fit_checkpoint(self.path, self.model, self.image_shape, self.old, self.classes, seed)
        given = GivenModel(file=self.path.name, sha256=self.sha256)
        return Base(weights=weights, learning_speed=None, cost=None, given=given)


def find_given(
    scenario: Scenario, image_shape: tuple[int, int, int], old: int, classes: int, entrants: Sequence[Entrant]
) -> GivenCheckpoint | None:
    """Return a scenario's checkpoint, read and checked; None if it names none.

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
    given = GivenCheckpoint(path, checkpoint_sha256(path), scenario.model.name, image_shape, old, classes)
    given.base(0)
    return given
