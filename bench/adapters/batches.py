"""A tracked trial's batches for the loader of another library, which may fetch them ahead of the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.errors import TrialError

if TYPE_CHECKING:
    from bench.execution.tracking import TrackedTrial


class Batches:
    """Batches in the order in which they are fetched, each charged once it has been trained on.

    images: the indices of all training images, which a loader takes for its data set.
    """

    def __init__(self, trial: TrackedTrial) -> None:
        self.images = range(len(trial.labels))
        self._trial = trial
        self._fetched: deque[int] = deque()

    def collate(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return (images, labels) of a batch, as TrackedTrial.batch does; what a loader is given to put a batch together."""
        found = self._trial.batch(torch.as_tensor(indices), charge=False)
        self._fetched.append(len(indices))
        return found

    def trained(self) -> None:
        """Charge the images of the next batch. Raises TrialError if this process has fetched none."""
        if not self._fetched:
            raise TrialError(
                "a batch was trained on that did not come from the callback's own images and collate in this process. Give both "
                "to the loader, with 0 workers."
            )
        self._trial.charge(images=self._fetched.popleft())


def require_one_process(processes: int) -> None:
    """Raise TrialError for a loop that is spread over several processes or devices."""
    if processes != 1:
        raise TrialError(
            f"{processes} processes or devices: a tracked trial counts what one of them computes, expected 1. Use one."
        )
