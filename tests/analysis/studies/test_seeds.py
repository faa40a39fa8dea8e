from __future__ import annotations

import pandas as pd
import pytest

from bench.analysis.studies.seeds import seed_crossings
from bench.errors import RecordError
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records

MIXED = {("mixed", 1.0): {0: [0.5, 0.9, 0.9, 0.9], 1: [0.9, 0.5, 0.5, 0.5]}}


def test_each_seed_has_its_own_crossing_and_a_miss_its_whole_cost():
    table = seed_crossings(*records(SCRATCH | MIXED))
    mixed = table[table["strategy"] == "mixed"]
    assert mixed["seed"].tolist() == [0, 1]
    assert mixed["cost"].tolist() == [20 * 1010, 40 * 1010]
    assert mixed["crossed"].tolist() == [True, False]
    assert mixed["bracket"].iloc[0] == 10 * 1010
    assert pd.isna(mixed["bracket"].iloc[1])


def test_a_seed_that_holds_from_the_first_evaluation_on_has_no_bracket():
    table = seed_crossings(*records(SCRATCH | {("fast", 0.5): {0: [0.9], 1: [0.9]}}), currency="steps")
    fast = table[table["strategy"] == "fast"]
    assert fast["cost"].tolist() == [10, 10]
    assert fast["bracket"].isna().all()


def test_a_share_moves_the_crossings_of_scratchs_seeds_too():
    table = seed_crossings(*records(SCRATCH | WEAK), currency="steps", share=0.75)
    assert table[table["strategy"] == "scratch"]["cost"].tolist() == [30, 30]
    assert table[table["strategy"] == "weak"]["crossed"].tolist() == [True, False]


def test_only_seeds_shared_with_scratch_have_rows():
    table = seed_crossings(*records(SCRATCH | {("late", 0.5): {1: [0.9], 5: [0.9]}}))
    assert table[table["strategy"] == "late"]["seed"].tolist() == [1]
    with pytest.raises(RecordError, match="no finished scratch trial"):
        seed_crossings(*records(FAST))
