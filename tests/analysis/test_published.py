from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.analysis.published import Published, published_of, scored, span
from bench.analysis.ranking.leaderboard import leaderboard, mean_curves
from bench.analysis.speedup.speedup import Run, compare
from bench.analysis.studies.duel import duel
from bench.analysis.studies.frontier import frontiers
from bench.analysis.studies.life import whole_life
from bench.analysis.studies.seeds import seed_crossings
from bench.analysis.studies.targets import speedups_by_target
from bench.errors import RecordError
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records
from tests.analysis.studies.test_life import chain_of

SEEDS = range(10, 15)
# Seeds that must not count: they end far below and far above all others.
MAKERS = {
    ("scratch", 1.0): {seed: [0.1, 0.1, 0.1, 0.1] for seed in SEEDS},
    ("fast", 0.5): {seed: [0.99, 0.99] for seed in SEEDS},
}


def with_target(trials: pd.DataFrame, accuracy: float = 0.84, steps: str | None = None) -> pd.DataFrame:
    """Add the columns of a published target, from seeds 10 to 14."""
    known = {"published_accuracy": accuracy, "published_std": 0.01, "published_source": "there"}
    return trials.assign(**known, published_seeds="10 11 12 13 14", published_steps=steps)


def both(*curves: dict) -> dict:
    """Combine curves of the same strategies, seed by seed."""
    merged: dict = {}
    for each in curves:
        for key, seeds in each.items():
            merged[key] = merged.get(key, {}) | seeds
    return merged


def test_a_published_target_is_the_one_that_counts():
    trials, evals = records(SCRATCH | FAST | WEAK)
    table = leaderboard(with_target(trials), evals).set_index("strategy")
    assert table["target"].tolist() == [0.84] * 3
    assert table["target_std"].tolist() == [0.01] * 3
    fast, scratch = table.loc["fast"], table.loc["scratch"]
    # fast ends at 0.85; scratch, at 0.8, does not hold 0.84, and its cost is its full horizon all the same.
    assert (fast["value_flops"], fast["relation_flops"], fast["reached"]) == (2.0, "=", 0.5)
    assert (scratch["value_flops"], scratch["cost_steps"]) == (1.0, 40)
    # 0.98 of 0.84 is 0.8232: fast holds it, scratch never does.
    assert (fast["value_flops_at_0.98"], fast["relation_flops_at_0.98"]) == (2.0, ">")


def test_a_target_above_what_a_strategy_ends_with_is_a_miss():
    trials, evals = records(SCRATCH | FAST)
    fast = leaderboard(with_target(trials, 0.86), evals).set_index("strategy").loc["fast"]
    assert (fast["relation_flops"], fast["value_flops"]) == ("<", 2.0)


def test_the_seeds_of_a_published_target_are_not_scored():
    trials, evals = records(both(SCRATCH | FAST, MAKERS))
    table = leaderboard(with_target(trials), evals)
    plain = leaderboard(with_target(records(SCRATCH | FAST)[0]), records(SCRATCH | FAST)[1])
    assert (table["left_out"] == 10).all()
    assert (plain["left_out"] == 0).all()
    pd.testing.assert_frame_equal(table.drop(columns="left_out"), plain.drop(columns="left_out"))
    assert (table["n"] == 2).all()


def test_every_other_table_uses_the_target_and_omits_its_seeds():
    longer = {("fast", 1.0): {seed: [0.5, 0.5, 0.5, 0.84] for seed in (0, 1, *SEEDS)}}
    curves = both(SCRATCH | FAST, longer, MAKERS)
    trials, evals = records(curves)
    trials = with_target(trials)
    assert frontiers(trials, evals)["target"].tolist() == [0.84]
    assert frontiers(trials, evals)["n"].tolist() == [2]
    found = duel(trials, evals, ("fast", 0.5), ("scratch", 1.0), share=0.5)
    assert (found.target, found.seeds, found.published_n) == (0.42, (0, 1), 5)
    crossings = seed_crossings(trials, evals)
    assert set(crossings["seed"]) == {0, 1}
    assert crossings[crossings["strategy"] == "scratch"]["crossed"].tolist() == [False, False]
    shares = speedups_by_target(trials, evals, shares=(0.98, 1.0))
    assert shares[shares["strategy"] == "fast"]["relation"].tolist() == [">", "=", ">", "="]
    assert mean_curves(trials, evals, "flops")["n"].unique().tolist() == [2]


