"""Tables for the terminal and for a paper's draft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from bench.analysis.duel import Duel
from bench.catalog import REFERENCE
from bench.reporting.guards import guard_notes

_LABELS = {"flops": "FLOPs", "steps": "steps", "images": "images", "device_seconds": "device s", "gpu_joules": "joules"}
_LEFT = {"strategy", "95 % interval", "horizons"}


def leaderboard_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of one update's leaderboard, as bench.analysis.leaderboard gives it."""
    return _rich(*leaderboard_cells(rows))


def markdown_table(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(*leaderboard_cells(rows))


def leaderboard_cells(rows: pd.DataFrame) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    """Return (heading, headings, each row's cells by heading, notes) of one update's leaderboard."""
    currencies = _currencies(rows)
    cells = [_cells(row, currencies) for _, row in rows.iterrows()]
    return _heading(rows), list(_headings(currencies)), cells, _notes(rows)


def frontier_table(rows: pd.DataFrame, currency: str) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of strategies at several horizons, as bench.analysis.frontier gives it."""
    return _rich(*_frontier(rows, currency))


def frontier_markdown(rows: pd.DataFrame, currency: str) -> str:
    """Return the same as Markdown."""
    return _markdown(*_frontier(rows, currency))


def _frontier(rows: pd.DataFrame, currency: str) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    label = _LABELS[currency]
    headings = ["strategy", "horizons", "seeds", f"frontier speedup, {label}", f"cost, {label}"]
    cells = []
    for _, row in rows.iterrows():
        cost = _amount(row["cost"], currency) if _there(row["cost"]) else "-"
        texts = (row["strategy"], row["horizons"], str(row["n"]), _ratio_text(row), cost)
        cells.append(dict(zip(headings, texts, strict=True)))
    notes = [
        "Scratch's full cost over the least cost whose final accuracy is at the target, between horizons by a line over the "
        "logarithm of cost. Where several horizons were run this leads: it flatters no early decay of the learning rate."
    ]
    return "Frontier over horizons", headings, cells, notes


def pooled_table(rows: pd.DataFrame) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of several scenarios together, as bench.analysis.pooled gives it."""
    return _rich(*_pooled(rows))


def pooled_markdown(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(*_pooled(rows))


def _pooled(rows: pd.DataFrame) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
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
    interval = f" ({row['iqm_low']:.2f} to {row['iqm_high']:.2f})" if _there(row["iqm_low"]) else ""
    return f"{row['iqm']:.2f}{interval}" if _there(row["iqm"]) else "-"


def _currencies(rows: pd.DataFrame) -> list[str]:
    """Return the currencies to show: the leading one, then those of FLOPs, steps, seconds and joules that were measured."""
    lead = rows["currency"].iloc[0]
    others = [name for name in ("flops", "steps", "device_seconds", "gpu_joules") if name != lead]
    joules = not rows["value_gpu_joules"].isna().all()
    return [lead, *(name for name in others if name != "gpu_joules" or joules)]


def _headings(currencies: Sequence[str]) -> tuple[str, ...]:
    lead, *others = (_LABELS[name] for name in currencies)
    first = ("rank", "strategy", "horizon", "seeds", "reached", f"speedup, {lead}", "95 % interval")
    return (*first, *others, f"cost, {lead}", "+ base", "validation", "test", "test at crossing")


def duel_table(found: Duel, one: str, other: str) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) of two strategies against each other, as bench.analysis.duel gives it."""
    label = _LABELS[found.currency]
    headings = ["strategy", "seeds", "reached", f"median, {label}", f"restricted mean, {label}"]
    cells = []
    for name, reach in ((one, found.reach), (other, found.other_reach)):
        median = _amount(reach.median, found.currency) if math.isfinite(reach.median) else "not reached"
        texts = (
            name,
            str(len(found.seeds)),
            f"{reach.share:.0%}",
            median,
            _amount(reach.restricted_mean, found.currency),
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
    """Return (heading, table, notes) of a chain's whole life, as bench.analysis.life gives it."""
    return _rich(*_life(rows))


def life_markdown(rows: pd.DataFrame) -> str:
    """Return the same as Markdown."""
    return _markdown(*_life(rows))


def _rich(
    heading: str, headings: Sequence[str], cells: list[dict[str, str]], notes: list[str]
) -> tuple[Text, Table, Text]:
    table = Table(box=None, header_style="bold")
    for name in headings:
        table.add_column(name, justify="left" if name in _LEFT else "right")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row.values()))
    return Text(heading, style="bold"), table, Text("\n".join(notes), style="dim")


