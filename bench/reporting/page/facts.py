"""Where a leaderboard row comes from: code, machine, versions, hashes, seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis.guards.seen import SEEN
from bench.reporting.guards import seen_mark
from bench.reporting.page.repeat import seeds_text

Row = dict[str, Any]


def facts_of(row: Row, trials: Sequence[Row], scored: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Return each fact as (label, value). row: of the leaderboard; trials: its own; scored: those of their seeds that count."""
    first = trials[0]
    gaps = [f"{row[what]} {what}" for what in ("missing", "unfinished") if row[what]]
    facts = [
        ("Strategy", f"{row['strategy']}: {row['title']}"),
        ("Pieces", _pieces(first.get("pieces"))),
        ("Seen?", seen_mark(row) and f"the old model may have been trained on {row[SEEN]} images"),
        ("Memory", "" if first["old_share"] == 1 else f"{first['old_share']:.1%} of the older images available"),
        ("Seeds in the row", ", ".join([f"{seeds_text(scored) or 'none'} (n = {row['n']})", *gaps])),
        ("Commit", _each(trials, "commit")),
        ("Code", "modified, or not known to match its commit" if row["modified"] else "as committed"),
        ("Command as typed", _each(trials, "command")),
        ("Device", _each(trials, "device")),
        ("Settings", "; ".join(map(_settings, _unlike(trials, "threads", "precision", "compiled")))),
        ("Software", "; ".join(map(_software, _unlike(trials, "python", "packages")))),
        ("Started", _span(trials)),
        ("Versions", f"rules {_each(trials, 'rules_version')}, training {_each(trials, 'training_version')}"),
        ("Strategy hash", _each(trials, "strategy_hash")),
        ("Scenario hash", _each(trials, "scenario_hash")),
        ("Hash of images and split", _each(trials, "data_hash")),
        ("Records", f"{row['scenario']}/{row['strategy']}/{row['horizon']:g}/seed-<n>, in the results folder"),
    ]
    return tuple(fact for fact in facts if fact[1])


def _unlike(trials: Sequence[Row], *columns: str) -> list[Row]:
    """Return one trial for each combination of values in these columns."""
    return list({tuple(trial[name] for name in columns): trial for trial in trials}.values())


def _each(trials: Sequence[Row], column: str) -> str:
    found = {trial[column] for trial in trials}
    return "; ".join(sorted({"unknown" if pd.isna(value) else str(value) for value in found}))


def _settings(trial: Row) -> str:
    compiled = "compiled" if trial["compiled"] else "not compiled"
    return f"{trial['threads']} threads, {trial['precision']}, {compiled}"


def _software(trial: Row) -> str:
    return f"Python {trial['python']}, {trial['packages']}"


def _span(trials: Sequence[Row]) -> str:
    started = sorted({trial["started"] for trial in trials})
    return started[0] if len(started) == 1 else f"{started[0]} to {started[-1]}"


def _pieces(text: Any) -> str:
    """Return a strategy's pieces as Python expressions. text: JSON, or a missing value if not recorded."""
    if not isinstance(text, str):
        return ""
    pieces = json.loads(text)
    return ", ".join(_piece(value) for value in pieces.values() if isinstance(value, dict) and "type" in value)


def _piece(values: dict[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in values.items() if name != "type")
    return f"{values['type']}({arguments})"
