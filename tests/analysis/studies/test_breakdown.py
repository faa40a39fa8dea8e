from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.studies.breakdown import PARTS, WITHIN, breakdown
from bench.records.schema import Summary
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, records
from tests.reporting.made_up import made_up

SUMMARY = {"train_flops": 60.0, "aux_flops": 10.0, "evaluate_flops": 30.0}
SUMMARY |= {
    "train_seconds": 6.0,
    "evaluate_seconds": 2.0,
    "prepare_seconds": 1.0,
    "build_seconds": 0.5,
    "io_seconds": 0.5,
}


def finished() -> pd.DataFrame:
    return records(SCRATCH | FAST)[0].assign(**SUMMARY)


def test_a_breakdown_by_hand():
    trials = finished()
    trials.loc[trials["seed"] == 1, "train_flops"] = 80.0
    found = breakdown(trials, "flops")
    fast = found[found["strategy"] == "fast"].set_index("part")
    assert fast["cost"].to_dict() == {"training": 70, "element-wise": 10, "evaluation": 30}
    assert fast["whole"].unique().tolist() == [110]
    assert fast.loc["training", "share"] == pytest.approx(7 / 11)
    assert fast.loc["training", "std"] == pytest.approx(200**0.5)  # of 60 and 80
    assert fast["n"].unique().tolist() == [2]
    assert len(found) == 2 * 3


def test_seconds_are_those_of_every_phase():
    found = breakdown(finished(), "seconds")
    assert found[found["strategy"] == "fast"]["cost"].tolist() == [6, 2, 1, 0.5, 0.5]
    assert found["whole"].unique().tolist() == [10]


def test_the_regularizer_is_separate_from_the_optimizer_and_selection_from_training():
    trials = finished().assign(regularizer_flops=4.0, selection_seconds=0.25)
    flops, seconds = (breakdown(trials, unit) for unit in ("flops", "seconds"))
    fast = flops[flops["strategy"] == "fast"]
    assert dict(zip(fast["part"], fast["cost"], strict=True)) == {
        "training": 60,
        "optimizer and start": 6,
        "regularizer": 4,
        "evaluation": 30,
    }
    assert flops["whole"].unique().tolist() == [100]
    fast = seconds[seconds["strategy"] == "fast"]
    assert fast["part"].tolist()[:3] == ["training", "selection", "evaluation"]
    assert fast["cost"].tolist() == [5.75, 0.25, 2, 1, 0.5, 0.5]
    assert seconds["whole"].unique().tolist() == [10]


def test_features_and_the_heads_fit_are_separate_from_training_and_what_nobody_has_is_left_out():
    trials = finished().assign(feature_flops=0.0, head_flops=0.0, regularizer_flops=0.0)
    trials.loc[trials["strategy"] == "fast", "feature_flops"] = 15.0
    flops = breakdown(trials, "flops")
    assert flops["part"].unique().tolist() == ["training", "features", "optimizer and start", "evaluation"]
    costs = flops.set_index(["strategy", "part"])["cost"]
    assert costs["fast"].tolist() == [45, 15, 10, 30]
    assert costs["scratch"].tolist() == [60, 0, 10, 30]


def test_what_one_record_does_not_separate_is_one_part_in_all():
    trials = finished().assign(regularizer_flops=4.0, selection_seconds=0.25)
    trials.loc[0, ["regularizer_flops", "selection_seconds"]] = np.nan
    assert set(breakdown(trials, "flops")["part"]) == set(PARTS["flops"])
    assert breakdown(trials, "seconds")["cost"].tolist() == 2 * [6, 2, 1, 0.5, 0.5]


def test_unfinished_trials_are_not_averaged():
    trials = finished()
    trials.loc[0, "status"] = "failed"
    trials.loc[0, ["train_flops", "train_seconds"]] = np.nan
    assert breakdown(trials, "flops").set_index(["strategy", "part"]).loc[("scratch", "training"), "n"] == 1


def test_seconds_of_different_machines_have_no_breakdown():
    trials = finished()
    trials.loc[0, "machine"] = "other"
    assert breakdown(trials, "seconds").empty
    assert not breakdown(trials, "flops").empty


def test_what_was_not_recorded_has_no_rows():
    assert breakdown(records(SCRATCH)[0], "flops").empty


def test_every_part_is_a_field_of_the_record():
    fields = {field for parts in PARTS.values() for field in parts.values()}
    fields |= {field for splits in WITHIN.values() for _, taken in splits.values() for field in taken.values()}
    assert fields <= set(Summary.model_fields)
    phases = {name for name in Summary.model_fields if name.endswith("_seconds")}
    # Everything in the wall time except what is counted otherwise: devices, threads, and other processes.
    assert phases - fields == {"device_seconds", "wall_seconds", "cpu_seconds", "other_cpu_seconds"}
    assert set(breakdown(made_up().trials, "seconds")["part"]) == {*PARTS["seconds"], "selection"}


def test_seeds_of_a_published_target_are_not_averaged():
    trials = finished().assign(
        published_accuracy=0.8, published_std=0.01, published_source="here", published_steps=None
    )
    trials["published_seeds"] = "1 5 6 7 8"
    assert breakdown(trials, "flops")["n"].unique().tolist() == [1]
