"""Turning records into data frames."""

from __future__ import annotations

import json
import operator
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.catalog import TUNING_FROM
from bench.errors import RecordError
from bench.records.frames import KEY, join, stack
from bench.records.listing import Listing, list_records, require_results
from bench.records.parquet import NAME, NotUsableError, read_parquet, write_parquet

# Which seeds count: the scored ones, those for tuning, or both. They are never in one table unless all are asked for.
Seeds = Literal["scored", "tuning", "all"]
_KEY = list(KEY)
# File system clocks may stand still for up to 10 ms; waiting 50 ms is enough.
_TICK_NANOSECONDS, _TRIES = 50_000_000, 20


@dataclass(frozen=True)
class Unreadable:
    """A record that is left out. where: its folder below the results, with slashes. why: in one line, naming the file."""

    where: str
    why: str


@dataclass(frozen=True)
class Records:
    """Every trial under a results folder.

    trials: one row per trial: scenario, strategy, horizon, seed, update, updates (of the scenario), title, status,
    reason, hashes, versions, device, commit, modified, commit_reason, command, started, python, packages (as text), threads,
    precision, compiled, own_code (whether the strategy has pieces of the user's own), total_steps, scratch_steps, old_share,
    previous_sha256, pieces (the strategy's aspects as JSON), base_<currency>, the scenario's published target
    (published_accuracy, published_std, published_source, and as text with spaces published_seeds and published_steps; None where
    there is none), and the summary's fields where it is finished.
    evals: one row per evaluation of a finished or diverged trial: scenario and strategy (both categorical), horizon, seed,
    update, and the fields of EvalRow.
    unreadable: the records that are in neither, because they are damaged, or copies; anything made from the others says so.
    """

    trials: pd.DataFrame
    evals: pd.DataFrame
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def name(self) -> str:
        """The scenario's name. For the part of one scenario."""
        return self.trials["scenario"].iloc[0]

    @property
    def chain(self) -> bool:
        """Whether the scenario has more than one update. For the part of one scenario."""
        return int(self.trials["updates"].iloc[0]) > 1

    @property
    def update(self) -> int:
        """The update. For the part of one update."""
        return int(self.trials["update"].iloc[0])

    def only(self, trials: pd.DataFrame) -> Records:
        """Return the part that holds only these trials."""
        if trials.empty:
            return replace(self, trials=trials, evals=self.evals.iloc[:0])
        begins = np.flatnonzero(_changes(self.evals))
        first = pd.MultiIndex.from_frame(self.evals.iloc[begins][_KEY])
        wanted = first.isin(pd.MultiIndex.from_frame(trials[_KEY]))
        return replace(
            self, trials=trials, evals=self.evals[np.repeat(wanted, np.diff(begins, append=len(self.evals)))]
        )

    def of_seeds(self, which: Seeds) -> Records:
        """Return the trials of scored seeds, of tuning seeds (from 100 on), or all."""
        if which == "all" or self.trials.empty:
            return self
        tuning = self.trials["seed"] >= TUNING_FROM
        wanted = tuning if which == "tuning" else ~tuning
        return self if wanted.all() else self.only(self.trials[wanted])

    def of_division(self, which: Literal["closed", "open"]) -> Records:
        """Return the trials of one division: they are never compared with those of the other."""
        if self.trials.empty:
            return self
        opened = self.trials["division"].eq("open") if "division" in self.trials else self.trials["seed"] < 0
        wanted = opened if which == "open" else ~opened
        return self if wanted.all() else self.only(self.trials[wanted])

    def find(self, name: str) -> list[tuple[str, float]]:
        """Return (strategy, horizon) of a name like "optimized@0.5", or of each horizon of one like "optimized".

        Raises RecordError where no finished trial is of that name.
        """
        strategy, at, horizon = name.partition("@")
        keys = sorted(self.evals[["strategy", "horizon"]].drop_duplicates().itertuples(index=False, name=None))
        found = [key for key in keys if key[0] == strategy and (not at or f"{key[1]:g}" == horizon)]
        if not found:
            known = ", ".join(f"{each}@{length:g}" for each, length in keys) or "none"
            raise RecordError(f"{name}: no finished strategy of that name, expected one of: {known}. Change it.")
        return found

    def pairs(self, one: str, other: str) -> list[tuple[tuple[str, float], tuple[str, float]]]:
        """Return which trials of two names to compare: at each horizon that both have, or else the only one of each.

        Raises RecordError where a name is of several horizons and they have none in common.
        """
        mine, theirs = self.find(one), self.find(other)
        common = [(key, (theirs[0][0], key[1])) for key in mine if (theirs[0][0], key[1]) in theirs]
        if common:
            return common
        if len(mine) > 1 or len(theirs) > 1:
            known = ", ".join(f"{name}@{horizon:g}" for name, horizon in (*mine, *theirs))
            raise RecordError(f"{one} and {other}: no common horizon. Name one of each: {known}.")
        return [(mine[0], theirs[0])]

    def with_hash(self, scenario_hash: str) -> Records:
        """Return the trials of one scenario's part that are of exactly this scenario. Raises RecordError where there are none."""
        if set(self.trials["scenario_hash"]) == {scenario_hash}:
            return self
        trials = self.trials[self.trials["scenario_hash"] == scenario_hash]
        if trials.empty:
            found = ", ".join(sorted(set(self.trials["scenario_hash"])))
            raise RecordError(
                f"{self.name}: the recorded trials are of another scenario of that name (hash {found}, this one's is "
                f"{scenario_hash}). Run: bench run, with this scenario and another --results."
            )
        return self.only(trials)

    def by_update(self) -> list[Records]:
        """Return one scenario's part, update by update, for updates that have any trial."""
        return [
            replace(self, trials=_where(self.trials, "update", update), evals=_where(self.evals, "update", update))
            for update in sorted(self.trials["update"].unique())
        ]

    def scenarios(self) -> list[str]:
        """Return the names of the scenarios that have any trial, sorted."""
        return sorted(self.trials["scenario"].unique())

    def parts(self, scenario: str | None) -> list[Records]:
        """Return one scenario's part, or every scenario's. Raises RecordError where there is no trial at all."""
        names = [scenario] if scenario else self.scenarios()
        if not names:
            raise RecordError("no trials among the results, expected at least one. Run: bench run")
        return [self.of(name) for name in names]

    def of(self, scenario: str) -> Records:
        """Return one scenario's part. Raises RecordError where it has no trial."""
        trials = _where(self.trials, "scenario", scenario)
        if trials.empty:
            known = ", ".join(self.scenarios()) or "none"
            raise RecordError(
                f"scenario {scenario}: no trials among the results, expected one of: {known}. "
                f"Run: bench run --scenario {scenario}"
            )
        mine = tuple(each for each in self.unreadable if each.where.startswith(f"{scenario}/"))
        return Records(trials, _where(self.evals, "scenario", scenario), mine)


