"""What each table says, in words: layout.py sets them as text, Markdown or HTML, latex.py as LaTeX."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.analysis.studies.duel import Comparison
from bench.catalog import REFERENCE
from bench.reporting.guards import SEEN_MARK, guard_notes, name_of, seen_mark, seen_note, seen_notes
from bench.reporting.layout import Cells, Column
from bench.reporting.numbers import (
    CURRENCY_LABELS,
    accuracy_text,
    amount,
    counted,
    frontier_text,
    is_there,
    ratio_text,
    speedup_text,
    speedup_with_interval,
)

BASE_NOTE = "; '+ base' adds the cost of the old model"
_DASH = "-"


def leaderboard_cells(rows: pd.DataFrame, verdict: str = "") -> Cells:
    """Return one update's leaderboard, as returned by bench.analysis.ranking.leaderboard, in words.

    verdict: lines that say what was saved, as returned by bench.reporting.verdict; they come below the scenario's title.
    """
    currencies = _currencies(rows)
    lead, *others = currencies
    columns = (
        Column("rank", "rank"),
        Column("strategy", "strategy", left=True),
        Column("horizon", "horizon", 1),
        Column("speedup", f"speedup, {CURRENCY_LABELS[lead]}"),
        Column("seeds", "seeds"),
        Column("validation", "validation"),
        Column("test", "test", 2),
        Column("interval", "interval", 11, left=True),
        *(Column(name, CURRENCY_LABELS[name], 4 + place) for place, name in enumerate(others)),
        Column("cost", f"cost, {CURRENCY_LABELS[lead]}", 8),
        Column("base", "+ base", 9),
        Column("test_at_crossing", "test at crossing", 10),
        *((Column("tuning", "tuning", 3, left=True),) if "tuning" in rows else ()),
    )
    horizons = rows.groupby("strategy")["horizon"].nunique()
    several = set(horizons[horizons > 1].index)
    found = tuple(_cells(row, several, lead, others, len(columns)) for row in rows.to_dict("records"))
    return Cells(_heading(rows, verdict), columns, found, tuple(_notes(rows)))


def frontier_cells(rows: pd.DataFrame, currency: str) -> Cells:
    """Return strategies at several horizons, as returned by bench.analysis.studies.frontier, in words."""
    label = CURRENCY_LABELS[currency]
    columns = (
        Column("strategy", "strategy", left=True),
        Column("horizons", "horizons", left=True),
        Column("seeds", "seeds"),
        Column("speedup", f"frontier speedup, {label}"),
        Column("inside", "inside one run", 1),
        Column("cost", f"cost, {label}", 2),
        Column("attributable", "attributable", 3),
        Column("interval", "interval", 5, left=True),
    )
    found = [
        (
            name_of(row),
            str(row["horizons"]),
            str(row["n"]),
            frontier_text(row),
            speedup_text(row, "inside"),
            amount(row["cost"], currency) if is_there(row["cost"]) else _DASH,
            f"{row['attributable']:.2f}" if is_there(row["attributable"]) else _DASH,
            str(row["note"]),
        )
        for row in rows.to_dict("records")
    ]
    note = (
        "Scratch's full cost over the lowest cost at and beyond which every horizon ends at the target, interpolated between "
        "horizons on a logarithmic cost axis. In brackets, the 95 % interval: the costs at which a paired t test cannot "
        "distinguish the strategy's accuracy from scratch's; an end with < or > lies outside the horizons that were run. Where "
        "several horizons were run, this is the headline: it does not favour schedules that lower the learning rate early. "
        "Inside one run: the leaderboard's number for the longest horizon, which may reach the target for good before its end. "
        "Attributable: the same against scratch's own frontier, its least cost at the target when it may be shorter, too."
    )
    return Cells("Frontier over horizons", columns, tuple(found), (note, *seen_notes(rows)))


def pooled_cells(rows: pd.DataFrame) -> Cells:
    """Return several scenarios together, as returned by bench.analysis.ranking.pooled, in words."""
    known = "iqm" in rows
    columns = (
        Column("strategy", "strategy", left=True),
        Column("horizon", "horizon"),
        Column("reached", "reached"),
        Column("geometric_mean", "geometric mean"),
        Column("score", "score", 1),
        *((Column("iqm", "IQM of seeds", 2),) if known else ()),
    )
    found = []
    for row in rows.to_dict("records"):
        reached = f"{row['reached']} of {row['scenarios']}"
        texts = (name_of(row), f"{row['horizon']:g}", reached, f"{row['geometric_mean']:.2f}", f"{row['score']:.2f}")
        found.append((*texts, *((_iqm_text(row),) if known else ())))
    notes = (
        [] if set(rows["strategy"]) - {REFERENCE} else ["No other strategy was run, at one length, in every scenario."]
    )
    notes += [
        "Geometric mean of the speedups; a miss counts as scratch's budget plus one step. Score: area under the performance "
        "profile from 1 to 4 times the lowest cost; it depends on which other strategies entered. Only strategies that every "
        "table contains.",
    ]
    if known:
        notes.append(
            "IQM: interquartile mean of all seeds' log speedups, with the 95 % interval of a stratified bootstrap over seeds on "
            "these scenarios; too narrow where seeds are few."
        )
    return Cells("All scenarios together", columns, tuple(found), (*notes, *seen_notes(rows)))


def life_cells(rows: pd.DataFrame) -> Cells:
    """Return a chain's whole life, as returned by bench.analysis.studies.life, in words: FLOPs, and savings in all currencies."""
    flops = rows[rows["currency"] == "flops"]
    updates = [f"update_{number}" for number in range(1, int(flops["updates"].iloc[0]) + 1)]
    currencies = ("flops", "steps", "device_seconds")
    columns = (
        Column("strategy", "strategy", left=True),
        Column("horizon", "horizon", 1),
        Column("speedup", "whole life, FLOPs"),
        Column("held", "held"),
        Column("seeds", "seeds"),
        *(Column(name, CURRENCY_LABELS[name], 2 + place) for place, name in enumerate(currencies[1:])),
        Column("total", "total", 4),
        Column("base", "base", 5),
        *(Column(name, name.replace("_", " "), 6 + place) for place, name in enumerate(updates)),
    )
    found = []
    for row in flops.to_dict("records"):
        begin = (name_of(row), f"{row['horizon']:g}")
        if not row["n"]:
            found.append((*begin, _DASH, _DASH, "0", *(_DASH for _ in columns[5:])))
            continue
        mine = rows[(rows["strategy"] == row["strategy"]) & (rows["horizon"] == row["horizon"])].set_index("currency")
        ratios = [ratio_text(mine.loc[name]) if name in mine.index else _DASH for name in currencies]
        costs = [f"{row[name]:.3e}" if is_there(row[name]) else _DASH for name in ("total", "base", *updates)]
        held = f"{int(row['held'])} of {row['updates']}"
        found.append((*begin, ratios[0], held, str(row["n"]), *ratios[1:], *costs))
    notes = [
        "Whole life: scratch's total cost over the strategy's. A total is the base model, which training from scratch every time "
        "needs as well, plus every update to the end of its horizon, where the next one starts. Base and updates in FLOPs.",
        "'<': some update missed its target, so the strategy ended below scratch there.",
    ]
    if flops["base"].isna().all():
        notes.append("The cost of the base model is unknown and is in no total.")
    return Cells(f"{flops['scenario_title'].iloc[0]}, whole life", columns, tuple(found), (*notes, *seen_notes(rows)))


