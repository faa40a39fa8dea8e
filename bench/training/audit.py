"""Auditing the ledger: the same steps once more, under a counter that sees every operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.data.feed.update import Update
from bench.metering.formulas import exact_counter
from bench.training.learner import Base, Learner, TrialSpec

# RULES 17: the ledger agrees with a really counted step to within 0.1 %.
TOLERANCE = 0.001
_STEPS = 2


@dataclass(frozen=True)
class AuditedPart:
    """A part of a trial, replayed. counted: FLOPs that the counter saw. charged: those that the ledger was told of."""

    name: str
    counted: int
    charged: int

    @property
    def disagreement(self) -> float:
        """Return how far apart the two are, as a share of what was counted."""
        return abs(self.counted - self.charged) / max(self.counted, self.charged, 1)

    @property
    def agrees(self) -> bool:
        return self.disagreement <= TOLERANCE


def replay(
    spec: TrialSpec, update: Update, base: Base | None, device: torch.device
) -> tuple[Learner, list[AuditedPart]]:
    """Replay a trial's start, and the first steps of its first, second and last epoch, each with its selection of images.

    The last by the number of images that the first one chose. Eager, since a counter cannot look into compiled code. What a
    counter sees depends on shapes alone, so a stand-in for `base` will do. Returns the learner as the replay left it, and what
    was found.
    """
    learner = Learner(spec, update, base, device, compiled=False)
    parts = [_count("start", learner, learner.start), _replay_epoch(learner, 0)]
    last = (learner.total_steps - 1) // learner.epoch_steps
    parts += [_replay_epoch(learner, epoch) for epoch in sorted({min(1, last), last} - {0})]
    return learner, parts


def _replay_epoch(learner: Learner, epoch: int) -> AuditedPart:
    steps = max(1, min(_STEPS, learner.total_steps - learner.ledger.steps))
    learner.seek(epoch)
    return _count(f"epoch {epoch}, {steps} steps", learner, lambda: learner.train(steps))


def _count(name: str, learner: Learner, action: Callable[[], object]) -> AuditedPart:
    before = learner.ledger.train_flops
    with exact_counter() as counter:
        action()
    return AuditedPart(name, counter.get_total_flops(), learner.ledger.train_flops - before)