def add_shipped(own: Records | None, shipped: Records) -> Records:
    """Return one's own records, and those that come with bench of what one does not have: scenario, strategy and horizon.

    Trials then have a column `shipped`: which they are. own: None where there is no folder of them.
    """
    key = ["scenario", "strategy", "horizon"]
    mine = set() if own is None else set(own.trials[key].itertuples(index=False, name=None))
    missing = [each not in mine for each in shipped.trials[key].itertuples(index=False, name=None)]
    added = shipped.only(shipped.trials[missing])
    parts = [(added, True)] if own is None or own.trials.empty else [(own, False), (added, True)]
    trials = pd.concat([part.trials.assign(shipped=flag) for part, flag in parts], ignore_index=True)
    evals = pd.concat([part.evals.astype({"scenario": str, "strategy": str}) for part, _ in parts], ignore_index=True)
    unreadable = (*(own.unreadable if own else ()), *shipped.unreadable)
    return Records(trials, evals.astype({"scenario": "category", "strategy": "category"}), unreadable)


def _changes(evals: pd.DataFrame) -> np.ndarray:
    """Return bool (evaluations,): whether an evaluation belongs to a different trial than the previous one."""
    changed = np.arange(len(evals)) == 0
    for name in _KEY:
        values = evals[name].cat.codes if isinstance(evals[name].dtype, pd.CategoricalDtype) else evals[name]
        values = values.to_numpy()
        changed[1:] |= values[1:] != values[:-1]
    return changed


