"""Freezing: which leading stages of the network an update does not train, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from bench.errors import StrategyError

Features = Literal["kept", "kept padded", "recomputed"]


@runtime_checkable
class Freezing(Protocol):
    """The fifth aspect. A frozen dataclass; its fields go into the strategy's hash.

    features: "kept": what the frozen stages make of each image is computed once and kept; "kept padded": of each padded image.
    "recomputed": in each step.
    """

    @property
    def features(self) -> Features: ...

    def phases(self, steps: int) -> Sequence[tuple[int, str | None]]:
        """Return (first step, last frozen stage or None) of each phase of `steps` steps; the first begins at step 0.

        A stage by its name, see bench flops MODEL --stages, or "body" for everything but the head. Frozen stages take no
        gradient, their normalization uses its running statistics, and they have no optimizer state.
        """
        ...


@dataclass(frozen=True)
class NoFreezing:
    """Everything is trained from the first step to the last."""

    @property
    def features(self) -> Features:
        return "recomputed"

    def phases(self, steps: int) -> Sequence[tuple[int, str | None]]:
        return [(0, None)]


@dataclass(frozen=True)
class FreezeStages:
    """The stages up to through[i] are frozen from the share begin[i] of the trial on, until the next begins.

    "nothing" in through: everything is trained from there on. FreezeStages(("body", "nothing"), (0.0, 0.3)) trains the head
    alone first (linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054).
    features: kept ones are kept for both flips of the image, and crops are cut from them, see KeptFeatures. Images that are
    cropped at random scales have none to keep: there they are recomputed.
    """

    through: tuple[str, ...]
    begin: tuple[float, ...] = (0.0,)
    features: Features = "kept"

    def __post_init__(self) -> None:
        if self.features not in get_args(Features):
            expected = ", ".join(map(repr, get_args(Features)))
            raise StrategyError(f"FreezeStages: features {self.features!r}, expected one of {expected}. Change it.")
        if not self.through or len(self.through) != len(self.begin):
            raise StrategyError(
                f"FreezeStages: {len(self.through)} stages in through and {len(self.begin)} shares in begin, expected as many of "
                "either, and at least one. Change one of them."
            )
        if self.begin[0] != 0 or any(not a < b < 1 for a, b in zip(self.begin, self.begin[1:], strict=False)):
            raise StrategyError(
                f"FreezeStages: begin {self.begin}, expected shares of the trial that rise from 0 and stay below 1. Change them."
            )

    def phases(self, steps: int) -> Sequence[tuple[int, str | None]]:
        found: dict[int, str | None] = {}
        for begin, stage in zip(self.begin, self.through, strict=True):
            found[round(begin * steps)] = None if stage == "nothing" else stage
        return [(step, stage) for step, stage in found.items() if step < max(1, steps)]
