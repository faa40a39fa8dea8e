from __future__ import annotations

import pandas as pd
import pytest

from bench.analysis.studies.life import whole_life
from bench.errors import RecordError
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records


def chain_of(*updates: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make a chain's trials and evaluations: the curves of each update in turn."""
    frames = []
    for number, curves in enumerate(updates, 1):
        trials, evals = records(curves, updates=len(updates))
        known = trials["strategy"] != "scratch"
        trials = trials.assign(update=number, base_device_seconds=known.map({True: 20.0, False: None}))
        names = trials["strategy"] + trials["seed"].astype(str)
        before = (names + str(number - 1)).where(known & (number > 1), None)
        trials = trials.assign(weights_sha256=names + str(number), previous_sha256=before)
        frames.append((trials, evals.assign(update=number)))
    trials, evals = (pd.concat(parts, ignore_index=True) for parts in zip(*frames, strict=True))
    return trials, evals


def test_a_life_is_the_base_and_every_update_to_its_end():
    table = whole_life(*chain_of(SCRATCH | FAST, SCRATCH | FAST))
    flops = table[table["currency"] == "flops"]
    assert flops["strategy"].tolist() == ["scratch", "fast"]
    scratch, fast = (flops.iloc[place] for place in range(2))
    # Scratch: 40 steps of 1,010 each at both updates; fast: 20. Both need the base model's 5,000.
    assert (scratch["base"], scratch["update_1"], scratch["update_2"], scratch["total"]) == (5000, 40400, 40400, 85800)
    assert (fast["update_1"], fast["update_2"], fast["total"]) == (20200, 20200, 45400)
    assert (fast["value"], fast["relation"]) == (pytest.approx(85800 / 45400), "=")
    assert (scratch["value"], scratch["relation"]) == (1.0, "=")
    assert (fast["held"], fast["n"], fast["updates"]) == (2, 2, 2)
    seconds = table[(table["currency"] == "device_seconds") & (table["strategy"] == "fast")].iloc[0]
    assert seconds["total"] == 20 + 2 * 20 * 0.5
    assert seconds["value"] == pytest.approx((20 + 2 * 40 * 0.5) / 40)


def test_one_missed_target_makes_the_whole_life_a_bound():
    table = whole_life(
        *chain_of(SCRATCH | FAST | WEAK, SCRATCH | {("fast", 0.5): {0: [0.5, 0.7], 1: [0.5, 0.7]}} | WEAK)
    )
    flops = table[table["currency"] == "flops"].set_index("strategy")
    assert (flops.loc["fast", "held"], flops.loc["fast", "relation"]) == (1, "<")
    assert (flops.loc["weak", "held"], flops.loc["weak", "value"]) == (0, 1.0)


def test_only_seeds_with_every_update_on_both_sides_are_counted():
    short = {("fast", 0.5): {0: [0.5, 0.9]}}
    table = whole_life(*chain_of(SCRATCH | FAST, SCRATCH | short)).set_index(["currency", "strategy"])
    assert table.loc[("flops", "fast"), "n"] == 1
    assert table.loc[("flops", "scratch"), "n"] == 2
    none = whole_life(*chain_of(SCRATCH | FAST, SCRATCH)).set_index(["currency", "strategy"])
    assert none.loc[("flops", "fast"), "n"] == 0
    assert pd.isna(none.loc[("flops", "fast"), "value"])


def test_a_chain_whose_last_update_has_no_scratch_yet_has_no_totals():
    table = whole_life(*chain_of(SCRATCH | FAST, FAST))
    assert table["n"].tolist() == [0] * len(table)


def test_seconds_of_different_machines_have_no_whole_life():
    trials, evals = chain_of(SCRATCH | FAST, SCRATCH | FAST)
    trials["machine"] = ["a", "b"] * (len(trials) // 2)
    assert set(whole_life(trials, evals)["currency"]) == {"flops"}


def test_an_unknown_base_is_in_no_total():
    trials, evals = chain_of(SCRATCH | FAST, SCRATCH | FAST)
    table = whole_life(trials.assign(base_flops=None), evals).set_index(["currency", "strategy"])
    assert table.loc[("flops", "fast"), "value"] == pytest.approx(2.0)
    assert pd.isna(table.loc[("flops", "fast"), "base"])


def test_updates_that_do_not_start_where_the_previous_one_ended_are_refused():
    trials, evals = chain_of(SCRATCH | FAST, SCRATCH | FAST)
    trials.loc[(trials["strategy"] == "fast") & (trials["update"] == 1), "weights_sha256"] = "another run's"
    with pytest.raises(
        RecordError, match=r"s: fast seed 0: update 2 did not start from the weights that update 1 left"
    ):
        whole_life(trials, evals)


def test_without_a_common_seed_a_life_still_has_its_columns():
    table = whole_life(*chain_of(SCRATCH, {("scratch", 1.0): {5: [0.2, 0.8]}}))
    assert {"base", "total", "value", "relation", "update_2"} <= set(table.columns)
    assert table["n"].tolist() == [0] * len(table)
