from __future__ import annotations

import json
from pathlib import Path

from bench.records.collect import collect
from bench.records.rows import _pieces

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_a_trials_row_holds_the_strategys_pieces():
    trials = collect(RESULTS).trials
    assert trials["pieces"].notna().all()
    mine = trials[(trials["scenario"] == "cifar100-70-30-lite") & (trials["strategy"] == "four-aspects")]
    pieces = json.loads(mine["pieces"].iloc[0])
    assert set(pieces) == {"start", "regularizer", "selection", "schedule", "source"}
    assert pieces["regularizer"] == {"type": "L2Init", "strength": 1e-5, "anchor": "start"}
    assert pieces["source"] is None
    assert trials.groupby(["scenario", "strategy", "horizon"])["pieces"].nunique().max() == 1


def test_own_code_is_told_apart_by_its_hash():
    described = {"start": {"type": "Mine"}, "regularizer": {}, "selection": {}, "schedule": {}}
    one, same, other = (json.loads(_pieces({**described, "source": text})) for text in ("a", "a", "b"))
    assert one == same != other
    assert len(one["source"]) == 16
