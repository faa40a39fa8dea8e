from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.studies.energy import energy_curves
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, records


def measured() -> tuple[pd.DataFrame, pd.DataFrame]:
    """0.5 s a step; 100 W for seed 0 and 200 W for seed 1."""
    trials, evals = records(SCRATCH | FAST)
    return trials, evals.assign(gpu_joules=evals["device_seconds"] * (100.0 + 100 * evals["seed"]))


def test_joules_and_watts_by_hand():
    found = energy_curves(*measured())
    fast = found[found["strategy"] == "fast"]
    assert fast["seconds"].tolist() == [5, 10]
    assert fast["joules"].tolist() == [750, 1500]
    assert fast["watts"].tolist() == [150, 150]
    assert fast["joules_std"].tolist() == pytest.approx([500 / 2**0.5, 1000 / 2**0.5])
    assert fast["n"].tolist() == [2, 2]


def test_power_is_since_the_previous_evaluation():
    trials, evals = records({("scratch", 1.0): {0: [0.1, 0.2]}})
    found = energy_curves(trials, evals.assign(gpu_joules=[500.0, 2500.0]))
    assert found["watts"].tolist() == [100, 400]
    assert np.isnan(found["joules_std"]).all()  # one seed


def test_a_strategy_with_an_unmeasured_seed_is_left_out():
    trials, evals = measured()
    evals.loc[(evals["strategy"] == "fast") & (evals["seed"] == 1), "gpu_joules"] = np.nan
    assert set(energy_curves(trials, evals)["strategy"]) == {"scratch"}


def test_nothing_measured_or_different_machines_give_no_rows():
    trials, evals = records(SCRATCH | FAST)
    assert energy_curves(trials, evals).empty
    trials, evals = measured()
    trials.loc[0, "machine"] = "other"
    assert energy_curves(trials, evals).empty
