"""What identifies a trial, and the model that it starts from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.catalog import REFERENCE
from bench.records.schema import BaseCost, GivenModel
from bench.scenario import Scenario
from bench.strategies.start import BeforeDecay
from bench.strategies.strategy import Entrant
from bench.streams import stream_seed


@dataclass(frozen=True)
class TrialSpec:
    """Identifies a trial. update: the stage that arrives; 0 trains a base model."""

    scenario: Scenario
    entrant: Entrant
    update: int
    seed: int

    @property
    def horizon(self) -> float:
        return self.entrant.strategy.horizon

    @property
    def stream_seed(self) -> int:
        """The seed of fresh weights, batches and augmentation; it differs between the updates of a chain."""
        return self.seed if self.update < 2 else stream_seed(self.seed, "update", self.update)

    @property
    def whole(self) -> bool:
        """Whether it trains on all old images even if only a share is available: true for the reference and base models."""
        return self.update == 0 or self.entrant.name == REFERENCE

    @property
    def keeps_before_decay(self) -> bool:
        """Whether the weights from before the learning rate began to fall are kept beside the last ones."""
        if self.update == 0:
            return self.scenario.training.base_decay is not None
        return isinstance(self.entrant.strategy.start, BeforeDecay) and self.update < self.scenario.updates


@dataclass(frozen=True)
class Base:
    """The model that an update starts from: its state dict on the CPU, and each old image's learning speed.

    This is the base model or, in a chain, the model left behind by the strategy's own previous update.
    learning_speed: float32, of the first images of the update's pool. cost: what the base model cost.
    previous_sha256: the fingerprint of the weights that the previous update left; None for the base model.
    given: set if the base model is the user's own; its speeds and cost are then unknown.
    before_decay: its weights from before its learning rate began to fall, on the CPU; None if they were not kept.
    """

    weights: dict[str, Tensor]
    learning_speed: Tensor | None
    cost: BaseCost | None
    previous_sha256: str | None = None
    given: GivenModel | None = None
    before_decay: dict[str, Tensor] | None = None
