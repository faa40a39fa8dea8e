"""Results: the records of a folder, and the tables made from them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.named import recorded_name, scenario_in_results
from bench.errors import RecordError
from bench.files import is_address
from bench.places import REPORTS, RUNS

if TYPE_CHECKING:
    import pandas as pd

    from bench.api.named import ScenarioLike
    from bench.api.tables import Check, Comparison, Curves, Frontier, Leaderboard, Pooled, Table, WholeLife
    from bench.records.collect import Records, Seeds
    from bench.strategies.strategy import Entrant
    from bench.target import TargetPart

_NAMED = 5  # of the records that cannot be read, in messages
CURRENCIES = ("flops", "steps", "images", "device_seconds", "gpu_joules")


def load_results(
    folder: str | os.PathLike[str] = RUNS,
    *,
    published: bool = False,
    seeds: Seeds = "scored",
    columns: Sequence[str] | None = None,
    tell: Callable[[str], object] | None = None,
) -> Results:
    """Return the records of a folder, as a command would read them; or those at an address such as "s3://bucket/folder".

    published: add the records that come with bench, of every strategy and horizon that the folder does not have itself; they are
    marked in tables. The folder need not exist then. seeds: "scored", those below 100; "tuning", those from 100 on, which never
    count together with scored ones; or "all". columns: of the evaluations, None for all; bench.api.tables.COLUMNS are
    enough for tables. tell: is told, in one line each, why a collected file was not used, how many records are left out, because
    they cannot be read, and which; without it, the latter are a warning. Tables made from the others say so.
    Raises RecordError where the folder does not exist, or cannot be listed.

    >>> import bench
    >>> results = bench.load_results("no-such-folder", published=True)
    >>> results.leaderboard("fashion-mnist-7-3").frame["strategy"].unique().tolist()
    ['scratch', 'naive', 'optimized', 'four-aspects']
    """
    from bench.catalog import shipped_folder
    from bench.records.collect import add_shipped, collect

    if seeds not in ("scored", "tuning", "all"):
        raise RecordError(f"seeds {seeds!r}: expected 'scored', 'tuning' or 'all'. Change it.")
    if is_address(folder):
        from bench.records.remote import folder_of  # takes 0.3 s

        folder = folder_of(folder, tell or _silent)
    own = Path(folder)
    if published:
        shipped = collect(shipped_folder("results"), columns=columns)
        found = add_shipped(collect(own, tell or _silent, columns) if own.exists() else None, shipped)
    else:
        found = collect(own, tell or _silent, columns)
    for line in unreadable_lines(own, found):
        tell(line) if tell else warnings.warn(line, stacklevel=2)
    chosen = found.of_seeds(seeds)
    left_out = len(found.trials) - len(chosen.trials)
    return Results(own, chosen.of_division("closed"), left_out, _open=chosen.of_division("open"))


def _silent(note: str) -> None:
    pass


def unreadable_lines(folder: Path, records: Records) -> list[str]:
    """Say in a few lines how many records are left out, and why; nothing where none is."""
    lost = records.unreadable
    if not lost:
        return []
    count = len(lost) + len(records.trials)
    more = [f"and {len(lost) - _NAMED} more; all of them: bench check {folder}"] if len(lost) > _NAMED else []
    head = f"{folder}: {len(lost)} of {count} records left out, which cannot be read"
    return [head, *(each.why for each in lost[:_NAMED]), *more]


@dataclass(frozen=True)
class Results:
    """The records of a folder, as they were when it was read. Made by load_results() and run().

    In every method: scenario is a name, the path of a .toml file, a Scenario, or None for the one that was run, or the only one.
    Of a path or an object, only trials of exactly that scenario count. currency: "flops", "steps", "images", "device_seconds" or
    "gpu_joules". target: the share of scratch's accuracy to be reached, above 0 and at most 1.
    left_out: how many trials of the folder are of other seeds than those that were asked for, scored or for tuning.
    """

    folder: Path
    _records: Records
    left_out: int = 0
    _open: Records | None = None  # the open division, which only leaderboards show
    _scenario: str | None = None  # the one that run() ran, which is meant where none is named

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial. Columns: see bench.records.collect.Records; a copy, free to be changed."""
        import pandas as pd

        parts = [self._records.trials, *([self._open.trials] if self._open is not None else [])]
        return pd.concat(parts, ignore_index=True) if len(parts) == 2 and len(parts[1]) else parts[0].copy()

    @property
    def evaluations(self) -> pd.DataFrame:
        """A row for each evaluation of a finished trial. Columns: its trial's key, and bench.records.schema.EvalRow's; a copy."""
        return self._records.evals.copy()

    def export(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the trials and the evaluations as Parquet, and a README that says what each column means; return the files.

        Whoever gets the folder needs pandas alone. Trials that are not finished are in it, those of the other seeds are not.
        Raises RecordError where there is no trial, and WriteError.
        """
        from bench.records.export import write_tables
        from bench.reporting.data_card import data_card
        from bench.version import __version__

        return write_tables(Path(folder), self.trials, self.evaluations, partial(data_card, version=__version__))

    @property
    def unreadable(self) -> pd.DataFrame:
        """A row for each record that is left out: where (its folder below the results), why (in one line). Tables say so, too."""
        import pandas as pd

        lost = self._records.unreadable
        return pd.DataFrame([(each.where, each.why) for each in lost], columns=["where", "why"])

    @property
    def scenarios(self) -> pd.DataFrame:
        """A row for each scenario. Columns: scenario, title, updates, strategies, seeds, trials, finished (numbers of them)."""
        import pandas as pd

        rows = []
        for name in self._records.scenarios():
            trials = self._records.of(name).trials
            counts = {
                what: trials[column].nunique() for what, column in (("strategies", "strategy"), ("seeds", "seed"))
            }
            finished = int((trials["status"] == "finished").sum())
            about = {
                "scenario": name,
                "title": trials["scenario_title"].iloc[0],
                "updates": int(trials["updates"].iloc[0]),
            }
            rows.append({**about, **counts, "trials": len(trials), "finished": finished})
        return pd.DataFrame(rows, columns=["scenario", "title", "updates", "strategies", "seeds", "trials", "finished"])

    def on(self, device: str) -> Results:
        """Return the trials of one device, by its name or a part of it. Raises RecordError where there are none."""
        trials = self._records.trials
        mine = trials[trials["device"].str.contains(device, case=False, regex=False)] if len(trials) else trials
        if len(trials) and mine.empty:
            found = ", ".join(sorted(set(trials["device"])))
            raise RecordError(
                f"--device {device}: no trials of that device among the results, found: {found}. Change it."
            )
        return replace(self, _records=self._records.only(mine) if len(trials) else self._records)

    def leaderboard(
        self, scenario: ScenarioLike | None = None, *, update: int = 1, currency: str = "flops", target: float = 1.0
    ) -> Leaderboard:
        """Return one update's ranking of strategies by their speedup over scratch at matched accuracy.

        Raises RecordError without a finished scratch trial, or where trials must not be compared.
        """
        from bench.api.tables import Leaderboard

        return Leaderboard.of(
            self._update(scenario, update), _currency(currency), _share(target), results=self.folder, opened=self._open
        )

    def frontier(
        self, scenario: ScenarioLike | None = None, *, update: int = 1, currency: str = "flops", target: float = 1.0
    ) -> Frontier:
        """Return what the target costs each strategy that was run at several horizons, when its length is chosen for it."""
        from bench.api.tables import Frontier

        return Frontier.of(self._update(scenario, update), _currency(currency), _share(target))

    def whole_life(self, scenario: ScenarioLike | None = None, *, target: float = 1.0) -> WholeLife:
        """Return what all updates of a chain cost together, against training from scratch every time."""
        from bench.api.tables import WholeLife

        part = self._part(scenario)
        if not part.chain:
            raise RecordError(f"{part.name}: has one update, expected a chain of several. Ask for its leaderboard.")
        return WholeLife.of(part, _share(target))

    def pooled(self, scenarios: Sequence[ScenarioLike] = (), *, currency: str = "flops", target: float = 1.0) -> Pooled:
        """Return several scenarios together, all of the results by default: geometric mean, performance profile's score, IQM."""
        from bench.api.tables import Pooled

        parts = [self._part(each) for each in scenarios] or self._records.parts(None)
        return Pooled.of(parts, _currency(currency), _share(target))

    def compare(
        self,
        one: str | Entrant,
        other: str | Entrant,
        scenario: ScenarioLike | None = None,
        *,
        update: int = 1,
        currency: str = "flops",
        target: float = 1.0,
    ) -> Comparison:
        """Return two strategies against each other, paired by seed: cost at the target, and final accuracy with its interval.

        one, other: names such as "optimized" or "optimized@0.4", or strategies as returned by strategy(); without a horizon, at
        each one that both have.
        Raises RecordError for an unknown name, or where they share no seed.
        """
        from bench.api.tables import Comparison

        part = self._update(scenario, update)
        names = (_name_in(part, one), _name_in(part, other))
        return Comparison.of(part, *names, _currency(currency), _share(target))

    def curves(self, scenario: ScenarioLike | None = None, *, update: int = 1, currency: str = "flops") -> Curves:
        """Return validation accuracy against cost, the mean over seeds, for each strategy and horizon."""
        from bench.api.tables import Curves

        return Curves.of(self._update(scenario, update), _currency(currency))

    def tables(
        self, scenario: ScenarioLike | None = None, *, currency: str = "flops", target: float = 1.0
    ) -> list[Table]:
        """Return what `bench leaderboard` shows: leaderboards and frontiers of one scenario, or of all, and them together.

        Of a chain also its whole life. Raises RecordError where there is no trial.
        """
        from bench.api.tables import all_tables

        parts = self._records.parts(None) if scenario is None else [self._part(scenario)]
        return all_tables(parts, _currency(currency), _share(target), self.folder, self._open)

    def check(self) -> Check:
        """Check every record of the folder against the rules for a leaderboard's row.

        One that cannot be read breaks a rule. Raises RecordError where the folder holds no record, or cannot be listed.
        """
        from bench.analysis.guards.rules import GUARDS
        from bench.api.tables import Check
        from bench.records.rules import check_results

        return Check(check_results(self.folder, GUARDS))

    def published_targets(
        self, scenario: ScenarioLike | None, seeds: Sequence[int], source: str | None = None
    ) -> list[TargetPart]:
        """Return the target of each update that finished trials of scratch on these seeds give, to publish in a scenario's file.

        source: where it is published, in words; None for device and commit. Raises RecordError for fewer than five seeds.
        """
        from bench.analysis.ranking.publish import make_targets

        part = self._part(scenario)
        return make_targets(part.trials, part.evals, seeds, source)

    def _part(self, scenario: ScenarioLike | None) -> Records:
        """Return one scenario's part. Raises RecordError where it is not clear which, or has no trial."""
        if scenario is None and self._scenario is not None:
            return self._records.of(self._scenario)
        if scenario is None:
            names = self._records.scenarios()
            if len(names) != 1:
                known = ", ".join(names) or "none; run: bench run"
                raise RecordError(f"{self.folder}: {len(names)} scenarios; name one of: {known}.")
            return self._records.of(names[0])
        name, scenario_hash = scenario_in_results(scenario)
        part = self._records.of(name)
        return part if scenario_hash is None else part.with_hash(scenario_hash)

    def _update(self, scenario: ScenarioLike | None, update: int) -> Records:
        part = self._part(scenario)
        found = next((each for each in part.by_update() if each.update == update), None)
        if found is None:
            raise RecordError(
                f"{part.name}: no trials of update {update} among the results. Run them, or name another."
            )
        return found


def report(
    results: Results,
    reports: str | os.PathLike[str] = REPORTS,
    *,
    scenario: ScenarioLike | None = None,
    formats: Sequence[str] = ("pdf", "svg", "png"),
    width: str = "both",
    written: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
    """Draw figures, with captions and tables beside them, and index.html over them all; return the paths of the files.

    scenario: one alone, None for all. formats: of "pdf", "svg" and "png". width: "page" (6.75 inches), "column" (3.3) or "both".
    written: is called with each path once it exists. Raises RecordError where there is no trial, or the folder cannot be written.
    """
    from bench.records.store import require_writable
    from bench.reporting.figures.sheet import prints_of
    from bench.reporting.page import write_page
    from bench.reporting.report import write_reports

    if not isinstance(results, Results) or isinstance(formats, str) or width not in ("page", "column", "both"):
        found = f"results {type(results).__name__}, formats {formats!r}, width {width!r}"
        raise RecordError(
            f"report: found {found}, expected results from load_results() or run(), a list of formats, and a width of 'page', "
            "'column' or 'both'. Change it."
        )
    prints, folder = prints_of(",".join(formats), width), Path(reports)
    parts = results._records.parts(None) if scenario is None else [results._part(scenario)]
    require_writable(folder)
    paths = []
    for path in write_reports(parts, folder, prints):
        written(path)
        paths.append(path)
    page = write_page(parts, folder, paths, only=parts[0].name if scenario is not None else None)
    written(page)
    return [*paths, page]


def report_frontier(results: Results, reports: str | os.PathLike[str], scenario: ScenarioLike) -> list[Path]:
    """Draw the frontier's figure alone into <reports>/<scenario>/frontier, with its tables; return the paths of the files.

    Raises RecordError where there is no trial, or the folder cannot be written.
    """
    from bench.records.store import require_writable
    from bench.reporting.report import write_frontier

    part, folder = results._part(scenario), Path(reports)
    require_writable(folder)
    return write_frontier(part, folder / part.name / "frontier")


def _name_in(part: Records, name: object) -> str:
    """Return a strategy's name as these records have it. Raises RecordError for one that they do not have."""
    if isinstance(name, str):
        with suppress(RecordError):
            part.find(name)
            return name  # as it is: another way of writing it takes torch to read
    return recorded_name(name)


def _currency(name: str) -> str:
    if name not in CURRENCIES:
        raise RecordError(f"currency {name!r}: expected one of {', '.join(CURRENCIES)}. Change it.")
    return name


def _share(target: float) -> float:
    if not isinstance(target, int | float) or not 0 < target <= 1:
        raise RecordError(f"target {target}: expected a share of scratch's accuracy, above 0 and at most 1. Change it.")
    return target
