"""The details of a leaderboard row, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis.ranking.entries import accuracies_at_target, seed_results
from bench.analysis.ranking.leaderboard import CURRENCIES, RELATIVE_TARGETS
from bench.reporting.numbers import CURRENCY_LABELS, accuracy_text, cost_text, interval_text, speedup_text
from bench.reporting.page.content import Details, Grid
from bench.reporting.page.facts import facts_of
from bench.reporting.page.repeat import repeat_commands

Key = tuple[str, float]
Row = dict[str, Any]
_WHICH = {"": "all", "_old": "old", "_new": "new"}
_PARTS = ("validation", "test")


def details_of(rows: pd.DataFrame, trials: pd.DataFrame, evals: pd.DataFrame) -> list[Details]:
    """Return the details of each leaderboard row, in order.

    rows: as returned by bench.analysis.ranking.leaderboard. trials, evals: as returned by bench.records.collect, for the same
    update.
    """
    by_trial = _grouped(trials)
    seeds = _grouped(seed_results(rows, trials, evals))
    crossings = {key: found[0] for key, found in _grouped(accuracies_at_target(rows, trials, evals)).items()}
    keys = zip(rows["strategy"], rows["horizon"], strict=True)
    return [
        _details(row, by_trial[key], seeds[key], crossings.get(key))
        for key, row in zip(keys, _plain(rows), strict=True)
    ]


def _plain(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _grouped(frame: pd.DataFrame) -> dict[Key, list[Row]]:
    groups: dict[Key, list[Row]] = {}
    for row in _plain(frame):
        groups.setdefault((row["strategy"], row["horizon"]), []).append(row)
    return groups


def _details(row: Row, trials: list[Row], seeds: list[Row], crossing: Row | None) -> Details:
    own = any(trial["own_code"] for trial in trials)
    asked = [trial["seed"] for trial in trials]
    compared = (_costs(row), _targets(row), _accuracies(row, crossing)) if row["n"] else ()
    return Details(
        title=row["title"],
        commands=repeat_commands(row["scenario"], row["strategy"], row["horizon"], asked, own),
        tables=(*compared, _seeds(seeds)),
        facts=facts_of(row, trials, [seed["seed"] for seed in seeds if seed["scored"]]),
    )


def _costs(row: Row) -> Grid:
    """Return speedups and costs in every currency that was compared."""
    lines = [
        (
            CURRENCY_LABELS[currency],
            speedup_text(row, currency),
            interval_text(row, currency),
            *(cost_text(row, f"{what}_{currency}", currency) for what in ("cost", "bracket", "base")),
        )
        for currency in CURRENCIES
        if isinstance(row[f"relation_{currency}"], str)
    ]
    headings = ("currency", "speedup", "95 % interval", "cost", "one evaluation earlier", "old model")
    return Grid("Cost to the target, or in total if censored", headings, tuple(lines))


def _targets(row: Row) -> Grid:
    shares = [f"{share:.2f}" for share in RELATIVE_TARGETS]
    lines = [(f"{share} of the target", speedup_text(row, f"flops_at_{share}")) for share in shares]
    return Grid("Lower targets", ("target", "speedup, FLOPs"), tuple(lines))


def _accuracies(row: Row, crossing: Row | None) -> Grid:
    lines = []
    for part in _PARTS:
        later = ", or next measured" if part == "test" else ""
        for what, found in (("at the end", row), (f"at the crossing{later}", crossing)):
            texts = [_accuracy(found, f"{part}_accuracy{which}") for which in _WHICH]
            lines.append((f"{part}, {what}", *texts))
    return Grid("Accuracy: mean ± standard deviation over seeds", ("accuracy", *_WHICH.values()), tuple(lines))


def _accuracy(row: Row | None, column: str) -> str:
    if row is None or pd.isna(row.get(column)):
        return "-"
    return accuracy_text({column: row[column], f"{column}_std": row.get(f"{column}_std")}, column)


def _seeds(seeds: Sequence[Row]) -> Grid:
    """Return each seed's own result, with its final accuracies."""
    measured = [name for name in CURRENCIES if any(pd.notna(seed[name]) for seed in seeds)]
    accuracies = [f"{part}_accuracy{which}" for part in _PARTS for which in _WHICH]
    headings = ["seed", "trial", "in the row", "to the target, FLOPs"]
    headings += [f"total, {CURRENCY_LABELS[name]}" for name in measured]
    headings += [f"{part}, {which}" for part in _PARTS for which in _WHICH.values()]
    lines = []
    for seed in seeds:
        state = seed["status"] + (f": {seed['reason']}" if isinstance(seed["reason"], str) else "")
        texts = [str(seed["seed"]), state, "yes" if seed["scored"] else "no"]
        texts.append("not held" if seed["held"] is False else cost_text(seed, "flops_at_target", "flops"))
        texts += [cost_text(seed, name, name) for name in measured]
        lines.append((*texts, *(_accuracy(seed, column) for column in accuracies)))
    return Grid("Each seed, with its final accuracy", tuple(headings), tuple(lines))
