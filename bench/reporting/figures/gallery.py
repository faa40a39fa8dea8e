"""Every figure for which the records of one update, or of several scenarios together, have data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.ranking.leaderboard import CURRENCIES, ONE_DEVICE, mean_curves
from bench.analysis.ranking.profiles import profiles
from bench.analysis.speedup.curves import positions
from bench.analysis.speedup.survival import reached_by_cost
from bench.analysis.studies.ablation import ablation
from bench.analysis.studies.breakdown import breakdown
from bench.analysis.studies.energy import energy_curves
from bench.analysis.studies.frontier import frontier_points
from bench.analysis.studies.parts import old_and_new
from bench.analysis.studies.seeds import seed_crossings
from bench.analysis.studies.targets import speedups_by_target
from bench.catalog import REFERENCE
from bench.files import remove, write_text
from bench.records.collect import Records
from bench.reporting.figures.ablations import draw_ablation
from bench.reporting.figures.costs import draw_breakdown, draw_energy
from bench.reporting.figures.crossings import draw_crossings, draw_reached
from bench.reporting.figures.curves import draw_accuracy
from bench.reporting.figures.inks import Key, drawn, drawn_whole
from bench.reporting.figures.points import draw_frontier, draw_old_and_new
from bench.reporting.figures.profile import draw_profile
from bench.reporting.figures.sheet import Prints, Sheet, draw_prints, read_table, write_table
from bench.reporting.figures.speedups import draw_speedups
from bench.reporting.figures.style import Width
from bench.reporting.figures.words import Facts, caption, profile_caption

_FEWEST_FOR_STEPS = 5  # seeds: below, the strip of crossings shows it better
_PROFILE = "performance-profile"


def write_figures(
    records: Records, folder: Path, suffix: str, ranking: pd.DataFrame, prints: Prints, only: str | None = None
) -> list[Path]:
    """Write every figure of one update, each with the table that it is drawn from and its caption; return their paths.

    suffix: of a chain's update, after every name. ranking: the leaderboard of these records, as read back from its file. only:
    the name of the one figure to write, None for all.
    """
    facts = Facts.of([records])
    paths = []
    for sheet in sheets(records, ranking):
        if only not in (None, sheet.name):
            continue
        words = caption(sheet.name, suffix, ranking, facts)
        paths += sheet.write(folder, suffix, ranking, words, prints)
    return paths


def sheets(records: Records, ranking: pd.DataFrame) -> Iterator[Sheet]:
    """Yield the figures of one update that have data.

    Their tables contain what is drawn: the best and, in frontier-flops, each of these strategies at all of its horizons; that of
    accuracy-flops contains every strategy.
    """
    keys = set(drawn(ranking))
    trials, evals = _only(records.trials, keys), _only(records.evals, keys)
    for currency in CURRENCIES:
        yield from _accuracy(currency, records if currency == "flops" else Records(trials, evals), ranking)
    speedups = speedups_by_target(trials, evals)
    if _keys(speedups) - {(REFERENCE, 1.0)}:
        yield Sheet("speedup-target", speedups, draw_speedups)
    whole = set(drawn_whole(ranking))
    points = frontier_points(_only(records.trials, whole), _only(records.evals, whole))
    if len(points):
        yield Sheet("frontier-flops", points, draw_frontier)
    pieces = ablation(trials, evals)
    if len(pieces):
        yield Sheet("ablation", pieces, draw_ablation)
    parts = old_and_new(ranking)
    if len(parts):
        yield Sheet("old-new", _only(parts, keys), draw_old_and_new)
    timed = _comparable(ranking, "device_seconds")
    for unit, costs in (("flops", breakdown(trials, "flops")), ("seconds", breakdown(_only(trials, timed), "seconds"))):
        if len(costs):
            yield Sheet(f"cost-{unit}", costs, partial(_draw_breakdown, unit))
    crossings = seed_crossings(trials, evals)
    yield Sheet("seed-crossings", crossings, draw_crossings)
    reached = reached_by_cost(crossings)
    if reached["n"].max() >= _FEWEST_FOR_STEPS:
        yield Sheet("seeds-reached", reached, draw_reached)
    metered = _comparable(ranking, "gpu_joules")
    energy = energy_curves(_only(trials, metered), _only(evals, metered))
    if len(energy):
        yield Sheet("energy-time", energy, draw_energy)


def write_overview(
    parts: Sequence[Records], boards: Sequence[pd.DataFrame], folder: Path, prints: Prints
) -> list[Path]:
    """Write the performance profile over several updates, with its table and caption, and return their paths.

    parts, boards: each update and its leaderboard; all for the same currency and share of the target. Nothing is written if there
    are fewer than two, or if they share no strategy except scratch; that of an earlier report is then deleted.
    """
    rows = profiles(boards) if len(boards) > 1 else pd.DataFrame(columns=["strategy"])
    if not set(rows["strategy"]) - {REFERENCE}:
        for outdated in folder.glob(f"{_PROFILE}*"):
            remove(outdated)
        return []
    stem = folder / _PROFILE
    table, words = stem.with_suffix(".csv"), stem.with_suffix(".caption.txt")
    write_table(rows, table)
    write_text(words, profile_caption(boards, table.name, Facts.of(parts)))
    read = read_table(table)
    return [table, words, *draw_prints(lambda width: draw_profile(read, width), stem, prints)]


def _accuracy(currency: str, records: Records, ranking: pd.DataFrame) -> Iterator[Sheet]:
    """Yield accuracy against a currency; in seconds and joules, only of strategies that are compared in them."""
    trials, evals = records.trials, records.evals
    if currency in ONE_DEVICE:
        keys = _comparable(ranking, currency)
        if (REFERENCE, 1.0) not in keys:
            return
        trials, evals = _only(trials, keys), _only(evals, keys)
    curves = mean_curves(trials, evals, currency)
    yield Sheet(f"accuracy-{currency.replace('_', '-')}", curves, partial(_draw_accuracy, currency))


def _comparable(ranking: pd.DataFrame, currency: str) -> set[Key]:
    """Return the drawn strategies that were measured in a currency, on scratch's machine if required."""
    return _keys(ranking[ranking[f"cost_{currency}"].notna()]) & set(drawn(ranking))


def _draw_accuracy(currency: str, rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    return draw_accuracy(rows, ranking, currency, width)


def _draw_breakdown(unit: str, rows: pd.DataFrame, ranking: pd.DataFrame, width: Width) -> Figure:
    return draw_breakdown(rows, ranking, unit, width)


def _keys(frame: pd.DataFrame) -> set[Key]:
    return set(zip(frame["strategy"], frame["horizon"].astype(float), strict=True))


def _only(frame: pd.DataFrame, keys: set[Key]) -> pd.DataFrame:
    places = [found for key, found in positions(frame).items() if key in keys]
    return frame.iloc[np.sort(np.concatenate(places))] if places else frame.iloc[:0]
