"""The phases of a trial: which part of the network is trained, what it costs, and where its inputs come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.feed.augment import Augmentation, PaddedCrop
from bench.data.feed.batches import TrainingImages
from bench.data.feed.features import FeatureShape, KeptFeatures
from bench.errors import StrategyError
from bench.metering.flops import StepFlops
from bench.models.stages import Parts, as_features
from bench.strategies.freezing import Features, Freezing
from bench.strategies.strategy import running
from bench.training.counted import count_part_pass, count_part_step
from bench.training.device import autocast

Inputs = TrainingImages | KeptFeatures


@dataclass(frozen=True)
class Augmented:
    """What phases depend on of training images. image_shape: (channels, height, width)."""

    augmentation: Augmentation
    image_shape: tuple[int, int, int]


@dataclass(frozen=True)
class Phase:
    """Steps from `begin` on that train the same part of the network.

    through: the last frozen stage, or None. frozen: how many stages that are. trained: the rest of the network. forward: what
    turns a batch of inputs into logits, compiled if asked for. prefix: the frozen part, or what lies between the features kept
    before and those kept now; None if nothing is frozen. kept: shapes of the features that are kept, or None. pass_flops: of
    making one image's features. step: one image's FLOPs in a step. inputs: shape of one image's input. stages: if not empty,
    `forward` returns a pair: logits, and the features of each of these stages.
    """

    begin: int
    through: str | None
    frozen: int
    trained: nn.Module
    forward: Callable[[Tensor], Any]
    parameters: Sequence[nn.Parameter]
    step: StepFlops
    inputs: tuple[int, ...]
    prefix: nn.Module | None = None
    kept: FeatureShape | None = None
    pass_flops: int = 0
    stages: tuple[str, ...] = ()

    @property
    def compiled(self) -> bool:
        return hasattr(self.forward, "_orig_mod")

    @property
    def eager(self) -> Phase:
        """Return the same phase, uncompiled: a counter cannot see into compiled code."""
        return replace(self, forward=getattr(self.forward, "_orig_mod", self.forward))

    @property
    def features(self) -> Features | None:
        """Return whether the frozen part's results are kept; None if nothing is frozen."""
        if not self.frozen:
            return None
        if self.kept is None:
            return "recomputed"
        return "kept padded" if self.kept.padded else "kept"


class _BehindFrozen(nn.Module):
    """A frozen part, which takes no gradient, and the part that is trained."""

    def __init__(self, prefix: nn.Module, trained: nn.Module) -> None:
        super().__init__()
        self.prefix = prefix
        self.trained = trained

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.prefix(x)
        return self.trained(features)


class _WithFeatures(nn.Module):
    """A phase's network, which also returns features of stages: of a frozen part, then of the part that is trained."""

    def __init__(self, prefix: nn.Module | None, trained: nn.Module) -> None:
        super().__init__()
        self.prefix = prefix
        self.trained = trained

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        early: list[Tensor] = []
        if self.prefix is not None:
            with torch.no_grad():
                x, early = self.prefix(x)
        logits, late = self.trained(x)
        return logits, [*early, *late]


def plan_phases(
    freezing: Freezing,
    steps: int,
    parts: Parts,
    images: TrainingImages | Augmented,
    whole_step: StepFlops,
    compiled: bool,
    stages: Sequence[str] = (),
) -> list[Phase]:
    """Return the phases of a trial of `steps` steps.

    whole_step: of the whole network. stages: whose features each phase's forward pass is to return. Raises StrategyError for a
    plan that does not begin at step 0 and rise, for an unknown stage, and for one where the network cannot be cut, or whose
    features cannot be kept.
    """
    with running(freezing):
        plan = list(freezing.phases(steps))
    begins = [begin for begin, _ in plan]
    if not plan or begins[0] != 0 or begins != sorted(set(begins)) or begins[-1] >= max(1, steps):
        raise StrategyError(
            f"{type(freezing).__name__}: phases begin at steps {begins}, expected from 0 on, rising, below {steps}. Fix it."
        )
    keeps = freezing.features != "recomputed" and isinstance(images.augmentation, PaddedCrop)
    padded = freezing.features == "kept padded"
    found: list[Phase] = []
    for begin, through in plan:
        frozen = 0 if through is None else _place(parts, through)
        if not frozen:
            whole = compile_module(parts.model, compiled)
            every = list(parts.model.parameters())
            found.append(Phase(begin, None, 0, parts.model, whole, every, whole_step, images.image_shape))
            continue
        before = found[-1] if keeps and found and found[-1].kept and found[-1].frozen < frozen else None
        found.append(_frozen_phase(begin, through, frozen, parts, images, before, keeps, padded, compiled))
    return [_with_features(phase, parts, stages, compiled) for phase in found] if stages else found


