"""Fitting the head before the first step: features of some training images, and the strategy's fit on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.feed.update import Update
from bench.errors import StrategyError
from bench.metering.ledger import Ledger
from bench.models.stages import Parts
from bench.strategies.head import Head
from bench.strategies.strategy import running
from bench.training.counted import count_part_pass
from bench.training.phases import Inputs, Phase

_BATCH = 500  # images


@dataclass(frozen=True)
class Body:
    """What lies before a network's head. part: takes the first phase's inputs. flops: of one image's pass through it."""

    part: nn.Module
    head: nn.Linear
    flops: int


def body_before_head(parts: Parts, phase: Phase) -> Body:
    """Return what turns the inputs of a trial's first phase into what enters the head.

    Features that are kept anyway are not computed twice. Raises StrategyError if the head is not one linear layer.
    """
    head = parts.head()
    parts.model.eval()
    begin, end = phase.frozen if phase.kept else 0, len(parts.names) - 1
    part = parts.between(begin, end)
    flops, shape = count_part_pass(parts, part, begin, end, phase.inputs)
    parts.model.train()
    if len(shape) != 1:
        raise StrategyError(f"head: features of shape {shape} enter it, expected a vector. Choose RandomHead().")
    return Body(part, head, flops)


def fit_head(head: Head, body: Body, inputs: Inputs, update: Update, ledger: Ledger, stream: Any) -> None:
    """Replace rows of the network's head by what the strategy fits, and charge the passes and the fit.

    inputs: of the first phase. stream: the strategy's. Raises StrategyError if the fit returns other shapes, or is not finite.
    """
    layer = body.head
    chosen = torch.randperm(len(update.pool), generator=stream("head"))[: head.images]
    body.part.eval()
    with torch.no_grad():
        found = [body.part(inputs.plain(part.to(inputs.device))) for part in chosen.split(_BATCH)]
    body.part.train()
    features = torch.cat(found).float()
    ledger.charge_head(len(chosen) * body.flops)
    classes = update.classes
    weight, bias = layer.weight.detach()[:classes].float(), _bias(layer)[:classes].float()
    new = torch.arange(classes, device=features.device) >= update.old_classes
    with running(head):
        labels = inputs.labels[chosen.to(inputs.device)]
        fitted = head.fit(features, labels, weight.clone(), bias.clone(), new, ledger.charge_head)
        _check(head, fitted, weight, bias)
    rows = new if head.rows == "new" else torch.ones_like(new)
    with torch.no_grad():
        layer.weight[:classes] = torch.where(rows[:, None], fitted[0], weight).to(layer.weight.dtype)
        if layer.bias is not None:
            layer.bias[:classes] = torch.where(rows, fitted[1], bias).to(layer.bias.dtype)


def _bias(layer: nn.Linear) -> Tensor:
    return layer.bias.detach() if layer.bias is not None else layer.weight.new_zeros(len(layer.weight))


def _check(head: Head, fitted: Any, weight: Tensor, bias: Tensor) -> None:
    shapes = tuple(tuple(each.shape) for each in fitted) if isinstance(fitted, tuple) else type(fitted).__name__
    if shapes != (tuple(weight.shape), tuple(bias.shape)):
        raise StrategyError(
            f"{type(head).__name__}: fit returned {shapes}, expected {tuple(weight.shape)} and {tuple(bias.shape)}. Fix it."
        )
    if not all(bool(each.isfinite().all()) for each in fitted):
        raise StrategyError(f"{type(head).__name__}: fit returned values that are not finite. Regularize it more.")
