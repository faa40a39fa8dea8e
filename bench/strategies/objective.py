"""The objective: what a step minimizes, and what happens to the gradients before the optimizer sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bench.data.feed.batches import Pool
from bench.errors import StrategyError


@dataclass(frozen=True)
class Setting:
    """What a trial is, as far as the state of an objective may depend on it.

    pool: labels of all training images, and which are new; its other fields are None. classes: all seen so far; old_classes: of
    those, the ones known before this update; they come first. batch_size: images in a step. steps: of the whole trial.
    parameters: the shape of each of the model's parameters, by name.
    """

    pool: Pool
    classes: int
    old_classes: int
    batch_size: int
    steps: int
    parameters: Mapping[str, torch.Size]


@dataclass(frozen=True)
class Batch:
    """What the hooks of an objective are given in one step. Tensors are on the trial's device.

    inputs: what the trained part of the network was given: crops of images, float32 (batch, channels, height, width),
    normalized; in a phase that trains on kept features, crops of those.
    images: the crops of images; None where features are kept, unless the objective needs the old model.
    labels: int64 (batch,). indices: int64 (batch,), places in the pool. new: bool (batch,), whether it arrived with this update.
    logits: float32 (batch, classes seen so far), with gradient.
    losses: float32 (batch,), with gradient: each image's cross-entropy, with the scenario's label smoothing, times the weight
    that the selection gave it.
    features: by the name of each stage in `stages`, what it returned in this forward pass; with gradient, unless frozen.
    old_logits: float32 (batch, old classes), the old model's, in evaluation mode, on the same crops; None unless needed.
    progress: float32 (), the share of the trial's steps that are done, in 0..1. A tensor, since a step that is recorded would
    repeat a number.
    model: the whole network, to be read. old_model: the old one, in evaluation mode; None unless needed.
    anchors: by name, of all parameters, the weights that `anchor` asks for. state: the tensors of `initial_state`, by name, to
    be written in place.
    forward: inputs as above -> logits as above, by the network as it is trained now; this is charged, backward pass included.
    """

    inputs: Tensor
    images: Tensor | None
    labels: Tensor
    indices: Tensor
    new: Tensor
    logits: Tensor
    losses: Tensor
    features: Mapping[str, Tensor]
    old_logits: Tensor | None
    progress: Tensor
    model: nn.Module
    old_model: nn.Module | None
    anchors: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    forward: Callable[[Tensor], Tensor]


class Objective:
    """The ninth aspect. Derive a frozen dataclass from it; its fields go into the strategy's hash. Leave out hooks at will.

    What a hook runs on a network is counted by bench, once per phase, before the clock starts, on a made-up batch, and charged
    for each step. So a hook must do the same work in each step of a phase; whether it does is audited. Work on batches without
    matrix products is free, as everywhere; `passes` says how many FLOPs a hook spends on each trained parameter in a step.

    stages: whose features the batch is to have, see bench flops MODEL --stages. needs_old_logits: whether it is to have the
    old model's logits, a forward pass that is charged; needs_old_model: the old model itself. anchor: whether it is to have
    the weights from the "start" of the update, or those of the "fresh" network.
    """

    stages: ClassVar[tuple[str, ...]] = ()
    needs_old_logits: ClassVar[bool] = False
    needs_old_model: ClassVar[bool] = False
    anchor: ClassVar[Literal["start", "fresh"] | None] = None
    passes: ClassVar[int] = 0

    def loss(self, batch: Batch) -> Tensor:
        """Return what the step minimizes: a number, (), or one for each image, (batch,), of which the mean is taken.

        On the clock, once a step, after the forward pass and before the backward pass. `weights * batch.losses` weighs images,
        `batch.losses.mean() + term` adds a term. The teacher's loss is added afterwards.
        Every trained parameter must get a gradient from it. It must not change weights, inputs or labels, nor keep anything
        from step to step but in batch.state. Randomness: torch's functions; while a trial trains, they draw from its own
        stream. In a recorded step it is called once, and its operators are repeated, so it may not ask for a tensor's value.
        """
        return batch.losses.mean()

    def adjust(self, gradients: Mapping[str, Tensor], batch: Batch) -> None:
        """Change gradients in place. On the clock, once a step, after the regularizer and before the optimizer.

        gradients: of the trained parameters, by name, in the model's order. What holds for `loss` holds here. PyTorch records no
        graph meanwhile, unless torch.enable_grad() asks for it.
        """

    def initial_state(self, setting: Setting) -> Mapping[str, Tensor]:
        """Return tensors to keep from step to step, by name, on the CPU, as they are before the first. Off the clock, once.

        They are moved to the device, handed to the hooks as batch.state, kept in checkpoints, and restored bit by bit.
        """
        return {}


def require_declared(objective: Objective) -> None:
    """Raise StrategyError if what an objective declares, besides its hooks, is of another kind than it must be."""
    declared = {
        "stages": (isinstance(objective.stages, tuple), "a tuple of names"),
        "anchor": (objective.anchor in (None, "start", "fresh"), "'start', 'fresh' or None"),
        "passes": (isinstance(objective.passes, int) and objective.passes >= 0, "a whole number, 0 or more"),
    }
    for name, (fine, expected) in declared.items():
        if not fine:
            found = getattr(objective, name)
            raise StrategyError(f"{type(objective).__name__}: {name}: found {found!r}, expected {expected}. Change it.")


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """The scenario's loss, and gradients as they are."""
