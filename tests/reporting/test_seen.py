"""Every table, and the answer of bench update, says where the old model may have been trained on held-out images."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.pooled import pool
from bench.analysis.studies.decision import decide
from bench.analysis.studies.duel import compare
from bench.analysis.studies.frontier import frontiers
from bench.analysis.studies.life import whole_life
from bench.records.collect import Records
from bench.reporting.latex import latex_table
from bench.reporting.layout import Cells
from bench.reporting.tables import comparison_cells, frontier_cells, leaderboard_cells, life_cells, pooled_cells
from bench.reporting.updates import decision_lines
from tests.reporting.made_up import made_up

NOTE = "Seen?: the old model that was brought along may have been trained on validation images, since they were cut off"
CONTINUED = ("naive", "optimized")


def records(seen: str | None, **made: object) -> Records:
    found = made_up(**made)  # pyright: ignore[reportArgumentType]
    continued = found.trials["strategy"].isin(CONTINUED)
    trials = found.trials.assign(may_have_seen=pd.Series(None, found.trials.index, dtype=object).mask(continued, seen))
    return replace(found, trials=trials)


def tables(of: Records) -> dict[str, Cells]:
    boards = [leaderboard(of.trials, of.evals)] * 2
    pair = compare(of.trials, of.evals, ("naive", 1.0), ("scratch", 1.0))
    costs, accuracies = comparison_cells(pair, "flops")
    chain = of.trials.assign(updates=1, previous_sha256=None, weights_sha256="")
    return {
        "leaderboard": leaderboard_cells(boards[0]),
        "frontier": frontier_cells(frontiers(of.trials, of.evals), "flops"),
        "pooled": pooled_cells(pool(boards)),
        "life": life_cells(whole_life(chain, of.evals)),
        "costs": costs,
        "accuracies": accuracies,
    }


@pytest.fixture(scope="module")
def marked() -> Records:
    return records("validation", horizons=(1.0, 0.5))


def test_every_table_marks_the_rows_and_says_why(marked: Records):
    for name, cells in tables(marked).items():
        text = "\n".join(" ".join(row) for row in (*cells.rows, tuple(column.heading for column in cells.columns)))
        assert "naive" in text, name
        assert "(seen?)" in text, name
        assert not re.search(r"scratch\S* \(seen", text), name
        assert any(note.startswith(NOTE) and "--validation" in note for note in cells.notes), name
    latex = latex_table(leaderboard(marked.trials, marked.evals))
    assert "naive (seen?)" in latex
    assert "scratch (seen?)" not in latex


def test_no_table_says_so_where_the_model_cannot_have_seen_them():
    for name, cells in tables(records(None, horizons=(1.0, 0.5))).items():
        assert "seen?" not in str(cells).lower(), name
    assert "may_have_seen" not in leaderboard(*_frames(records(None)))


def _frames(of: Records) -> tuple[pd.DataFrame, pd.DataFrame]:
    return of.trials, of.evals


def test_the_answer_says_so_and_names_the_option():
    decision = decide(*_frames(records("validation and test")))
    sentence = decision_lines(decision)[0]
    assert (
        "; but the old model may have been trained on validation and test images, which favours continuing" in sentence
    )
    assert "--validation" in sentence
    assert "--trained-on" in sentence
    assert "may have been trained" not in decision_lines(decide(*_frames(records(None))))[0]
