"""Published targets: which one applies to some trials, and which trials it excludes from scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.catalog import scenario_argument
from bench.errors import RecordError

_COLUMNS = ["published_accuracy", "published_std", "published_seeds", "published_source", "published_steps"]


@dataclass(frozen=True)
class Published:
    """The target of one update; see bench.target.TargetPart."""

    accuracy: float
    std: float
    seeds: tuple[int, ...]
    source: str
    convergence_steps: tuple[int, ...] = ()


def published_of(trials: pd.DataFrame) -> Published | None:
    """Return the published target of one scenario's update, or None if the target is provisional.

    trials: as returned by bench.records.collect; those run before the target was published may lack it.
    Raises RecordError if trials name different ones.
    """
    known = trials.reindex(columns=_COLUMNS)
    found = known[known["published_accuracy"].notna()].drop_duplicates()
    if found.empty:
        return None
    if len(found) > 1:
        accuracies = ", ".join(
            f"{row['published_accuracy']:g} ({row['published_source']})" for _, row in found.iterrows()
        )
        raise RecordError(
            f"{trials['scenario'].iloc[0]}: trials have different published targets: {accuracies}. Keep them in separate folders."
        )
    row = found.iloc[0]
    accuracy, std = float(row["published_accuracy"]), float(row["published_std"])
    steps = () if pd.isna(row["published_steps"]) else _numbers(row["published_steps"])
    return Published(accuracy, std, _numbers(row["published_seeds"]), str(row["published_source"]), steps)


def scored(trials: pd.DataFrame, evals: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one scenario's trials and evaluations without the seeds that a published target was computed from.

    Raises RecordError if no finished trial is left.
    """
    left_out = {update: not_scored(group) for update, group in trials.groupby("update")}
    if not any(left_out.values()):
        return trials, evals
    frames = [
        frame[
            [seed not in left_out.get(update, ()) for seed, update in zip(frame["seed"], frame["update"], strict=True)]
        ]
        for frame in (trials, evals)
    ]
    if len(evals) and frames[1].empty:
        name = trials["scenario"].iloc[0]
        seeds = sorted({seed for found in left_out.values() for seed in found})
        raise RecordError(
            f"{name}: all finished trials have seeds {span(seeds)}, which the published target was computed from; these are "
            f"not scored. Run others: bench run --scenario {scenario_argument(name)} --seeds {max(seeds) + 1}-{max(seeds) + 3}"
        )
    return frames[0], frames[1]


def not_scored(trials: pd.DataFrame) -> tuple[int, ...]:
    """Return the seeds of one update's published target, or none."""
    published = published_of(trials)
    return () if published is None else published.seeds


def span(seeds: Sequence[int]) -> str:
    """Return seeds as "0-4", or "0, 2, 5" if they are not a range."""
    ordered = sorted(seeds)
    if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ", ".join(map(str, ordered))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in str(text).split())
