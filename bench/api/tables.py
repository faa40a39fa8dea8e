"""The tables made from records: each a data frame, and the same in words for a terminal, Markdown, LaTeX or a notebook."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from bench.analysis.ranking.aggregate import seed_speedups
from bench.analysis.ranking.imported import with_imported
from bench.analysis.ranking.leaderboard import leaderboard, mean_curves
from bench.analysis.ranking.open_division import with_open
from bench.analysis.ranking.pooled import pool
from bench.analysis.speedup.curves import COLUMNS
from bench.analysis.studies.duel import Comparison as Duel
from bench.analysis.studies.duel import compare
from bench.analysis.studies.frontier import frontiers
from bench.analysis.studies.life import whole_life
from bench.catalog import TUNING_FROM
from bench.records.imported import imported_curves
from bench.reporting.ablations import ablation_cells, ablation_plan_cells
from bench.reporting.card import Origin, results_card
from bench.reporting.incomplete import incomplete_note, marked, noted
from bench.reporting.latex import latex_plain, latex_table
from bench.reporting.layout import Cells, html_table, markdown
from bench.reporting.tables import (
    audited,
    comparison_cells,
    frontier_cells,
    leaderboard_cells,
    life_cells,
    pooled_cells,
)
from bench.reporting.verdict import verdict_lines

if TYPE_CHECKING:
    from bench.records.collect import Records
    from bench.records.rules import Verdict

__all__ = ["COLUMNS"]

_TUNING = f"Tuning: seeds from {TUNING_FROM} on, which are never scored."
_PRINTED = 4  # the lowest priority of a column that a page has room for


@dataclass(frozen=True)
class Table:
    """A table. frame: all that there is, see docs/tables.md. cells: the same in words.

    kind: its value in the column `table` of CSV and JSON.
    """

    frame: pd.DataFrame
    cells: Cells
    kind: ClassVar[str] = ""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        return markdown(self.cells)

    def latex(self) -> str:
        """Return the table as a LaTeX table environment; it needs \\usepackage{booktabs}.

        Without the least important columns, so that it fits lines of 6.5 inches.
        """
        return latex_plain(
            self.cells.pick([column.key for column in self.cells.columns if column.priority <= _PRINTED])
        )

    def _repr_html_(self) -> str:
        return html_table(self.cells)


@dataclass(frozen=True)
class Leaderboard(Table):
    """One update's ranking. Columns of the frame: see bench.analysis.ranking.leaderboard.leaderboard.

    verdict: what was saved, in one sentence per line, the best strategy first; empty where there is only scratch.
    over_horizons: the frontier's frame. origin: where the rows come from.
    """

    kind: ClassVar[str] = "leaderboard"
    verdict: str = ""
    over_horizons: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    origin: Origin = field(default=Origin((), (), (), ()), repr=False)

    @classmethod
    def of(
        cls,
        records: Records,
        currency: str,
        share: float,
        frontier: Frontier | None = None,
        results: Path | None = None,
        opened: Records | None = None,
    ) -> Leaderboard:
        """Rank the records of one update. frontier: of the same records, if it is known already.

        results: the folder whose imported curves are shown, too, below the others; None shows none. opened: the open division of
        all scenarios, likewise.
        """
        rows = leaderboard(records.trials, records.evals, currency=currency, share=share)
        over_horizons = (frontier or Frontier.of(records, currency, share)).frame
        verdict = "\n".join(verdict_lines(rows, over_horizons))
        tuning = (_TUNING,) if (records.trials["seed"] >= TUNING_FROM).any() else ()
        curves = imported_curves(results, records.name) if results and records.update == 1 and not tuning else None
        if curves is not None:
            rows = with_imported(rows, records.trials, records.evals, curves, currency=currency, share=share)
        others = _of_update(opened, records)
        if others is not None:
            rows = with_open(rows, others.trials, others.evals, currency=currency, share=share)
        cells = noted(leaderboard_cells(rows, verdict), records)
        cells = replace(cells, notes=(*cells.notes, *tuning))
        return cls(marked(rows, records), cells, verdict, over_horizons, Origin.of(records.trials))

    def card(self) -> str:
        """Return a results card in Markdown, for a paper or beside a model: what was found, of what, and what may be wrong."""
        return results_card(self.frame, self.cells, self.over_horizons, self.origin)

    def latex(self) -> str:
        """Return the table as a LaTeX table environment, the best in bold; it needs \\usepackage{booktabs}."""
        return latex_table(self.frame, self.verdict)


@dataclass(frozen=True)
class Frontier(Table):
    """Strategies at several horizons. Columns of the frame: see bench.analysis.studies.frontier.frontiers."""

    kind: ClassVar[str] = "frontier"

    @classmethod
    def of(cls, records: Records, currency: str, share: float) -> Frontier:
        rows = frontiers(records.trials, records.evals, currency=currency, share=share)
        about = records.trials.iloc[0]
        named = rows.assign(scenario=about["scenario"], update=about["update"], currency=currency, share=share)
        return cls(marked(named, records), noted(frontier_cells(rows, currency), records))


@dataclass(frozen=True)
class WholeLife(Table):
    """A chain's updates together. Columns of the frame: see bench.analysis.studies.life.whole_life."""

    kind: ClassVar[str] = "whole_life"

    @classmethod
    def of(cls, records: Records, share: float) -> WholeLife:
        rows = whole_life(records.trials, records.evals, share=share)
        cells = noted(life_cells(rows), records)
        keys = set(zip(rows["strategy"], rows["horizon"], strict=True))
        published = replace(cells, notes=(*cells.notes, *_published_note(records, keys)))
        return cls(marked(rows.assign(scenario=records.name, share=share), records), published)


