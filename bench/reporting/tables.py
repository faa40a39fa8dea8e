"""Tables for the terminal and for a paper's draft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import pandas as pd
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from bench.analysis.studies.duel import Duel
from bench.catalog import REFERENCE
from bench.reporting.guards import guard_notes
from bench.reporting.numbers import (
    CURRENCY_LABELS,
    accuracy_text,
    amount,
    interval_text,
    is_there,
    ratio_text,
    speedup_text,
)

BASE_NOTE = "; '+ base' adds what the old model had cost"
_LEFT = {"strategy", "95 % interval", "horizons"}
# A table of so many rows is laid out here, as long as it is not too wide to be printed unfolded: rich takes 1.6 ms a row.
_LONG, _WIDEST = 10, 238


def leaderboard_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of one update's leaderboard, as bench.analysis.ranking.leaderboard gives it."""
    return _rich(*leaderboard_cells(rows))


def markdown_table(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(*leaderboard_cells(rows))


def leaderboard_cells(rows: pd.DataFrame) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    """Return (heading, headings, each row's cells by heading, notes) of one update's leaderboard."""
    currencies = _currencies(rows)
    cells = [_cells(row, currencies) for row in rows.to_dict("records")]
    return _heading(rows), list(_headings(currencies)), cells, _notes(rows)


def frontier_table(rows: pd.DataFrame, currency: str) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of strategies at several horizons, as bench.analysis.studies.frontier gives it."""
    return _rich(*frontier_cells(rows, currency))


def frontier_markdown(rows: pd.DataFrame, currency: str) -> str:
    """Return the same as Markdown."""
    return _markdown(*frontier_cells(rows, currency))


def frontier_cells(rows: pd.DataFrame, currency: str) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    """Return (heading, headings, each row's cells by heading, notes) of strategies at several horizons."""
    label = CURRENCY_LABELS[currency]
    headings = ["strategy", "horizons", "seeds", f"frontier speedup, {label}", f"cost, {label}"]
    cells = []
    for _, row in rows.iterrows():
        cost = amount(row["cost"], currency) if is_there(row["cost"]) else "-"
        texts = (row["strategy"], row["horizons"], str(row["n"]), ratio_text(row), cost)
        cells.append(dict(zip(headings, texts, strict=True)))
    notes = [
        "Scratch's full cost over the least cost whose final accuracy is at the target, between horizons by a line over the "
        "logarithm of cost. Where several horizons were run this leads: it flatters no early decay of the learning rate."
    ]
    return "Frontier over horizons", headings, cells, notes


def pooled_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of several scenarios together, as bench.analysis.ranking.pooled gives it."""
    return _rich(*pooled_cells(rows))


def pooled_markdown(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(*pooled_cells(rows))


def pooled_cells(rows: pd.DataFrame) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    """Return (heading, headings, each row's cells by heading, notes) of several scenarios together."""
    known = "iqm" in rows
    headings = ["strategy", "horizon", "reached", "geometric mean", "score", *(("IQM of seeds",) if known else ())]
    cells = []
    for _, row in rows.iterrows():
        reached = f"{row['reached']} of {row['scenarios']}"
        texts = [row["strategy"], f"{row['horizon']:g}", reached, f"{row['geometric_mean']:.2f}", f"{row['score']:.2f}"]
        cells.append(dict(zip(headings, [*texts, *([_iqm_text(row)] if known else [])], strict=True)))
    notes = [
        "Mean of speedups, a miss counting as scratch's budget and one step more. Score: area below the performance profile "
        "from 1 to 4 times the best cost; it depends on who else entered. Strategies that every table holds.",
    ]
    if known:
        notes.append(
            "IQM: mean of the middle half of all seeds' speedups, over their logarithms; in brackets a stratified bootstrap's "
            "95 % interval for other seeds on these scenarios, too narrow where seeds are few."
        )
    return "All these tables together", headings, cells, notes


def _iqm_text(row: Any) -> str:
    interval = f" ({row['iqm_low']:.2f} to {row['iqm_high']:.2f})" if is_there(row["iqm_low"]) else ""
    return f"{row['iqm']:.2f}{interval}" if is_there(row["iqm"]) else "-"


def _currencies(rows: pd.DataFrame) -> list[str]:
    """Return the currencies to show: the leading one, then those of FLOPs, steps, seconds and joules that were measured."""
    lead = rows["currency"].iloc[0]
    others = [name for name in ("flops", "steps", "device_seconds", "gpu_joules") if name != lead]
    joules = not rows["value_gpu_joules"].isna().all()
    return [lead, *(name for name in others if name != "gpu_joules" or joules)]


def _headings(currencies: Sequence[str]) -> tuple[str, ...]:
    lead, *others = (CURRENCY_LABELS[name] for name in currencies)
    first = ("rank", "strategy", "horizon", "seeds", "reached", f"speedup, {lead}", "95 % interval")
    return (*first, *others, f"cost, {lead}", "+ base", "validation", "test", "test at crossing")


def duel_table(found: Duel, one: str, other: str) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of two strategies against each other, as bench.analysis.studies.duel gives it."""
    label = CURRENCY_LABELS[found.currency]
    headings = ["strategy", "seeds", "reached", f"median, {label}", f"restricted mean, {label}"]
    cells = []
    for name, reach in ((one, found.reach), (other, found.other_reach)):
        median = amount(reach.median, found.currency) if math.isfinite(reach.median) else "not reached"
        texts = (
            name,
            str(len(found.seeds)),
            f"{reach.share:.0%}",
            median,
            amount(reach.restricted_mean, found.currency),
        )
        cells.append(dict(zip(headings, texts, strict=True)))
    notes = []
    if found.ratio is None:
        notes.append("No ratio: not every seed of both reached the target.")
    else:
        cheaper, times = (one, found.ratio) if found.ratio >= 1 else (other, 1 / found.ratio)
        paired = "" if found.paired_p is None else f", sign-flip p = {found.paired_p:.3g} (paired, two-sided)"
        notes.append(f"{cheaper} reaches it {times:.2f} times cheaper{paired}.")
    log_rank = "no log-rank test: nobody reached it, or all at one cost"
    if found.log_rank_p is not None:
        log_rank = f"log-rank p = {found.log_rank_p:.3g} (misses taken along, unpaired)"
    notes.append(
        f"{log_rank[0].upper()}{log_rank[1:]}. Median: by Kaplan and Meier. Restricted mean: to the higher whole cost."
    )
    share = "" if found.share == 1 else f"{found.share:g} of "
    origin = (
        "scratch's on the same seeds" if found.published_n is None else f"the published ({found.published_n} seeds)"
    )
    heading = f"{one} against {other}\nTarget: validation accuracy {found.target:.4f}, {share}{origin}"
    return _rich(heading, headings, cells, notes)


def life_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of a chain's whole life, as bench.analysis.studies.life gives it."""
    return _rich(*life_cells(rows))


def life_markdown(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(*life_cells(rows))


def _rich(
    heading: str, headings: Sequence[str], cells: list[dict[str, str]], notes: list[str]
) -> tuple[Text, Table, Text]:
    table, lines = Table(box=None, header_style="bold"), _lines(headings, cells) if len(cells) > _LONG else []
    if lines and cell_len(lines[0]) <= _WIDEST:
        table.add_column(Text(lines[0]), no_wrap=True)
        for line in lines[1:]:
            table.add_row(Text(line))
    else:
        for name in headings:
            table.add_column(name, justify="left" if name in _LEFT else "right")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row.values()))
    return Text(heading, style="bold"), table, Text("\n".join(notes), style="dim")


def _lines(headings: Sequence[str], cells: list[dict[str, str]]) -> list[str]:
    """Return the headings and the rows as lines of one width, columns below each other."""
    rows = [dict(zip(headings, headings, strict=True)), *cells]
    widths = {name: max(cell_len(row[name]) for row in rows) for name in headings}
    lines = []
    for row in rows:
        gaps = {name: " " * (widths[name] - cell_len(row[name])) for name in headings}
        lines.append(
            "  ".join(row[name] + gaps[name] if name in _LEFT else gaps[name] + row[name] for name in headings)
        )
    return lines


def _markdown(heading: str, headings: Sequence[str], cells: list[dict[str, str]], notes: list[str]) -> str:
    lines = [
        "| " + " | ".join(headings) + " |",
        "|" + "|".join(" --- " if name in _LEFT else " ---: " for name in headings) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row.values()) + " |" for row in cells),
    ]
    first, *more = heading.split("\n")
    return "\n".join([f"**{first}**", "", *more, "", *lines, "", *(f"{note}  " for note in notes)]) + "\n"


