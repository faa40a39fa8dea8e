"""The steps at which a trial is evaluated: they follow from numbers that its record holds."""

from __future__ import annotations


def evaluation_marks(points: int, budget: int, total: int) -> dict[int, int]:
    """Return step -> number of each evaluation of a trial of `total` steps, its end apart, which may lie between two.

    points: evaluations of the whole budget. budget: scratch's optimizer steps.
    """
    points, marks, number = min(points, budget), {}, 1
    while (step := round(number * budget / points)) <= total:
        marks[step] = number
        number += 1
    return marks
