"""The old model as a teacher: its predictions for old images, computed once, as further targets in the first part of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bench.errors import StrategyError


@runtime_checkable
class Teacher(Protocol):
    """The eighth aspect. A frozen dataclass; its fields go into the strategy's hash.

    temperature: by which the logits of both models are divided.
    """

    @property
    def temperature(self) -> float: ...

    def strengths(self, steps: int) -> Sequence[float]:
        """Return, for each of `steps` steps, by what the teacher's loss is multiplied before it is added; 0 for none.

        If any is above 0, the old model predicts every old image, without augmentation, before the first step; that is charged.
        """
        ...


@dataclass(frozen=True)
class NoTeacher:
    """Labels alone."""

    @property
    def temperature(self) -> float:
        return 1.0

    def strengths(self, steps: int) -> Sequence[float]:
        return [0.0] * steps


@dataclass(frozen=True)
class OldTeacher:
    """loss + strength * temperature^2 * KL(old model || network), over old images and old classes.

    In the first share `until` of the steps. The mean is over the batch; new images count as 0. The teacher sees each image
    once, as it is; the network sees crops and flips of it.
    Source: Hinton et al. 2015, arXiv 1503.02531; for new tasks, Li & Hoiem 2016, arXiv 1606.09282.
    """

    strength: float = 1.0
    temperature: float = 2.0
    until: float = 0.3

    def __post_init__(self) -> None:
        if not self.strength > 0 or not self.temperature > 0 or not 0 < self.until <= 1:
            raise StrategyError(
                f"OldTeacher: strength {self.strength}, temperature {self.temperature}, until {self.until}, expected above 0, "
                "until at most 1. Use NoTeacher() for none."
            )

    def strengths(self, steps: int) -> Sequence[float]:
        taught = max(1, round(self.until * steps))
        return [self.strength] * taught + [0.0] * (steps - taught)
