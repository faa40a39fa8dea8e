from __future__ import annotations

from tests.faults.fuzz import fuzz

KINDS = {
    "scenario",
    "published target",
    "trial.json",
    "evals.jsonl",
    "collected file",
    "manifest",
    "prepared images",
    "image",
    "npz",
}


def test_a_mutated_input_ends_in_a_result_or_in_one_line():
    """The short form; the long form is python -m tests.faults.fuzz."""
    told: list[str] = []
    rows = fuzz(20, seed=1, tell=lambda line: told.append(str(line)))
    assert {row.kind for row in rows} == KINDS | {"--set", "--grid", "given checkpoint", "base model", "checkpoint"}
    assert told == []
    assert all((row.survived, row.lost, row.tracebacks) == (row.points, 0, 0) for row in rows)
