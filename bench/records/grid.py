"""The steps at which a trial is evaluated: they follow from numbers that its record holds."""

from __future__ import annotations

from functools import lru_cache


def evaluation_marks(points: int, budget: int, total: int) -> dict[int, int]:
    """Return step -> number of each evaluation of a trial of `total` steps, its end apart, which may lie between two.

    points: evaluations of the whole budget. budget: scratch's optimizer steps.
    """
    points, marks, number = min(points, budget), {}, 1
    while (step := round(number * budget / points)) <= total:
        marks[step] = number
        number += 1
    return marks


@lru_cache(maxsize=64)
def evaluation_steps(points: int, budget: int, total: int, end: int | None = None) -> tuple[int, ...]:
    """Return the steps at which such a trial is evaluated, in order, its own end included.

    end: the step at which it was ended early, None for none; if it is on the grid, it is the last.
    """
    steps = sorted({*evaluation_marks(points, budget, total), total})
    return tuple(step for step in steps if end is None or step <= end)