@dataclass(frozen=True)
class Pooled(Table):
    """Several scenarios together. Columns of the frame: see bench.analysis.ranking.pooled.pool."""

    kind: ClassVar[str] = "pooled"

    @classmethod
    def of(
        cls, parts: Sequence[Records], currency: str, share: float, boards: Sequence[pd.DataFrame] | None = None
    ) -> Pooled:
        updates = [update for part in parts for update in part.by_update()]
        ranked = boards or [leaderboard(each.trials, each.evals, currency=currency, share=share) for each in updates]
        seeds = [seed_speedups(each.trials, each.evals, currency=currency, share=share) for each in updates]
        rows = pool(ranked, seeds)
        return cls(marked(rows.assign(currency=currency, share=share), *parts), noted(pooled_cells(rows), *parts))


@dataclass(frozen=True)
class AblationTable(Table):
    """One scenario's part of an ablation, or all together. Columns: see bench.analysis.studies.equal_cost.equal_cost_ablation."""

    kind: ClassVar[str] = "ablation"

    @classmethod
    def of(cls, rows: pd.DataFrame, title: str) -> AblationTable:
        return cls(rows, ablation_cells(rows, title))


@dataclass(frozen=True)
class AblationPlanTable(Table):
    """One scenario's part of the plan of an ablation. Columns of the frame: see bench.api.ablations.AblationPlan."""

    kind: ClassVar[str] = "ablation_plan"

    @classmethod
    def of(cls, rows: pd.DataFrame, title: str) -> AblationPlanTable:
        return cls(rows, ablation_plan_cells(rows, title))


