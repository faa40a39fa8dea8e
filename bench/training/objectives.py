"""An objective at work in a trial: what its hooks are given, the state that it keeps, and checks of what it returns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.feed.update import Update
from bench.errors import StrategyError
from bench.strategies.objective import Batch, Objective, Setting
from bench.strategies.strategy import running
from bench.training.device import autocast
from bench.training.phases import Phase, compile_module


class Hooks:
    """The hooks of a trial's objective. What they read from one step to the next stays where it is in memory.

    progress: float32 (), the share of the steps that are done. images: crops of the batch's images, for phases that train on
    kept features, if the objective needs the old model; else None. flops: what a step of each phase costs more than without.
    """

    def __init__(
        self,
        objective: Objective,
        model: nn.Module,
        update: Update,
        old_weights: Mapping[str, Tensor] | None,
        setting: Setting,
        precision: str,
        compiled: bool,
    ) -> None:
        """model: on the device, already. old_weights: the old model's; None, where only costs are asked for."""
        self._objective = objective
        self._name = type(objective).__name__
        self._model = model
        self._device = update.train.device
        self._precision = precision
        self._classes, self._old_classes = setting.classes, setting.old_classes
        self._new = update.pool.new.to(self._device)
        self._first = self._initial_state(setting)
        self.progress = torch.zeros((), device=self._device)
        self._state = {name: value.clone() for name, value in self._first.items()}
        self._anchors = {
            name: torch.zeros_like(value) for name, value in model.named_parameters() if objective.anchor is not None
        }
        self._old: nn.Module | None = None
        self._old_forward: Callable[[Tensor], Tensor] | None = None
        if objective.needs_old_logits or objective.needs_old_model:
            self._old = copy.deepcopy(model).eval().requires_grad_(False)
            if old_weights is not None:
                self._old.load_state_dict(dict(old_weights))
            self._old_forward = compile_module(self._old, compiled)
        self.images: Tensor | None = None
        self.flops: list[int] = []
        # In how many steps the loss, or a gradient, was finite before the hook and not after it.
        self._broken = torch.zeros(2, device=self._device)
        self._adjusts = type(objective).adjust is not Objective.adjust

    @property
    def needs_images(self) -> bool:
        """Whether crops of images are needed beside kept features."""
        return self._old is not None

    def _initial_state(self, setting: Setting) -> dict[str, Tensor]:
        with running(self._objective, "initial_state"):
            found: Any = self._objective.initial_state(setting)
            fine = isinstance(found, Mapping) and all(isinstance(each, str) for each in found)
        if not fine:
            raise self._error("initial_state", f"returned {_shown(found)}, expected a dict of tensors by name")
        for name, value in found.items():
            if not isinstance(value, Tensor):
                raise self._error("initial_state", f"{name!r} is {_shown(value)}, expected a tensor")
        return {name: value.detach().clone().to(self._device) for name, value in found.items()}

    def begin(self, anchors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Keep the anchors, before the first step. anchors: state dicts by what `Objective.anchor` calls them."""
        for name, anchor in self._anchors.items():
            anchor.copy_(anchors[str(self._objective.anchor)][name])

    def forget(self) -> None:
        """Go back to the state before the first step."""
        for name, value in self._state.items():
            value.copy_(self._first[name])
        self.progress.zero_()
        self._broken.zero_()

    def loss(
        self,
        phase: Phase,
        inputs: Tensor,
        labels: Tensor,
        indices: Tensor,
        logits: Tensor,
        losses: Tensor,
        features: Mapping[str, Tensor],
    ) -> tuple[Tensor, Batch]:
        """Return what a step minimizes, (), and the batch as `adjust` will see it. Never waits for the device.

        Raises StrategyError for what is no loss.
        """
        images = self.images if phase.kept else inputs
        old_logits = None
        if self._objective.needs_old_logits:
            assert images is not None
            old = self._old_forward if phase.compiled else self._old
            assert old is not None
            with torch.no_grad(), autocast(self._device, self._precision):
                old_logits = old(images)[:, : self._old_classes].float()

        def forward(inputs: Tensor) -> Tensor:
            with autocast(self._device, self._precision):
                found = phase.forward(inputs)
            return (found[0] if phase.stages else found)[:, : self._classes].float()

        batch = Batch(
            inputs=inputs,
            images=images,
            labels=labels,
            indices=indices,
            new=self._new[indices],
            logits=logits,
            losses=losses,
            features=MappingProxyType(dict(features)),
            old_logits=old_logits,
            progress=self.progress,
            model=self._model,
            old_model=self._old,
            anchors=MappingProxyType(self._anchors),
            state=MappingProxyType(self._state),
            forward=forward,
        )
        with self._running("loss", batch):
            found: Any = self._objective.loss(batch)
        if not isinstance(found, Tensor) or found.shape not in ((), losses.shape) or not found.is_floating_point():
            raise self._error(
                "loss", f"returned {_shown(found)}, expected a number, (), or one for each image, {tuple(losses.shape)}"
            )
        if found.device != losses.device:
            raise self._error("loss", f"returned a tensor on {found.device}, expected it on {losses.device}")
        if not found.requires_grad:
            raise self._error(
                "loss", "returned what no weight has a gradient from, expected it to depend on the batch's logits"
            )
        whole = found.float().mean()
        self._broken[0] += losses.detach().isfinite().all() & ~whole.detach().isfinite()
        return whole, batch

    @torch.no_grad()
    def adjust(self, gradients: Mapping[str, Tensor], batch: Batch) -> None:
        """Let the objective change gradients in place. Never waits for the device."""
        if not self._adjusts:
            return
        finite = _finite(gradients)
        shown = dict(gradients)
        with self._running("adjust", batch):
            found: Any = self._objective.adjust(shown, batch)
        other = next((name for name, value in gradients.items() if shown.get(name) is not value), None)
        if found is not None or other or len(shown) != len(gradients):
            what = f"returned {_shown(found)}" if found is not None else f"replaced {other or 'a gradient'}"
            raise self._error("adjust", f"{what}, expected changes in place, such as gradient.mul_(0.5)")
        self._broken[1] += finite & ~_finite(gradients)

    @contextmanager
    def _running(self, hook: str, batch: Batch) -> Iterator[None]:
        """Raise StrategyError if what runs inside fails, or writes where it must not."""
        weights = [*self._model.parameters(), *(self._old.parameters() if self._old else ())]
        read_only = [batch.inputs, batch.labels, batch.indices, *weights]
        before = [each._version for each in read_only]
        with running(self._objective, hook):
            yield
        if [each._version for each in read_only] != before:
            raise self._error(hook, "changed weights, inputs or labels in place, expected them to be read only")
        for name, value in self._state.items():
            if value.requires_grad:
                raise self._error(hook, f"wrote what has a gradient into state[{name!r}], expected it detached")

    def check(self, steps: int) -> None:
        """Raise StrategyError if a hook made what is not finite since the last check. steps: done so far. Waits once."""
        loss, gradient = (int(each) for each in self._broken.tolist())
        self._broken.zero_()
        for hook, count, what in (("loss", loss, "the loss"), ("adjust", gradient, "a gradient")):
            if count:
                raise self._error(
                    hook,
                    f"made {what} NaN or infinite at a step up to {steps}, expected it as finite as what it was given",
                )

    def charge(self, phase: int, whole: int, plain: int, step: int) -> None:
        """Keep what a phase's step costs more than without the hooks. whole, plain: counted with and without them.

        step: of the phase, in FLOPs. Raises StrategyError where it costs less.
        """
        if whole < plain:
            raise self._error(
                "loss",
                f"leaves a part of the network without a gradient in phase {phase + 1} ({plain - whole:,} FLOPs fewer than the "
                f"{step:,} of a step), expected all that is trained to have one; what is not to be trained can be frozen",
            )
        self.flops.append(whole - plain)

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs."""
        return {"state": self._state, "anchors": self._anchors}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go back to what `state` returned."""
        for mine, theirs in ((self._state, saved["state"]), (self._anchors, saved["anchors"])):
            for name, value in mine.items():
                value.copy_(theirs[name])

    def _error(self, hook: str, what: str) -> StrategyError:
        return StrategyError(f"{self._name}: {hook}: {what}. Fix the strategy's file.")


def _finite(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return whether all gradients are finite, bool (), in a few kernels."""
    norms = torch._foreach_norm(list(gradients.values()), float("inf"))  # pyright: ignore
    return torch.stack(list(norms)).isfinite().all()


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    return " ".join(repr(value).split())[:60]
