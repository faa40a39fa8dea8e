"""What stands behind a leaderboard's row, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis.entries import accuracies_at_target, seed_results
from bench.analysis.leaderboard import CURRENCIES, RELATIVE_TARGETS
from bench.reporting.page.content import Details, Grid
from bench.reporting.page.repeat import repeat_commands, seeds_text
from bench.reporting.tables import accuracy_text, cost_text, currency_label, interval_text, speedup_text

Key = tuple[str, float]
Row = dict[str, Any]
_WHICH = {"": "all", "_old": "old", "_new": "new"}


def details_of(rows: pd.DataFrame, trials: pd.DataFrame, evals: pd.DataFrame) -> list[Details]:
    """Return what stands behind each row of a leaderboard, in its order.

    rows: as bench.analysis.leaderboard gives them. trials, evals: as bench.records.collect does, of the same update.
    """
    by_trial = _grouped(trials)
    seeds = _grouped(seed_results(rows, trials, evals))
    crossings = {key: found[0] for key, found in _grouped(accuracies_at_target(rows, evals)).items()}
    return [
        _details(row, by_trial[key], seeds[key], crossings.get(key))
        for row in rows.to_dict("records")
        for key in [(row["strategy"], row["horizon"])]
    ]


def _grouped(frame: pd.DataFrame) -> dict[Key, list[Row]]:
    groups: dict[Key, list[Row]] = {}
    for row in frame.to_dict("records"):
        groups.setdefault((row["strategy"], row["horizon"]), []).append({str(name): row[name] for name in row})
    return groups


def _details(row: Row, trials: list[Row], seeds: list[Row], crossing: Row | None) -> Details:
    first = trials[0]
    asked = [trial["seed"] for trial in trials]
    tables = [_seeds(seeds)]
    if row["n"]:
        tables = [_costs(row), _targets(row), _accuracies(row, crossing), *tables]
    return Details(
        title=row["title"],
        commands=repeat_commands(row["scenario"], row["strategy"], row["horizon"], asked, any(_own(trials))),
        tables=tuple(tables),
        facts=tuple(_facts(row, first, trials, seeds)),
    )


def _costs(row: Row) -> Grid:
    """Each currency that was measured."""
    lines = [
        (
            currency_label(currency),
            speedup_text(row, currency),
            interval_text(row, currency),
            cost_text(row, f"cost_{currency}", currency),
            cost_text(row, f"bracket_{currency}", currency),
            cost_text(row, f"base_{currency}", currency),
        )
        for currency in CURRENCIES
        if row[f"relation_{currency}"]
    ]
    headings = ("currency", "speedup", "95 % interval", "cost", "one evaluation before", "old model")
    return Grid("Costs: to the target, or in all where censored", headings, tuple(lines))


def _targets(row: Row) -> Grid:
    shares = [f"{share:.2f}" for share in RELATIVE_TARGETS]
    lines = [(f"{share} of scratch's", speedup_text(row, f"flops_at_{share}")) for share in shares]
    return Grid("Lower targets", ("target", "speedup, FLOPs"), tuple(lines))


def _accuracies(row: Row, crossing: Row | None) -> Grid:
    lines = []
    for part in ("validation", "test"):
        later = " or next taken" if part == "test" else ""
        for what, found in (("at the end", row), (f"at the crossing{later}", crossing)):
            texts = [_accuracy(found, f"{part}_accuracy{which}") for which in _WHICH]
            lines.append((f"{part}, {what}", *texts))
    return Grid("Accuracy: mean ± standard deviation over seeds", ("accuracy", *_WHICH.values()), tuple(lines))


def _accuracy(row: Row | None, column: str) -> str:
    if row is None or pd.isna(row.get(column)):
        return "-"
    return accuracy_text({f"{column}_std": None, **row}, column)


def _seeds(seeds: list[Row]) -> Grid:
    measured = [name for name in CURRENCIES if any(pd.notna(seed[name]) for seed in seeds)]
    headings = ["seed", "trial", "in the row", "to the target, FLOPs", *(f"whole, {currency_label(name)}" for name in measured)]
    accuracies = {f"{part}_accuracy{which}": f"{part}, {name}" for part in ("validation", "test") for which, name in _WHICH.items()}
    lines = []
    for seed in seeds:
        state = seed["status"] + (f": {seed['reason']}" if isinstance(seed["reason"], str) else "")
        texts = [str(seed["seed"]), state, "yes" if seed["scored"] else "no"]
        texts.append(cost_text(seed, "flops_at_target", "flops") if seed["held"] is not False else "not held")
        texts += [cost_text(seed, name, name) for name in measured]
        lines.append((*texts, *(_accuracy(seed, column) for column in accuracies)))
    return Grid("Seeds", (*headings, *accuracies.values()), tuple(lines))


def _facts(row: Row, first: Row, trials: Sequence[Row], seeds: list[Row]) -> list[tuple[str, str]]:
    scored = [seed["seed"] for seed in seeds if seed["scored"]]
    gaps = [f"{row[what]} {what}" for what in ("missing", "unfinished") if row[what]]
    facts = [
        ("Strategy", f"{row['strategy']}: {row['title']}"),
        ("Strategy's hash", _each(trials, "strategy_hash")),
        ("Scenario's hash", _each(trials, "scenario_hash")),
        ("Hash of images and split", _each(trials, "data_hash")),
        ("Versions", f"rules {_each(trials, 'rules_version')}, training {_each(trials, 'training_version')}"),
        ("Seeds in the row", ", ".join(filter(None, [f"{seeds_text(scored) or 'none'} (n = {row['n']})", *gaps]))),
        ("Commit", _each(trials, "commit")),
        ("Code", "modified: it differs from its commit, or that is unknown" if row["modified"] else "as committed"),
        ("Device", _each(trials, "device")),
        ("Software", "; ".join(f"Python {one['python']}, {one['packages']}" for one in _unlike(trials, "python", "packages"))),
        ("Settings", "; ".join(map(_settings, _unlike(trials, "threads", "precision", "compiled")))),
        ("Started", _span(trials)),
        ("Command as typed", _each(trials, "command")),
        ("Records", f"{row['scenario']}/{row['strategy']}/{row['horizon']:g}/seed-<n>, below the results"),
    ]
    if first["old_share"] < 1:
        facts.append(("Memory", f"{first['old_share']:.1%} of the older images at hand"))
    return facts


def _own(trials: Sequence[Row]) -> list[bool]:
    return [bool(trial["own_code"]) for trial in trials]


def _unlike(trials: Sequence[Row], *columns: str) -> list[Row]:
    """Return the first trial of each combination of these columns."""
    return list({tuple(trial[name] for name in columns): trial for trial in reversed(trials)}.values())[::-1]


def _each(trials: Sequence[Row], column: str) -> str:
    found = {trial[column] for trial in trials}
    return "; ".join(sorted("unknown" if pd.isna(value) else str(value) for value in found))


def _settings(trial: Row) -> str:
    compiled = "compiled" if trial["compiled"] else "not compiled"
    return f"{trial['threads']} threads, {trial['precision']}, {compiled}"


def _span(trials: Sequence[Row]) -> str:
    started = sorted(trial["started"] for trial in trials)
    return started[0] if len(started) == 1 else f"{started[0]} to {started[-1]}"