def _with_features(phase: Phase, parts: Parts, stages: Sequence[str], compiled: bool) -> Phase:
    """Return the phase with a forward pass that also returns the features of these stages."""
    places = sorted({parts.place(name, "objective: stages"): name for name in stages}.items())
    first = phase.frozen if phase.kept else 0
    if places[0][0] < first:
        raise StrategyError(
            f"objective: stages: {places[0][1]} lies within the frozen part, of which only what {phase.through} returns is kept, "
            "expected that stage or a later one. Change it, or set freezing.features=recomputed."
        )
    early = [place for place, _ in places if place < phase.frozen]
    late = [place for place, _ in places if place >= phase.frozen]
    prefix = None
    if phase.frozen and not phase.kept:
        parts.model.eval()
        prefix = parts.between(0, phase.frozen, early)
        parts.model.train()
    both = _WithFeatures(prefix, parts.between(phase.frozen, None, late))
    return replace(phase, forward=compile_module(both, compiled), stages=tuple(name for _, name in places))


def _frozen_phase(
    begin: int,
    through: str | None,
    frozen: int,
    parts: Parts,
    images: TrainingImages | Augmented,
    before: Phase | None,
    keeps: bool,
    padded: bool,
    compiled: bool,
) -> Phase:
    parts.model.eval()
    first = before.frozen if before else 0
    prefix = parts.between(first, frozen)
    parts.model.train()
    trained = parts.between(frozen)
    parameters = parts.parameters(frozen)
    entering = before.inputs if before else images.image_shape
    flops, features = count_part_pass(parts, prefix, first, frozen, entering)
    step = count_part_step(parts, trained, frozen, features)
    if not keeps:
        both = _BehindFrozen(prefix, trained)
        behind = StepFlops(step.image + flops, step.batch)
        return Phase(begin, through, frozen, both, compile_module(both, compiled), parameters, behind, entering, prefix)
    assert isinstance(images.augmentation, PaddedCrop)
    assert before is None or before.kept is not None
    channels, height, width = images.image_shape
    padding = images.augmentation.padding
    margin = 2 * padding if padded else 0
    whole = before.kept.whole if before and before.kept else (channels, height + margin, width + margin)
    try:
        pass_flops, kept = count_part_pass(parts, prefix, first, frozen, whole)
    except (RuntimeError, AssertionError, ValueError) as cause:  # a model's own ways to refuse a size
        raise StrategyError(
            f"freezing: {type(parts.model).__name__} takes no padded images, so their features cannot be kept. "
            "Set freezing.features=kept."
        ) from cause
    if len(kept) != 3 or (padding and features[1:] == (1, 1)):
        raise StrategyError(
            f"freezing: {through} returns features of shape {features}, from which no crop can be cut. "
            "Set freezing.features=recomputed, or freeze fewer stages."
        )
    shape = FeatureShape(kept, features, padded)
    forward = compile_module(trained, compiled)
    return Phase(begin, through, frozen, trained, forward, parameters, step, features, prefix, shape, pass_flops)


def _place(parts: Parts, through: str) -> int:
    return len(parts.names) - 1 if through == "body" else parts.place(through)


def compile_module(module: nn.Module, compiled: bool) -> Callable[[Tensor], Any]:
    """Return the module, compiled if asked for."""
    # A full graph: a model that cannot be compiled as a whole is an error, rather than running partly uncompiled.
    return torch.compile(module, fullgraph=True) if compiled else module


def set_modes(phase: Phase, model: nn.Module) -> None:
    """Put the network into training mode, and its frozen part into evaluation mode."""
    model.train()
    phase.trained.train()
    if phase.prefix is not None:
        phase.prefix.eval()


def keep_features(
    phase: Phase,
    source: Inputs,
    precision: str,
    charge: Callable[[int], None],
    folder: Path | None,
) -> KeptFeatures:
    """Return the store of a phase's features, still empty. source: of what its prefix takes. charge: called with FLOPs."""
    assert phase.prefix is not None
    assert phase.kept is not None
    prefix, device = phase.prefix, source.device

    def compute(x: Tensor) -> Tensor:
        prefix.eval()  # also in a later phase, where this part is no longer the last frozen one
        with torch.no_grad(), autocast(device, precision):
            return as_features(prefix(x))

    return KeptFeatures(source, compute, phase.kept, lambda count: charge(count * phase.pass_flops), folder)
