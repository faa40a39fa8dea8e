"""Curves from elsewhere, from Python."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.named import scenario_in_results
from bench.places import RUNS

if TYPE_CHECKING:
    import pandas as pd

    from bench.api.named import ScenarioLike


@dataclass(frozen=True)
class Imported:
    """What was imported. path: where it is kept. frame: step, cost, accuracy, seed, strategy of each evaluation."""

    path: Path
    frame: pd.DataFrame


def import_curves(
    file: str | os.PathLike[str], scenario: ScenarioLike, *, results: str | os.PathLike[str] = RUNS
) -> Imported:
    """Put curves from elsewhere into a results folder; leaderboards of the scenario then show them, marked and without a rank.

    file: a CSV file with the columns step, cost (FLOPs), accuracy (0 to 1), seed and strategy. Raises RecordError naming the line
    and column of a bad cell; nothing is then kept.
    """
    from bench.records.imported import keep_curves

    return Imported(*keep_curves(Path(file), Path(results), scenario_in_results(scenario)[0]))
