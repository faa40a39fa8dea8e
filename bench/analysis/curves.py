"""Evaluations as arrays, strategy by strategy: what every comparison starts from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.speedup import Run
from bench.errors import RecordError

# Currency -> the fields of an evaluation that add up to it.
CURRENCIES = {
    "steps": ["step"],
    "images": ["images"],
    "flops": ["train_flops", "aux_flops"],
    "device_seconds": ["device_seconds"],
    "gpu_joules": ["gpu_joules"],
}
ACCURACIES = [f"{part}_accuracy{which}" for part in ("validation", "test") for which in ("", "_old", "_new")]
# What is read of an evaluation here, and in the rest of this room.
COLUMNS = [*(field for fields in CURRENCIES.values() for field in fields), *ACCURACIES]

Key = tuple[str, float]  # strategy, horizon


@dataclass(frozen=True)
class Curves:
    """One strategy's evaluations at one horizon.

    steps: (evaluations,), ascending. seeds: (seeds,), ascending. values: by the evaluations' columns, each
    (evaluations, seeds), NaN where nothing was measured.
    """

    steps: np.ndarray
    seeds: np.ndarray
    values: dict[str, np.ndarray]

    def run(self, currency: str) -> Run:
        """Return validation accuracy and the cost in a currency."""
        first, *more = (self.values[field] for field in CURRENCIES[currency])
        return Run(self.values["validation_accuracy"], sum(more, start=first))


class Measured:
    """Evaluations of one scenario and update, grouped once, not searched again for each strategy."""

    def __init__(self, evals: pd.DataFrame) -> None:
        self._evals = evals
        self._places = positions(evals)
        self._steps, self._seeds = evals["step"].to_numpy(), evals["seed"].to_numpy()
        self._columns = {name: evals[name].to_numpy(float) for name in COLUMNS if name in evals}

    @property
    def keys(self) -> list[Key]:
        """Every strategy and horizon that has evaluations, in order."""
        return list(self._places)

    def seeds(self, key: Key) -> frozenset[int]:
        """Return the seeds of a strategy's finished trials; none of a strategy that has no evaluations."""
        return frozenset(np.unique(self._seeds[self._places[key]]).tolist()) if key in self._places else frozenset()

    def curves(self, key: Key, seeds: Collection[int] | None = None) -> Curves:
        """Return a strategy's curves, of some of its seeds or all. Raises RecordError where their steps differ."""
        places = self._places[key]
        if seeds is not None:
            places = places[np.isin(self._seeds[places], list(seeds))]
        order = places[np.lexsort((self._steps[places], self._seeds[places]))]
        who, counts = np.unique(self._seeds[order], return_counts=True)
        if counts.min() != counts.max():
            raise self._uneven(key)
        shape = len(who), counts[0]
        steps = self._steps[order].reshape(shape)
        if (steps != steps[0]).any() or (np.diff(steps[0]) <= 0).any():
            raise self._uneven(key)
        values = {name: column[order].reshape(shape).T for name, column in self._columns.items()}
        return Curves(steps[0], who, values)

    def _uneven(self, key: Key) -> RecordError:
        return RecordError(
            f"{self._evals['scenario'].iloc[0]}: {key[0]}: seeds were measured on different steps, expected one common grid. "
            "Run them again with --fresh."
        )


def positions(frame: pd.DataFrame) -> dict[Key, np.ndarray]:
    """Return at which places of a frame each strategy's rows at each horizon are, in order."""
    found: dict[Any, Any] = {**frame.groupby(["strategy", "horizon"], observed=True).indices}
    return {key: np.asarray(found[key]) for key in sorted(found)}
