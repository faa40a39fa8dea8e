"""Auditing the ledger: the same steps again, under a counter that sees every operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.data.feed.update import Update
from bench.metering.formulas import exact_counter
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec

# RULES 2: the ledger agrees with an actually counted step to within 0.1 %.
TOLERANCE = 0.001
_STEPS = 2


@dataclass(frozen=True)
class AuditedPart:
    """A replayed part of a trial. counted: FLOPs that the counter saw. charged: FLOPs charged to the ledger."""

    name: str
    counted: int
    charged: int

    @property
    def disagreement(self) -> float:
        """Return the difference between the two, as a share of the larger."""
        return abs(self.counted - self.charged) / max(self.counted, self.charged, 1)

    @property
    def agrees(self) -> bool:
        return self.disagreement <= TOLERANCE


def replay(
    spec: TrialSpec, update: Update, base: Base | None, device: torch.device
) -> tuple[Learner, list[AuditedPart]]:
    """Replay a trial's start, the first steps of its first, second, middle and last epoch, each with its selection of images, and
    the first steps of each later phase.

    The number of images chosen in the first epoch determines which epoch is the last. Runs eagerly, since a counter cannot see
    into compiled code. Counts depend on shapes alone, so a stand-in for `base` will do. Returns the learner as the replay left
    it, and the audited parts.
    """
    learner = Learner(spec, update, base, device, compiled=False)
    parts = [_count("start", learner, learner.start), _replay_epoch(learner, 0)]
    last = (learner.total_steps - 1) // learner.epoch_steps
    parts += [_replay_epoch(learner, epoch) for epoch in sorted({min(1, last), last // 2, last} - {0})]
    parts += [_replay_phase(learner, number) for number in range(1, len(learner.phases))]
    return learner, parts


def _replay_phase(learner: Learner, number: int) -> AuditedPart:
    learner.skip_to(learner.phases[number].begin)
    learner.enter(number)
    return _count(f"phase {number + 1}, {_STEPS} steps", learner, lambda: learner.train(_STEPS))


def _replay_epoch(learner: Learner, epoch: int) -> AuditedPart:
    steps = max(1, min(_STEPS, learner.total_steps - learner.ledger.steps))
    learner.seek(epoch)
    return _count(f"epoch {epoch}, {steps} steps", learner, lambda: learner.train(steps))


def _count(name: str, learner: Learner, action: Callable[[], object]) -> AuditedPart:
    before = learner.ledger.train_flops
    with exact_counter() as counter:
        action()
    return AuditedPart(name, counter.get_total_flops(), learner.ledger.train_flops - before)