@dataclass(frozen=True)
class Comparison:
    """Two strategies against each other, at each pair of horizons that is compared.

    duels: one for each pair, with costs, tests and final accuracies. currency: of the costs. notes: on records that come
    with bench, and on those that cannot be read, if there are any. left_out: how many of these.
    """

    duels: tuple[Duel, ...]
    currency: str
    notes: tuple[str, ...] = ()
    left_out: int = 0

    @classmethod
    def of(cls, records: Records, one: str, other: str, currency: str, share: float) -> Comparison:
        pairs = records.pairs(one, other)
        found = [compare(records.trials, records.evals, *pair, currency=currency, share=share) for pair in pairs]
        notes = _published_note(records, {key for pair in pairs for key in pair})
        incomplete = incomplete_note(records.unreadable)
        return cls(tuple(found), currency, (*notes, *filter(None, [incomplete])), len(records.unreadable))

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each pair and accuracy: one, other, one_horizon, other_horizon, then as in duel.final_differences.

        And, the same in each row of a pair: cost_ratio (the geometric mean of the other's cost at the target over one's; None
        where a seed missed it), paired_p, log_rank_p.
        """
        rows = []
        for found in self.duels:
            (one, one_horizon), (other, other_horizon) = found.one, found.other
            costs = found.costs
            tests = {
                "cost_ratio": costs and costs.ratio,
                "paired_p": costs and costs.paired_p,
                "log_rank_p": costs and costs.log_rank_p,
            }
            about = {"one": one, "other": other, "one_horizon": one_horizon, "other_horizon": other_horizon}
            rows.append(found.accuracies.assign(**about, **tests))
        table = pd.concat(rows, ignore_index=True)
        return table.assign(left_out=self.left_out) if self.left_out else table

    @property
    def cells(self) -> list[Cells]:
        """The same in words: two tables for each pair, costs and accuracies."""
        tables = [cells for found in self.duels for cells in comparison_cells(found, self.currency)]
        return [replace(each, notes=(*each.notes, *self.notes)) for each in tables]

    def _repr_html_(self) -> str:
        return "\n".join(map(html_table, self.cells))


@dataclass(frozen=True)
class Curves:
    """Accuracy against cost. Columns of the frame: see bench.analysis.ranking.leaderboard.mean_curves."""

    frame: pd.DataFrame
    currency: str

    @classmethod
    def of(cls, records: Records, currency: str) -> Curves:
        return cls(marked(mean_curves(records.trials, records.evals, currency), records), currency)

    def _repr_html_(self) -> str:
        return self.frame.to_html(index=False, float_format="{:.4g}".format)


@dataclass(frozen=True)
class Check:
    """Records against the rules. verdict: rules in words, number of trials, violations."""

    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether every rule is kept."""
        return not self.verdict.violations

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each violation: rule, where (a folder below the results), found."""
        return pd.DataFrame([vars(each) for each in self.verdict.violations], columns=["rule", "where", "found"])

    def _repr_html_(self) -> str:
        from bench.reporting.metering import rules_cells

        return html_table(rules_cells(self.verdict))


def all_tables(
    parts: Sequence[Records], currency: str, share: float, results: Path | None = None, opened: Records | None = None
) -> list[Table]:
    """Return each scenario's leaderboards, update by update with its frontier, a chain's whole life, and all of them pooled.

    results, opened: as for Leaderboard.of.
    """
    tables: list[Table] = []
    boards: list[pd.DataFrame] = []
    for part in parts:
        for update in part.by_update():
            frontier = Frontier.of(update, currency, share)
            board = Leaderboard.of(update, currency, share, frontier, results, opened)
            boards.append(audited(board.frame))
            tables += [board, *([] if frontier.frame.empty else [frontier])]
        if part.chain:
            tables.append(WholeLife.of(part, share))
    if len(parts) > 1:
        tables.append(Pooled.of(parts, currency, share, boards))
    return tables


def _of_update(opened: Records | None, records: Records) -> Records | None:
    """Return the open division's part of an update, or None if it has none."""
    if opened is None or opened.trials.empty or records.name not in opened.scenarios():
        return None
    parts = [each for each in opened.of(records.name).by_update() if each.update == records.update and len(each.evals)]
    return parts[0] if parts else None


def _published_note(records: Records, keys: set[tuple[str, float]]) -> tuple[str, ...]:
    """Return a note that names which of these strategies' records come with bench, or none."""
    if "shipped" not in records.trials:
        return ()
    shipped = records.trials[records.trials["shipped"]]
    found = {*zip(shipped["strategy"], shipped["horizon"], strict=True)} & keys
    names = ", ".join(f"{strategy}@{horizon:g}" for strategy, horizon in sorted(found))
    return (f"Published, from the records that come with bench: {names}.",) if names else ()


def as_csv(tables: Sequence[Table]) -> str:
    """Return all tables as one CSV text: column `table` says which table a row is of; columns that its table lacks are empty."""
    frames = [_named(table) for table in tables]
    rows = pd.concat(frames, ignore_index=True)
    # Rows of a table without such a column would turn its whole numbers into 3.0.
    whole = [
        name for name in rows if all(pd.api.types.is_integer_dtype(frame[name]) for frame in frames if name in frame)
    ]
    rows = rows.astype(dict.fromkeys(whole, "Int64"))
    return rows.to_csv(index=False, lineterminator="\n").rstrip("\n")


def as_json(tables: Sequence[Table]) -> str:
    """Return all tables as one JSON list of rows: `table` says which table a row is of, and a row has that table's columns."""
    rows = [row for table in tables for row in json.loads(_named(table).to_json(orient="records"))]
    return json.dumps(rows, indent=1)


def _named(table: Table) -> pd.DataFrame:
    rows = table.frame.copy()
    rows.insert(0, "table", table.kind)
    return rows
