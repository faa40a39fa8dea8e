"""In which order trials begin that run side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bench.execution.plan import PlannedTrial


class Order:
    """Hands out trials so that none of them waits for another, or for a base model that another one is training.

    Seed by seed and update by update. Within these, strategies that start from an old model come first: the first of them
    trains the base model, and scratch fills the time until the others can begin.
    """

    def __init__(self, due: Sequence[PlannedTrial], lacking: Collection[int]) -> None:
        """due: in the order of seeds. lacking: the seeds whose base model does not exist yet."""
        seeds = list(dict.fromkeys(trial.spec.seed for trial in due))
        self._waiting = sorted(due, key=lambda trial: (seeds.index(trial.spec.seed), trial.spec.update, _alone(trial)))
        self._lacking = set(lacking)
        self._running: list[PlannedTrial] = []

    def next(self) -> PlannedTrial | None:
        """Return the trial that is to begin now, or None if there is none until another one ends."""
        found = next((trial for trial in self._waiting if self._can_begin(trial)), None)
        if found is not None:
            self._waiting.remove(found)
            self._running.append(found)
        return found

    def base_exists(self, seed: int) -> None:
        """Note that a base model is there from now on."""
        self._lacking.discard(seed)

    def ended(self, trial: PlannedTrial) -> None:
        """Note that a trial has ended, finished or failed. What needs it can begin, and finds out by itself if it failed."""
        self._running.remove(trial)

    def postpone(self, trial: PlannedTrial) -> None:
        """Note that another process runs a trial: it comes after all the others."""
        self._running.remove(trial)
        self._waiting.append(trial)

    def _can_begin(self, trial: PlannedTrial) -> bool:
        spec = trial.spec
        if _alone(trial):
            return True
        if spec.update == 1:
            return spec.seed not in self._lacking or not any(
                other.spec.seed == spec.seed and not _alone(other) for other in self._running
            )
        return not any(
            (other.spec.entrant, other.spec.seed) == (spec.entrant, spec.seed) and other.spec.update < spec.update
            for other in (*self._running, *self._waiting)
        )


def _alone(trial: PlannedTrial) -> bool:
    """Return whether a trial needs no old model."""
    return not trial.spec.entrant.strategy.needs_base
