"""Evaluations as arrays, one strategy at a time: the starting point of every comparison."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd

from bench.analysis.speedup.speedup import Run
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
# The evaluation columns that this package reads.
COLUMNS = [*(field for fields in CURRENCIES.values() for field in fields), *ACCURACIES]

Key = tuple[str, float]  # strategy, horizon


@dataclass(frozen=True)
class Curves:
    """One strategy's evaluations at one horizon.

    steps: (evaluations,), ascending. seeds: (seeds,), ascending. values: by the evaluations' columns, each
    (evaluations, seeds), NaN where not measured.
    """

    steps: np.ndarray
    seeds: np.ndarray
    values: dict[str, np.ndarray]

    def run(self, currency: str) -> Run:
        """Return validation accuracy and the cost in a currency; the same object each time."""
        if currency not in self._runs:
            first, *more = (self.values[field] for field in CURRENCIES[currency])
            self._runs[currency] = Run(self.values["validation_accuracy"], sum(more, start=first))
        return self._runs[currency]

    def accuracies_from(self, evaluation: int) -> dict[str, np.ndarray]:
        """Return each accuracy, (seeds,), at an evaluation; on test images, at the next one that measured it, else NaN."""
        found = {}
        for name in ACCURACIES:
            if name in self.values:
                later = self.values[name][evaluation:]
                taken = np.flatnonzero(~np.isnan(later).all(axis=1)) if name.startswith("test") else np.array([0])
                found[name] = later[taken[0]] if len(taken) else np.full(len(self.seeds), np.nan)
        return found

    @cached_property
    def _runs(self) -> dict[str, Run]:
        return {}


class Measured:
    """Evaluations of one scenario and update, grouped once rather than searched for each strategy."""

    def __init__(self, evals: pd.DataFrame) -> None:
        self._evals = evals
        self._places = {key: _whole(places) for key, places in positions(evals).items()}
        self._steps, self._seeds = evals["step"].to_numpy(), evals["seed"].to_numpy()
        self._columns = {name: evals[name].to_numpy(float) for name in COLUMNS if name in evals}
        self._found: dict[Key, frozenset[int]] = {}

    @property
    def keys(self) -> list[Key]:
        """Every strategy and horizon that has evaluations, in order."""
        return list(self._places)

    def seeds(self, key: Key) -> frozenset[int]:
        """Return the seeds of a strategy's finished trials; empty for a strategy without evaluations."""
        if key not in self._places:
            return frozenset()
        if key not in self._found:
            seeds = self._seeds[self._places[key]]
            self._found[key] = frozenset(seeds[_begins(seeds)].tolist())
        return self._found[key]

    def curves(self, key: Key, seeds: Collection[int] | None = None) -> Curves:
        """Return a strategy's curves, for some or all of its seeds. Raises RecordError if their steps differ."""
        places = self._places[key]
        if seeds is not None and self.seeds(key) != set(seeds):
            places = _numbered(places)
            places = places[np.isin(self._seeds[places], list(seeds))]
        if not _ascending(self._seeds[places], self._steps[places]):
            places = _numbered(places)
            places = places[np.lexsort((self._steps[places], self._seeds[places]))]
        begins = _begins(self._seeds[places])
        who, counts = self._seeds[places][begins], np.diff(begins, append=len(self._seeds[places]))
        if counts.min() != counts.max():
            raise self._uneven(key)
        shape = len(who), counts[0]
        steps = self._steps[places].reshape(shape)
        if (steps != steps[0]).any() or (np.diff(steps[0]) <= 0).any():
            raise self._uneven(key)
        values = {name: column[places].reshape(shape).T for name, column in self._columns.items()}
        return Curves(steps[0], who, values)

    def _uneven(self, key: Key) -> RecordError:
        return RecordError(
            f"{self._evals['scenario'].iloc[0]}: {key[0]}: seeds were measured at different steps, expected one common grid. "
            "Run them again with --fresh."
        )


def positions(frame: pd.DataFrame) -> dict[Key, np.ndarray]:
    """Return the positions in a frame of each strategy's rows at each horizon, in order."""
    codes, names = pd.factorize(frame["strategy"])
    horizons = frame["horizon"].to_numpy(float)
    # Records are grouped by trial, so the strategy changes at few positions, which are found quickly.
    begins = np.flatnonzero((np.diff(codes, prepend=-1) != 0) | (np.diff(horizons, prepend=np.nan) != 0))
    found: dict[Key, list[np.ndarray]] = {}
    for begin, end in pairwise([*begins.tolist(), len(frame)]):
        found.setdefault((str(names[codes[begin]]), float(horizons[begin])), []).append(np.arange(begin, end))
    return {key: np.concatenate(found[key]) for key in sorted(found)}


def _whole(places: np.ndarray) -> slice | np.ndarray:
    """Return a slice if the rows are contiguous: indexing with it gives a view, not a copy."""
    together = places[-1] - places[0] + 1 == len(places)
    return slice(int(places[0]), int(places[-1]) + 1) if together else places


def _numbered(places: slice | np.ndarray) -> np.ndarray:
    return np.arange(places.start, places.stop) if isinstance(places, slice) else places


def _begins(seeds: np.ndarray) -> np.ndarray:
    """Return the positions at which the seed changes; np.unique takes three times as long."""
    return np.flatnonzero(np.diff(seeds, prepend=seeds[0] - 1))


def _ascending(seeds: np.ndarray, steps: np.ndarray) -> bool:
    """Return whether evaluations are sorted by seed, then by step."""
    same = seeds[1:] == seeds[:-1]
    return bool(np.where(same, steps[1:] >= steps[:-1], seeds[1:] > seeds[:-1]).all())