def test_each_update_of_a_chain_has_its_own_target():
    trials, evals = chain_of(SCRATCH | FAST, SCRATCH | FAST)
    trials = with_target(trials)
    trials["published_accuracy"] = trials["update"].map({1: 0.84, 2: 0.86})
    life = whole_life(trials, evals).set_index(["currency", "strategy"])
    assert life.loc[("flops", "fast"), "held"] == 1  # 0.85 holds the first and misses the second
    assert life.loc[("flops", "scratch"), "held"] == 2  # its own, by definition


def test_a_chains_life_uses_only_scored_seeds():
    trials, evals = chain_of(*[both(SCRATCH | FAST, MAKERS)] * 2)
    life = whole_life(with_target(trials), evals)
    assert life["n"].unique().tolist() == [2]


def test_only_seeds_of_the_target_is_an_error_that_says_what_to_run():
    trials, evals = records(MAKERS)
    with pytest.raises(RecordError, match=r"s: all finished trials have seeds 10-14,.*--seeds 15-17"):
        leaderboard(with_target(trials), evals)


def test_no_scored_scratch_is_an_error_that_names_the_unscored_seeds():
    trials, evals = records(both({("scratch", 1.0): MAKERS["scratch", 1.0]}, FAST))
    with pytest.raises(RecordError, match=r"no finished scratch trial at horizon 1 apart from those of seeds 10-14"):
        leaderboard(with_target(trials), evals)


def test_two_published_targets_are_not_mixed():
    trials, evals = records(SCRATCH | FAST)
    trials = with_target(trials)
    trials.loc[0, "published_accuracy"] = 0.5
    with pytest.raises(RecordError, match=r"trials have different published targets: 0\.5 \(there\), 0\.84 \(there\)"):
        leaderboard(trials, evals)


def test_a_record_older_than_the_target_is_compared_with_it_too():
    trials, _ = records(SCRATCH | FAST)
    trials = with_target(trials, steps="1 2 3 4 5")
    columns = [name for name in trials if str(name).startswith("published")]
    trials[columns] = trials[columns].astype(object)
    trials.loc[0, columns] = None
    assert published_of(trials) == Published(0.84, 0.01, tuple(SEEDS), "there", (1, 2, 3, 4, 5))
    assert published_of(records(SCRATCH)[0]) is None


def test_without_a_target_every_seed_is_scored():
    trials, evals = records(both(SCRATCH, MAKERS))
    left, measured = scored(trials, evals)
    assert (len(left), len(measured)) == (len(trials), len(evals))
    assert "published_source" not in leaderboard(trials, evals)


def test_a_published_target_does_not_vary_across_resamples():
    # Twelve seeds: scratch ends at 0.7 or 0.9, so that a provisional target would differ from draw to draw.
    ends = np.array([[0.7, 0.9] * 6])
    scratch = Run(np.vstack([ends - 0.3, ends]), np.repeat([[50.0], [100.0]], 12, axis=1))
    ours = Run(np.full((1, 12), 0.81), np.full((1, 12), 40.0))
    fixed = compare(scratch, ours, published=0.81)
    assert (fixed.value, fixed.low, fixed.high) == (2.5, 2.5, 2.5)
    assert compare(scratch, ours).low == 0.0


def test_a_share_of_a_published_target_moves_scratchs_cost():
    trials, evals = records(SCRATCH | FAST)
    board = leaderboard(with_target(trials, 0.8), evals, share=0.75).set_index("strategy")
    # 0.6: scratch holds it from step 30, fast from step 20.
    assert board.loc["fast", "value_steps"] == pytest.approx(1.5)
    assert board.loc["scratch", "cost_steps"] == 30


@pytest.mark.parametrize(
    ("seeds", "text"), [([3], "3"), ([4, 0, 1, 2, 3], "0-4"), ([0, 2, 5], "0, 2, 5"), ([7, 8], "7-8")]
)
def test_seeds_are_abbreviated(seeds: list[int], text: str):
    assert span(seeds) == text