def comparison_cells(found: Comparison, currency: str) -> list[Cells]:
    """Return two strategies against each other, as returned by bench.analysis.studies.duel, in words: costs, then accuracies."""
    one, other = (
        f"{strategy}@{horizon:g}{SEEN_MARK * (strategy in found.seen)}"
        for strategy, horizon in (found.one, found.other)
    )
    tables = [_cost_cells(found, one, other, currency), _accuracy_cells(found.accuracies, one, other)]
    notes = (seen_note(found.seen.values()),) if found.seen else ()
    return [replace(each, notes=(*each.notes, *notes)) for each in tables]


def _cost_cells(found: Comparison, one: str, other: str, currency: str) -> Cells:
    label, costs = CURRENCY_LABELS[currency], found.costs
    if costs is None:
        return Cells(f"{one} against {other}", (), (), (f"Costs at the target are not compared: {found.reason}",))
    columns = (
        Column("strategy", "strategy", left=True),
        Column("seeds", "seeds"),
        Column("reached", "reached"),
        Column("median", f"median, {label}"),
        Column("restricted_mean", f"restricted mean, {label}", 1),
    )
    cells = []
    for name, reach in ((one, costs.reach), (other, costs.other_reach)):
        median = amount(reach.median, currency) if math.isfinite(reach.median) else "not reached"
        restricted = amount(reach.restricted_mean, currency)
        cells.append((name, str(len(costs.seeds)), f"{reach.share:.0%}", median, restricted))
    notes = []
    if costs.ratio is None:
        notes.append("No ratio: not every seed of both reached the target.")
    else:
        cheaper, times = (one, costs.ratio) if costs.ratio >= 1 else (other, 1 / costs.ratio)
        paired = "" if costs.paired_p is None else f", sign-flip p = {costs.paired_p:.3g} (paired, two-sided)"
        notes.append(f"{cheaper} reaches it {times:.2f} times cheaper{paired}.")
    log_rank = "No log-rank test: no seed reached it, or all did at the same cost"
    if costs.log_rank_p is not None:
        log_rank = f"Log-rank p = {costs.log_rank_p:.3g} (unpaired, includes the misses)"
    notes.append(f"{log_rank}. Median: Kaplan-Meier. Restricted mean: up to the higher of the two whole costs.")
    share = "" if costs.share == 1 else f"{costs.share:g} of "
    origin = "scratch's on the same seeds"
    if costs.published_n is not None:
        origin = f"the published ({costs.published_n} seeds)"
    heading = f"{one} against {other}\nTarget: validation accuracy {costs.target:.4f}, {share}{origin}"
    return Cells(heading, columns, tuple(cells), tuple(notes))


