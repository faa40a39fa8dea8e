"""A published target: scratch's accuracy on a scenario, frozen with the seeds it was measured with."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.errors import shown

# RULES 9: with fewer seeds it is no better than a run's own provisional target.
LEAST_SEEDS = 5
_LARGEST_SEED = 2**63 - 1  # as of catalog.py


class TargetPart(BaseModel):
    """The target of one update, from trials of scratch that are not scored themselves.

    accuracy: mean validation accuracy at the end of horizon 1, a fraction. std: over seeds, with n - 1. seeds: of those trials.
    source: where it was published or how it was measured, as text. convergence_steps: for each seed, in the order of
    `seeds`, the step from which its accuracy stays at or above a share of `accuracy` (bench.analysis.guards.guard sets it);
    a run that converges too fast is detected against them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    accuracy: float = Field(gt=0, le=1)
    std: float = Field(ge=0, lt=1)
    seeds: tuple[int, ...] = Field(strict=False)
    source: str = Field(min_length=1)
    convergence_steps: tuple[int, ...] | None = Field(default=None, strict=False)

    @model_validator(mode="after")
    def _holds_together(self) -> TargetPart:
        if len(self.seeds) < LEAST_SEEDS:
            raise ValueError(f"seeds: {len(self.seeds)} found, expected at least {LEAST_SEEDS}. Run more.")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0 or max(self.seeds) > _LARGEST_SEED:
            raise ValueError(
                f"seeds: {shown(list(self.seeds))} found, expected distinct ones from 0 to 2^63 - 1. Change some."
            )
        steps = self.convergence_steps
        if steps is not None and (len(steps) != len(self.seeds) or min(steps) < 1):
            raise ValueError(
                f"convergence_steps: {shown(list(steps))} found, expected a step above 0 for each of {len(self.seeds)} seeds. "
                "Change or remove them."
            )
        return self


def check_targets(targets: Sequence[TargetPart], updates: int) -> None:
    """Raise ValueError unless a scenario has one target per update, all from the same seeds."""
    if len(targets) != updates:
        raise ValueError(f"target: {len(targets)} found for {updates} updates, expected one each. Add or remove some.")
    if len({frozenset(target.seeds) for target in targets}) > 1:
        raise ValueError("target: found different seeds, expected the same for every update. Change them.")
