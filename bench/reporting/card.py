"""A results card in Markdown, for a paper or beside a model: what was found, of what, with what, and what may be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.catalog import REFERENCE
from bench.reporting.layout import Cells, markdown_table
from bench.reporting.numbers import CURRENCY_LABELS
from bench.reporting.tables import audited, frontier_cells

_FEW = 5  # seeds, below which an interval is wide
_SHOWN = ("rank", "strategy", "horizon", "speedup", "seeds", "interval", "validation", "test")


@dataclass(frozen=True)
class Origin:
    """Where one update's rows come from, as its trials say: distinct values, sorted."""

    scenario_hash: tuple[str, ...]
    data_hash: tuple[str, ...]
    seeds: tuple[int, ...]
    commands: tuple[str, ...]

    @classmethod
    def of(cls, trials: pd.DataFrame) -> Origin:
        """Return that of the trials of an update, as in bench.records.collect.Records, that have finished."""
        done = trials[trials["status"] == "finished"]
        texts = ({str(value) for value in done[name].dropna()} for name in ("scenario_hash", "data_hash", "command"))
        scenario, data, commands = (tuple(sorted(found)) for found in texts)
        return cls(scenario, data, tuple(sorted({int(seed) for seed in done["seed"]})), commands)


def results_card(rows: pd.DataFrame, cells: Cells, over_horizons: pd.DataFrame, origin: Origin) -> str:
    """Return the card of one update.

    rows, cells: the leaderboard, and the same in words. over_horizons: as returned by frontiers; empty for none.
    """
    own, (title, *verdict, target) = audited(rows), cells.heading.split("\n")
    first, currency = rows.iloc[0], rows["currency"].iloc[0]
    facts = {
        "scenario": f"`{first['scenario']}` (content {_each(origin.scenario_hash)})",
        **({"update": f"{first['update']} of {first['updates']}"} if first["updates"] > 1 else {}),
        "data digest": _each(origin.data_hash),
        "target": target.removeprefix("Target: "),
        "cost": f"{CURRENCY_LABELS[currency]} up to the target",
        "seeds": ", ".join(map(str, origin.seeds)),
        "device": _joined(own["device"]),
        "rules version": f"{first['rules_version']}",
        "commit": ", ".join(f"`{name}`" for name in _parts(own["commit"]))
        + " (modified)" * bool(own["modified"].any()),
    }
    parts = [f"# Results card: {title}", "  \n".join(verdict)]
    parts.append("\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in facts.items())]))
    parts += ["## Strategies", markdown_table(_of(cells, rows.index.isin(own.index)))]
    if not over_horizons.empty:
        over = frontier_cells(over_horizons, currency).only(("strategy", "horizons", "seeds", "speedup", "interval"))
        parts += ["## Over several horizons", markdown_table(over)]
    for column, value, heading in (
        ("division", "open", "## Open division: loops of their own, not ranked"),
        ("imported", True, "## Imported: curves from elsewhere, not audited"),
    ):
        if column in rows:
            parts += [heading, markdown_table(_of(cells, rows[column].eq(value)))]
    parts += ["## Commands", "\n".join(["```", *origin.commands, "```"])]
    parts += ["## Threats to validity", "\n".join(f"* {line}" for line in _threats(own))]
    parts += ["## How to read it", "\n".join(f"* {note}" for note in cells.notes)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _of(cells: Cells, chosen: Iterable[bool]) -> Cells:
    """Return some rows of a table, in the columns of a card. chosen: of each row."""
    kept = tuple(row for row, wanted in zip(cells.rows, chosen, strict=True) if wanted)
    return replace(cells, rows=kept).only(_SHOWN)


def _threats(rows: pd.DataFrame) -> list[str]:
    """Return what speaks against taking the numbers for more than they are. rows: of the closed division."""
    lead = rows["currency"].iloc[0]
    others = rows[(rows["strategy"] != REFERENCE) | (rows["horizon"] != 1.0)]
    names = [f"{row['strategy']}@{row['horizon']:g}" for row in others.to_dict("records")]
    found = ["One data set, one split of it and one model: the intervals are over training seeds alone."]
    compared = others[others["n"] > 0]["n"]
    if len(compared) and compared.min() < _FEW:
        found.append(
            f"Few seeds ({int(compared.min())}, fewer than {_FEW}): an interval that includes 1 shows no saving, and no interval "
            "shows nothing."
        )
    if "published_source" not in rows:
        found.append("The target is the mean of scratch's own seeds, and moves with them: none was published before.")

    def of(mask: Sequence[bool]) -> str:
        return ", ".join(name for name, wanted in zip(names, mask, strict=True) if wanted)

    if bounds := of([relation == "<" for relation in others[f"relation_{lead}"]]):
        found.append(f"Only a bound, since not every seed held the target, or the mean did not: {bounds}.")
    if gaps := of([bool(row["unfinished"] or row["missing"]) for row in others.to_dict("records")]):
        found.append(f"Not every seed of scratch's has a finished trial: {gaps}.")
    if others["strategy"].duplicated().any():
        found.append(
            "Several horizons of one strategy were run: the best row is a choice made after seeing them, the frontier is not."
        )
    if rows["modified"].any():
        found.append("Some trials ran on code that differs from its commit, or whose commit is unknown.")
    if (kinds := len(_parts(rows["device"]))) > 1:
        found.append(f"Trials ran on {kinds} kinds of devices: accuracies may differ in their last digits.")
    return found


def _parts(values: pd.Series) -> list[str]:
    """Return the distinct values of a column whose cells may name several, joined by " / "."""
    return sorted({name for value in values.dropna() if value for name in str(value).split(" / ")})


def _joined(values: pd.Series) -> str:
    return ", ".join(_parts(values))


def _each(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)