def _accuracy_cells(rows: pd.DataFrame, one: str, other: str) -> Cells:
    columns = (
        Column("accuracy", "final accuracy", left=True),
        Column("difference", "difference (95 % interval)"),
        Column("seeds", "seeds"),
        Column("one", one, 1),
        Column("other", other, 2),
    )
    cells = []
    for row in rows.to_dict("records"):
        part, _, which = str(row["accuracy"]).partition("_accuracy")
        interval = f" ({row['low']:+.4f} to {row['high']:+.4f})" if is_there(row["low"]) else ""
        name = f"{part}, {which.removeprefix('_') or 'all'}"
        cells.append((name, f"{row['difference']:+.4f}{interval}", str(row["n"]), *_means(row)))
    notes = [f"Difference: {one} minus {other} at the end, paired by seed; interval by Student's t."]
    if rows["low"].isna().any():
        notes.append("No interval: fewer than two seeds, or the same difference at every seed.")
    return Cells(f"Final accuracy, {one} minus {other}", columns, tuple(cells), tuple(notes))


def _means(row: Any) -> tuple[str, str]:
    return f"{row['mean']:.4f}", f"{row['other_mean']:.4f}"


def _iqm_text(row: Any) -> str:
    interval = f" ({row['iqm_low']:.2f} to {row['iqm_high']:.2f})" if is_there(row["iqm_low"]) else ""
    return f"{row['iqm']:.2f}{interval}" if is_there(row["iqm"]) else _DASH


def _currencies(rows: pd.DataFrame) -> list[str]:
    """Return the currencies to show: the leading one, then those of FLOPs, steps, seconds and joules that were measured."""
    lead = rows["currency"].iloc[0]
    others = [name for name in ("flops", "steps", "device_seconds", "gpu_joules") if name != lead]
    joules = not rows["value_gpu_joules"].isna().all()
    return [lead, *(name for name in others if name != "gpu_joules" or joules)]


def _heading(rows: pd.DataFrame, verdict: str) -> str:
    scratch = _reference(rows)
    which = f", update {scratch['update']} of {scratch['updates']}" if scratch["updates"] > 1 else ""
    spread = f" ± {scratch['target_std']:.4f}" if is_there(scratch["target_std"]) else ""
    share = "" if scratch["share"] == 1 else f"{scratch['share']:g} of the "
    origin = f"provisional ({share}mean of scratch's {counted(scratch['n'], 'seed')})"
    if "published_source" in rows:
        of_it = "" if scratch["share"] == 1 else f"{scratch['share']:g} of it, "
        origin = f"published ({of_it}{scratch['published_n']} seeds, {scratch['published_source']})"
    target = f"Target: validation accuracy {scratch['target']:.4f}{spread}, {origin}"
    return "\n".join(filter(None, (f"{scratch['scenario_title']}{which}", verdict, target)))


def _reference(rows: pd.DataFrame) -> pd.Series:
    return rows[(rows["strategy"] == REFERENCE) & (rows["horizon"] == 1.0)].iloc[0]