def _markdown(heading: str, headings: Sequence[str], cells: list[dict[str, str]], notes: list[str]) -> str:
    lines = [
        "| " + " | ".join(headings) + " |",
        "|" + "|".join(" --- " if name in _LEFT else " ---: " for name in headings) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row.values()) + " |" for row in cells),
    ]
    first, *more = heading.split("\n")
    return "\n".join([f"**{first}**", "", *more, "", *lines, "", *(f"{note}  " for note in notes)]) + "\n"


def _life(rows: pd.DataFrame) -> tuple[str, list[str], list[dict[str, str]], list[str]]:
    """Return (heading, headings, cells, notes): the life in FLOPs, and the savings in the other currencies."""
    flops = rows[rows["currency"] == "flops"]
    updates = [f"update_{number}" for number in range(1, int(flops["updates"].iloc[0]) + 1)]
    headings = ["strategy", "horizon", "seeds", "held", "base", *(name.replace("_", " ") for name in updates), "total"]
    headings += ["whole life, FLOPs", "steps", "device s"]
    cells = []
    for _, row in flops.iterrows():
        found = [row["strategy"], f"{row['horizon']:g}", str(row["n"])]
        if row["n"]:
            found.append(f"{int(row['held'])} of {row['updates']}")
            found += [f"{row[name]:.3e}" if _there(row[name]) else "-" for name in ("base", *updates, "total")]
            mine = rows[(rows["strategy"] == row["strategy"]) & (rows["horizon"] == row["horizon"])].set_index(
                "currency"
            )
            for currency in ("flops", "steps", "device_seconds"):
                found.append(_ratio_text(mine.loc[currency]) if currency in mine.index else "-")
        cells.append(dict(zip_longest(headings, found, fillvalue="-")))
    notes = [
        "Whole life: scratch's total over the strategy's. Totals: the base model, which scratch every time needs, too, and every "
        "update to the end of its horizon, for the next one starts there. Base and updates in FLOPs.",
        "'<': not every update held its target, so less was bought than from scratch.",
    ]
    if flops["base"].isna().all():
        notes.append("What the base model had cost is unknown and in no total.")
    return f"{flops['scenario_title'].iloc[0]}, the whole life", headings, cells, notes


def _ratio_text(row: Any) -> str:
    return f"{row['value']:.2f}" if row["relation"] == "=" else f"{row['relation']} {row['value']:.2f}"


def _heading(rows: pd.DataFrame) -> str:
    scratch = rows[rows["strategy"] == REFERENCE].iloc[0]
    which = f", update {scratch['update']} of {scratch['updates']}" if scratch["updates"] > 1 else ""
    spread = f" ± {scratch['target_std']:.4f}" if _there(scratch["target_std"]) else ""
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
            _amount(cost, lead) if _there(cost) else "-",
            _amount(cost + base, lead) if _there(cost) and _there(base) else "-",
            accuracy_text(row, "validation_accuracy"),
            accuracy_text(row, "test_accuracy"),
            f"{row['test_at_crossing']:.4f}" if _there(row["test_at_crossing"]) else "-",
        ]
    return dict(zip_longest(_headings(currencies), found, fillvalue="-"))


def _amount(value: float, currency: str) -> str:
    return f"{value:.3e}" if currency == "flops" else f"{value:,.0f}"


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = [
        "Speedup: scratch's cost at the target / the strategy's, in each currency. "
        "'<' is a bound: the strategy did not hold the target within its horizon (censored).",
        "Cost: to the target, or in all where censored; '+ base' adds what the old model had cost. "
        f"Device: {_each(rows['device'])}. Commit: {_each(rows['commit'])}.",
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


def speedup_text(row: Any, currency: str) -> str:
    """Return "2.31", a bound like "< 0.87", or "-" where it cannot be compared."""
    value, relation = row[f"value_{currency}"], row[f"relation_{currency}"]
    if relation == "undetermined":
        return "undetermined"
    if not _there(value):
        return "-"
    return f"{value:.2f}" if relation == "=" else f"{relation} {value:.2f}"


def interval_text(row: Any, currency: str) -> str:
    """Return "1.90 to 2.70 (t, n = 5)", or why there is none."""
    low, high, note = (row[f"{name}_{currency}"] for name in ("low", "high", "note"))
    return f"{low:.2f} to {high:.2f} ({note})" if _there(low) and _there(high) else note or "-"


def accuracy_text(row: Any, column: str) -> str:
    """Return mean and standard deviation over seeds."""
    std = row[f"{column}_std"]
    return f"{row[column]:.4f}" + (f" ± {std:.4f}" if _there(std) else "")


def _each(values: pd.Series) -> str:
    return ", ".join(sorted(set(filter(None, values))))


def _there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
