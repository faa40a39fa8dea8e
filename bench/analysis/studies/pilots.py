"""What a pilot says, and what it cost: the comparison on a share of the images and of the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from bench.analysis.studies.decision import Candidate, Decision
from bench.catalog import REFERENCE


@dataclass(frozen=True)
class Pilot:
    """What a pilot points to.

    share: of the training images. cost: the FLOPs of all its trials, evaluating included, as a share of those of training the
    whole scenario's scratch once. points_to: "continue" if a way to continue costs less than the pilot's scratch and ends at
    most the margin below it, on average over seeds and without regard to chance; of several, `way` is the cheapest. "retrain"
    otherwise; way is then None.
    """

    share: float
    cost: float
    points_to: Literal["continue", "retrain"]
    way: Candidate | None


def read_pilot(trials: pd.DataFrame, decision: Decision, share: float, whole_steps: int) -> Pilot:
    """Return what a pilot's trials point to.

    trials: of the pilot, at least one of scratch among them. decision: of these trials. whole_steps: scratch's optimizer steps on
    the whole scenario.
    """
    good = [each for each in decision.candidates if each.cost < 1 and each.difference >= -decision.margin]
    points_to = "continue" if good else "retrain"
    return Pilot(share, pilot_cost(trials, whole_steps), points_to, good[0] if good else None)


def pilot_cost(trials: pd.DataFrame, whole_steps: int) -> float:
    """Return the FLOPs of these trials, as a share of those of training scratch for `whole_steps` steps. See Pilot."""
    scratch = trials[(trials["strategy"] == REFERENCE) & (trials["horizon"] == 1)].iloc[0]
    step = (scratch["train_flops"] + scratch["aux_flops"]) / scratch["total_steps"]
    spent = trials[["train_flops", "aux_flops", "evaluate_flops"]].sum().sum()
    return float(spent / (step * whole_steps))
