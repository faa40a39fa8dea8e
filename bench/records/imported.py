"""Curves from elsewhere: read from a CSV file, kept beside the records, and never audited."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from bench.catalog import TUNING_FROM
from bench.errors import RecordError
from bench.files import make_folder, read_at_most, write_text

if TYPE_CHECKING:  # bench check needs it only where there are such files
    import pandas as pd

COLUMNS = ("step", "cost", "accuracy", "seed", "strategy")
MARK = " (imported, not audited)"  # a part of the name, so that no table, file or figure can be without it
_PREFIX, _LARGEST_FILE, _LARGEST_STEP = "imported-", 64 << 20, 10**12


def read_curves(path: Path) -> pd.DataFrame:
    """Read a CSV file with the columns step, cost, accuracy, seed and strategy, in any order; a row for each evaluation.

    step: whole, above 0. cost: FLOPs of training since the trial began, 2 for a multiply-add, forward and backward, and all that
    the method computes besides. accuracy: on the validation images, from 0 to 1. seed: whole, below 100.
    Returned as float, whole numbers or text, sorted by strategy, seed and step. Raises RecordError naming line and column.
    """
    try:
        text = read_at_most(path, _LARGEST_FILE).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or cause
        raise RecordError(f"{path}: cannot be read ({reason}), expected a CSV file in UTF-8. Name another.") from cause
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as cause:
        raise RecordError(
            f"{path}: line {reader.line_num}: {cause}, expected comma-separated values. Fix it."
        ) from cause
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    if sorted(header) != sorted(COLUMNS):
        raise RecordError(
            f"{path}: line 1: found the columns {', '.join(header)[:100] or 'none'}, expected {', '.join(COLUMNS)}. Fix it."
        )
    if len(lines) == 1:
        raise RecordError(f"{path}: no line below the columns' names, expected one for each evaluation. Add them.")
    rows = [(number, _row(path, number, header, cells)) for number, cells in lines[1:]]
    _check_curves(path, rows)
    import pandas as pd

    frame = pd.DataFrame([row for _, row in rows], columns=list(COLUMNS))
    return frame.sort_values(["strategy", "seed", "step"], ignore_index=True)


def _row(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, object]:
    if len(cells) != len(header):
        raise RecordError(f"{path}: line {line}: found {len(cells)} cells, expected {len(header)}. Fix it.")
    found = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}

    def wrong(column: str, expected: str) -> RecordError:
        return RecordError(
            f"{path}: line {line}, column {column}: found {found[column][:60]!r}, expected {expected}. Fix it."
        )

    def number(column: str, most: float, expected: str) -> float:
        try:
            value = float(found[column])
        except ValueError:
            value = math.nan
        if not 0 <= value <= most or "_" in found[column]:
            raise wrong(column, expected)
        return value

    def whole(column: str, least: int, most: int, expected: str) -> int:
        text = found[column]
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
            raise wrong(column, expected)
        return int(text)

    name = found["strategy"]
    if not name or not name.isprintable() or len(name) > 100 or name.endswith(MARK):
        raise wrong("strategy", "a printable name of 1 to 100 characters")
    return {
        "step": whole("step", 1, _LARGEST_STEP, "a whole number above 0"),
        "cost": number("cost", 1e30, "FLOPs, a number of 0 or more"),
        "accuracy": number("accuracy", 1.0, "a share from 0 to 1"),
        "seed": whole("seed", 0, TUNING_FROM - 1, f"a whole number below {TUNING_FROM}"),
        "strategy": name,
    }


def _check_curves(path: Path, rows: list[tuple[int, dict[str, object]]]) -> None:
    """Raise RecordError for steps that come twice, a cost that falls, and seeds that were measured at different steps."""
    curves: dict[tuple[object, object], list[tuple[int, float, int]]] = defaultdict(list)
    for line, row in rows:
        curves[row["strategy"], row["seed"]].append((int(str(row["step"])), float(str(row["cost"])), line))
    steps: dict[object, tuple[object, list[int]]] = {}
    for (strategy, seed), curve in curves.items():
        curve.sort()
        for (before, cost, _), (step, then, line) in pairwise(curve):
            if step == before:
                raise RecordError(
                    f"{path}: line {line}, column step: {strategy} seed {seed} has step {step} twice. Remove one."
                )
            if then < cost:
                raise RecordError(
                    f"{path}: line {line}, column cost: found {then:g}, but {strategy} seed {seed} had cost {cost:g} at step "
                    f"{before}: expected totals since the trial began. Fix it."
                )
        other, expected = steps.setdefault(strategy, (seed, [step for step, _, _ in curve]))
        if (mine := [step for step, _, _ in curve]) != expected:
            line = next((line for step, _, line in curve if step not in expected), curve[-1][2])
            raise RecordError(
                f"{path}: line {line}, column step: {strategy} was measured at {len(mine)} steps with seed {seed}, and at "
                f"other ones with seed {other}: expected one common grid. Fix it."
            )


def keep_curves(path: Path, results: Path, scenario: str) -> tuple[Path, pd.DataFrame]:
    """Keep a file's curves beside a scenario's records, as they were read; return the copy's path, and the curves.

    Raises RecordError, also if other curves of that file's name, or of one of its strategies, are there already.
    """
    curves = read_curves(path)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:100] or "curves"
    kept = results / scenario / f"{_PREFIX}{stem}.csv"
    for other in imported_files(results, scenario):
        why = conflict(read_curves(other), curves, same_file=other == kept)
        if why:
            raise RecordError(f"{other}: {why}. Remove it first, or change its name or its strategy's in {path}.")
    make_folder(kept.parent)
    write_text(kept, curves_text(curves))
    return kept, curves


def conflict(one: pd.DataFrame, other: pd.DataFrame, *, same_file: bool) -> str | None:
    """Return why two files' curves cannot lie beside each other, as something that the first one has; None if they can.

    same_file: whether they have the same name, and so must be the same.
    """
    if same_file:
        return None if curves_text(one) == curves_text(other) else "holds other curves"
    both = sorted(set(one["strategy"]) & set(other["strategy"]))
    return f"has curves of {both[0]} already" if both else None


def curves_text(curves: pd.DataFrame) -> str:
    """Return curves as the text of the file that keeps them."""
    return curves.to_csv(index=False, lineterminator="\n")


def imported_files(results: Path, scenario: str | None = None) -> list[Path]:
    """Return the files of curves that were imported for a scenario, or for any, sorted."""
    name = f"{_PREFIX}*.csv"
    return sorted((results / scenario).glob(name) if scenario else results.glob(f"*/{name}"))


def imported_curves(results: Path, scenario: str) -> pd.DataFrame | None:
    """Return all curves that were imported for a scenario, under marked names; None if there are none. Raises RecordError."""
    frames = [read_curves(path) for path in imported_files(results, scenario)]
    if not frames:
        return None
    import pandas as pd

    return pd.concat(frames, ignore_index=True).assign(strategy=lambda rows: rows["strategy"] + MARK)