def _cells(row: Any, several: Collection[str], lead: str, others: Sequence[str], count: int) -> tuple[str, ...]:
    """Return a row's cells; "-" where there is nothing to say. several: strategies at more than one horizon."""
    name = f"{row['strategy']}@{row['horizon']:g}" if row["strategy"] in several else str(row["strategy"])
    reference = not is_there(row.get("reached"))  # it sets the target, or there is none
    marks = seen_mark(row) + " (modified)" * bool(row["modified"]) + " (published)" * bool(row.get("shipped"))
    gaps = [f"{row[what]} {what}" for what in ("unfinished", "missing") if row[what]]
    reached = f"{row['n']}" if reference or not row["n"] else f"{round(row['reached'] * row['n'])} of {row['n']}"
    seeds = reached + (f" ({', '.join(gaps)})" if gaps else "")
    begin = (str(row["rank"]) if is_there(row["rank"]) else _DASH, name + marks, f"{row['horizon']:g}")
    if not row["n"]:
        return (*begin, _DASH, seeds, *(_DASH for _ in range(count - 5)))
    cost, base = row[f"cost_{lead}"], row.get(f"base_{lead}")
    return (
        *begin,
        speedup_with_interval(row, lead),
        seeds,
        accuracy_text(row, "validation_accuracy"),
        accuracy_text(row, "test_accuracy"),
        row[f"note_{lead}"] or _DASH,
        *(speedup_with_interval(row, name) for name in others),
        amount(cost, lead) if is_there(cost) else _DASH,
        amount(cost + base, lead) if is_there(cost) and is_there(base) else _DASH,
        f"{row['test_at_crossing']:.4f}" if is_there(row["test_at_crossing"]) else _DASH,
        *((_tuning_text(row),) if "tuning" in row else ()),
    )


def _tuning_text(row: Any) -> str:
    """Return what tuning cost, in scratch trainings, and when that is paid for."""
    if row["strategy"] == REFERENCE:
        return _DASH
    if not is_there(row["tuning"]):
        return "not recorded"
    after = row["pays_after"]
    paid = "never paid for" if math.isinf(after) else f"paid for after {counted(int(after), 'update')}"
    return f"{row['tuning']:.1f} scratch trainings, {paid}"


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = [
        "Speedup: scratch's cost at the target over the strategy's, with its 95 % interval where there is one. '<' is a bound: "
        "the strategy did not hold the target within its horizon (censored). Seeds: how many of the compared seeds reached it.",
        f"Cost: up to the target, or of the whole trial if the target was missed{BASE_NOTE}. "
        f"Device: {_each(audited(rows)['device'])}. Commit: {_each(audited(rows)['commit'])}. "
        f"Rules version {rows['rules_version'].iloc[0]}.",
    ]
    if "tuning" in rows:
        notes.append(
            "Tuning: what it cost in FLOPs, in units of one scratch training. An update at the target saves 1 - 1 / speedup."
        )
    short = rows[rows["old_share"] < 1]
    if len(short):
        names = ", ".join(sorted(set(short["strategy"])))
        notes.append(
            f"Memory: {REFERENCE} was trained on all old images; {names} had {short['old_share'].iloc[0]:.1%} of them."
        )
    notes += guard_notes(rows)
    if "division" in rows:
        notes.append(
            "Open: strategies of the open division, with loops of their own, not ranked; a ratio is against their own scratch."
        )
    if "imported" in rows:
        notes.append(
            "Imported: curves from elsewhere, not audited and not ranked; steps, FLOPs and accuracies are as their file says."
        )
    rows = audited(rows)
    if rows["modified"].any():
        notes.append("Modified: some trials ran on code that differs from its commit, or whose commit is unknown.")
    if "commit_reason" in rows and (reasons := _each(rows["commit_reason"].dropna())):
        notes.append(f"Commit unknown: {reasons}.")
    if "shared" in rows and rows["shared"].any():
        notes.append(
            "Shared: some trials ran beside others on their device, or on a busy machine. Seconds and joules are not "
            "compared."
        )
    if "shipped" in rows and rows["shipped"].any():
        notes.append("Published: from the records that come with bench, not from this results folder.")
    return notes


def audited(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the closed division that were not imported: those that are ranked and compared."""
    rows = rows[~rows["imported"].eq(True)] if "imported" in rows else rows
    return rows[rows["division"].ne("open")] if "division" in rows else rows


def _each(values: pd.Series) -> str:
    return ", ".join(sorted({name for value in filter(None, values) for name in value.split(" / ")}))