def life_cells(rows: pd.DataFrame) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    """Return (heading, headings, each row's cells by heading, notes): the life in FLOPs, the savings in all currencies."""
    flops = rows[rows["currency"] == "flops"]
    updates = [f"update_{number}" for number in range(1, int(flops["updates"].iloc[0]) + 1)]
    headings = ["strategy", "horizon", "seeds", "held", "base", *(name.replace("_", " ") for name in updates), "total"]
    headings += ["whole life, FLOPs", "steps", "device s"]
    cells = []
    for _, row in flops.iterrows():
        found = [row["strategy"], f"{row['horizon']:g}", str(row["n"])]
        if row["n"]:
            found.append(f"{int(row['held'])} of {row['updates']}")
            found += [f"{row[name]:.3e}" if is_there(row[name]) else "-" for name in ("base", *updates, "total")]
            mine = rows[(rows["strategy"] == row["strategy"]) & (rows["horizon"] == row["horizon"])].set_index(
                "currency"
            )
            for currency in ("flops", "steps", "device_seconds"):
                found.append(ratio_text(mine.loc[currency]) if currency in mine.index else "-")
        cells.append(dict(zip_longest(headings, found, fillvalue="-")))
    notes = [
        "Whole life: scratch's total over the strategy's. Totals: the base model, which scratch every time needs, too, and every "
        "update to the end of its horizon, for the next one starts there. Base and updates in FLOPs.",
        "'<': not every update held its target, so less was bought than from scratch.",
    ]
    if flops["base"].isna().all():
        notes.append("What the base model had cost is unknown and in no total.")
    return f"{flops['scenario_title'].iloc[0]}, the whole life", headings, cells, notes