def _where(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """Return the rows with a value, without copying them if they are contiguous, as one scenario's are."""
    places = np.flatnonzero((frame[column] == value).to_numpy(bool))
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return frame.iloc[places[0] : places[-1] + 1]
    return frame.iloc[places]


@dataclass(frozen=True)
class Collected:
    """What a collected file holds. size: in bytes. unreadable: the records that are not in it."""

    path: Path
    trials: int
    evals: int
    size: int
    unreadable: tuple[Unreadable, ...] = ()


def collect(
    results: Path,
    tell: Callable[[str], object] = lambda note: None,
    columns: Sequence[str] | None = None,
) -> Records:
    """Return every record under `results`: from its collected file if that is current, otherwise read one by one.

    The frames are the same either way. Records that cannot be read are left out, and named with the reason. tell: is given one
    line saying why an existing collected file was not used. columns: of the evaluations, besides the key, None for all; fewer
    take less time and memory.
    Raises RecordError if the folder does not exist or cannot be listed.
    """
    require_results(results)
    listing, file = list_records(results), results / NAME
    wanted = [*KEY, *(_all_columns() if columns is None else columns)]
    if file.is_file():
        try:
            trials, lost, evals = read_parquet(file, listing, wanted)
            return Records(_trials_frame(trials), evals, _unreadable(lost))
        except NotUsableError as reason:
            tell(f"{file} {reason}: not used. Run: bench collect --results {results}")
    from bench.records.rows import read_rows  # takes 0.2 s, and is not needed for a current collected file

    reading = read_rows(listing)
    kept = [table.select(wanted) for table in (reading.schema.empty_table(), *reading.tables)]
    evals = stack(kept[0].schema, kept, sum(table.num_rows for table in kept))
    return Records(
        _trials_frame(join(map(json.loads, reading.parts()))), evals, _unreadable(_below(results, reading.lost))
    )


def write_collected(results: Path, output: Path | None = None) -> Collected:
    """Write every record under `results` into one file, by default where `collect` looks for it.

    Raises RecordError if the folder does not exist or cannot be listed, and if there is no trial that can be read; WriteError if
    the file cannot be written.
    """
    from bench.records.rows import read_rows

    require_results(results)
    listing, path, lost = _settled(results), output or results / NAME, {}
    while True:  # again where a record turns out to be damaged while it is written: then without it
        reading = read_rows(listing, lost)
        lost = dict(reading.lost)
        if not reading.count:
            raise RecordError(_none(results, lost))
        contents = (reading.parts(), json.dumps(_below(results, lost)))
        evals = write_parquet(
            path, contents, reading.tables, reading.schema, listing, partial(operator.eq, reading.lost, lost)
        )
        lost = dict(reading.lost)
        if evals is not None:
            return Collected(path, reading.count, evals, path.stat().st_size, _unreadable(_below(results, lost)))


def _none(results: Path, lost: dict[str, str]) -> str:
    first = next(iter(lost.values()), None)
    if first is None:
        return f"{results}: no trials, expected at least one. Run: bench run"
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    return f"{results}: no trials that can be read: {first}{more}"


def _below(results: Path, lost: dict[str, str]) -> list[list[str]]:
    """Return [folder below the results, why] of each lost record, sorted."""
    return sorted([Path(folder).relative_to(results).as_posix(), why] for folder, why in lost.items())


def _unreadable(lost: Iterable[Sequence[str]]) -> tuple[Unreadable, ...]:
    return tuple(Unreadable(where, why) for where, why in lost)


def _all_columns() -> list[str]:
    from bench.records.schema import EvalRow  # loads pydantic: 0.1 s

    return list(EvalRow.model_fields)


def _settled(results: Path) -> Listing:
    """List the records once the newest is old enough that any later change would change its modification time."""
    listing = list_records(results)
    for _ in range(_TRIES):
        if not 0 <= time.time_ns() - listing.newest < _TICK_NANOSECONDS:
            break
        time.sleep(_TICK_NANOSECONDS / 1e9)
        listing = list_records(results)
    return listing


def _trials_frame(columns: dict[str, list[object]]) -> pd.DataFrame:
    return pd.DataFrame(columns or {name: [] for name in (*_KEY, "status")})
