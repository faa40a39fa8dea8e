from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from bench.catalog import find_strategy, strategy_names
from bench.models import build_model
from bench.strategies.schedule import OneCycle
from bench.strategies.selection import LearningSpeed, OldShare, Uniform
from bench.strategies.start import Keep
from bench.strategies.strategy import Entrant, Strategy, load_strategy
from bench.training.audit import AuditedPart, replay
from bench.training.spec import Base, TrialSpec
from tests.conftest import CPU


@dataclass(frozen=True)
class Scoring:
    """Scores every image of the pool each epoch with its own model, without charging it."""

    needs_speed: ClassVar[bool] = False
    first_epoch: int = 0

    def choose(self, pool, epoch, stream):
        if epoch >= self.first_epoch:
            model = build_model("resnet8", 1, 10, 0, "scoring")
            with torch.no_grad():
                model(torch.zeros(len(pool), 1, 8, 8))
        return torch.arange(len(pool))


@dataclass(frozen=True)
class LateScoring:
    """Trains on half of the images, and so for twice as many epochs; scores in the last one."""

    needs_speed: ClassVar[bool] = False

    def choose(self, pool, epoch, stream):
        if epoch >= 3:
            Scoring().choose(pool, epoch, stream)
        return torch.arange(len(pool) // 2)


@dataclass(frozen=True)
class Curvature:
    """Multiplies gradients with each other at every step, without charging it."""

    passes: ClassVar[int] = 0
    anchor: ClassVar[None] = None

    def apply(self, parameters, anchors):
        for parameter in parameters:
            if parameter.dim() == 4:
                flat = parameter.grad.flatten(1)
                flat.T @ (flat @ flat.T) @ flat


def audited(entrant: Entrant, short, updates, base: Base) -> list[AuditedPart]:
    spec = TrialSpec(short, entrant, 1, 0)
    return replay(spec, updates[1], base if entrant.strategy.needs_base else None, CPU)[1]


@pytest.mark.parametrize("name", strategy_names())
def test_every_shipped_strategy_is_charged_what_is_counted(name: str, short, updates, base: Base):
    shipped = load_strategy(find_strategy(name))
    # Both of the scenario's epochs, whatever the strategy's own horizon.
    whole = replace(shipped, strategy=replace(shipped.strategy, horizon=1.0))
    parts = audited(whole, short, updates, base)
    assert [part.name.split(",")[0] for part in parts][:3] == ["start", "epoch 0", "epoch 1"]
    assert all(part.counted == part.charged for part in parts)
    assert all(part.counted for part in parts[1:])


@pytest.mark.parametrize("selection", [Uniform(), OldShare(0.5), LearningSpeed(0.2, 0.1)])
def test_every_selection_is_charged_what_is_counted(selection, short, updates, base: Base):
    strategy = Strategy("Selecting", Keep(), OneCycle(0.2), selection=selection)
    assert all(part.counted == part.charged for part in audited(Entrant("selecting", strategy), short, updates, base))


def test_an_uncharged_scoring_pass_is_caught(short, updates, base: Base):
    strategy = Strategy("Cheat", Keep(), OneCycle(0.2), selection=Scoring())
    _start, first, second, *_ = audited(Entrant("cheat", strategy), short, updates, base)
    assert not first.agrees
    assert not second.agrees
    assert first.counted > first.charged


def test_a_scoring_pass_that_only_later_epochs_make_is_caught(short, updates, base: Base):
    strategy = Strategy("Cheat", Keep(), OneCycle(0.2), selection=Scoring(first_epoch=1))
    parts = audited(Entrant("cheat", strategy), short, updates, base)
    assert [part.agrees for part in parts] == [True, True, False]


def test_a_scoring_pass_in_the_last_epoch_of_a_smaller_choice_is_caught(short, updates, base: Base):
    strategy = Strategy("Cheat", Keep(), OneCycle(0.2), selection=LateScoring())
    parts = audited(Entrant("cheat", strategy), short, updates, base)
    assert [part.name.split(",")[0] for part in parts] == ["start", "epoch 0", "epoch 1", "epoch 3"]
    assert [part.agrees for part in parts] == [True, True, True, False]


def test_uncharged_products_in_a_regularizer_are_caught(short, updates, base: Base):
    strategy = Strategy("Cheat", Keep(), OneCycle(0.2), regularizer=Curvature())
    assert not audited(Entrant("cheat", strategy), short, updates, base)[1].agrees


def test_a_tenth_of_a_percent_is_allowed_and_more_is_not():
    assert AuditedPart("", 100_000, 99_900).agrees
    assert not AuditedPart("", 100_000, 99_899).agrees
    assert not AuditedPart("", 100_000, 100_200).agrees
    assert AuditedPart("nothing", 0, 0).agrees
    assert not AuditedPart("nothing seen", 0, 5).agrees