def _heading(rows: pd.DataFrame) -> str:
    scratch = rows[rows["strategy"] == REFERENCE].iloc[0]
    which = f", update {scratch['update']} of {scratch['updates']}" if scratch["updates"] > 1 else ""
    spread = f" ± {scratch['target_std']:.4f}" if is_there(scratch["target_std"]) else ""
    share = "" if scratch["share"] == 1 else f"{scratch['share']:g} of the "
    origin = f"provisional ({share}mean of scratch's {scratch['n']} seeds)"
    if "published_source" in rows:
        of_it = "" if scratch["share"] == 1 else f"{scratch['share']:g} of it, "
        origin = f"published ({of_it}{scratch['published_n']} seeds, {scratch['published_source']})"
    return f"{scratch['scenario_title']}{which}\nTarget: validation accuracy {scratch['target']:.4f}{spread}, {origin}"


def _cells(row: Any, currencies: Sequence[str]) -> dict[str, str]:
    """Return a row's cells by heading; "-" where there is nothing to say."""
    lead, *others = currencies
    gaps = [f"{row[what]} {what}" for what in ("unfinished", "missing") if row[what]]
    found = [str(row["rank"]), row["strategy"] + " (modified)" * bool(row["modified"]), f"{row['horizon']:g}"]
    found.append(str(row["n"]) + (f" ({', '.join(gaps)})" if gaps else ""))
    if row["n"]:
        cost, base = row[f"cost_{lead}"], row.get(f"base_{lead}")
        found += [
            f"{row['reached']:.0%}",
            speedup_text(row, lead),
            interval_text(row, lead),
            *(speedup_text(row, name) for name in others),
            amount(cost, lead) if is_there(cost) else "-",
            amount(cost + base, lead) if is_there(cost) and is_there(base) else "-",
            accuracy_text(row, "validation_accuracy"),
            accuracy_text(row, "test_accuracy"),
            f"{row['test_at_crossing']:.4f}" if is_there(row["test_at_crossing"]) else "-",
        ]
    return dict(zip_longest(_headings(currencies), found, fillvalue="-"))


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = [
        "Speedup: scratch's cost at the target / the strategy's, in each currency. "
        "'<' is a bound: the strategy did not hold the target within its horizon (censored).",
        f"Cost: to the target, or in all where censored{BASE_NOTE}. "
        f"Device: {_each(rows['device'])}. Commit: {_each(rows['commit'])}. "
        f"Rules version {rows['rules_version'].iloc[0]}.",
    ]
    short = rows[rows["old_share"] < 1]
    if len(short):
        names = ", ".join(sorted(set(short["strategy"])))
        notes.append(
            f"Memory: {REFERENCE} was trained on all old images; {names} had {short['old_share'].iloc[0]:.1%} of them at hand."
        )
    notes += guard_notes(rows)
    if rows["modified"].any():
        notes.append("Modified: some trials ran on code that differs from its commit, or whose commit is unknown.")
    return notes


def _each(values: pd.Series) -> str:
    return ", ".join(sorted({name for value in filter(None, values) for name in value.split(" / ")}))
