"""The sentences that a leaderboard begins with, against hand-computed numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.studies.frontier import frontiers
from bench.reporting.verdict import verdict_lines
from tests.analysis.guards.test_honesty import with_target
from tests.analysis.ranking.test_leaderboard import FAST, SCRATCH, WEAK, records
from tests.analysis.studies.test_frontier import three_seeds

ROOT = Path(__file__).resolve().parents[2]
ALL = {seed: [0.2, 0.4, 0.6, 0.8] for seed in range(3)}
SAVES = ((0.25, [0.78, 0.785, 0.775]), (0.5, [0.83, 0.82, 0.84]))


def verdict(curves: dict, currency: str = "flops", share: float = 1.0) -> tuple[str, ...]:
    trials, evals = records(curves)
    return verdict_lines(
        leaderboard(trials, evals, currency=currency, share=share),
        frontiers(trials, evals, currency=currency, share=share),
    )


def test_a_frontier_leads_with_its_interval():
    """0.78 at 10 steps, 0.83 at 20: 0.8 lies 0.4 of the way, at 10 x 2^0.4 = 13.195; scratch takes 40, 3.03 times as much."""
    (line,) = verdict(three_seeds(*SAVES))
    begin, _, interval = line.partition(" (95 % interval ")
    assert begin == "fast: 3.03 times cheaper than retraining at equal accuracy"
    low, _, high = interval.removesuffix(", 3 seeds)").partition(" to ")
    assert 2 < float(low) < 3.03 < float(high) < 4


def test_an_open_end_is_in_words():
    (line,) = verdict(three_seeds((0.25, [0.70, 0.85, 0.76]), (0.5, [0.83, 0.82, 0.84])))
    assert line.endswith("to more than 4.00, 3 seeds)")
    both = verdict(three_seeds((0.25, [0.70, 0.85, 0.76]), (0.5, [0.83, 0.78, 0.84])))
    assert both[0].endswith("(95 % interval less than 2.00 to more than 4.00, 3 seeds)")


def test_the_number_inside_one_run_is_said_where_there_is_no_frontier():
    (line,) = verdict(SCRATCH | FAST | WEAK)
    assert (
        line == "fast: 2.00 times cheaper than retraining at equal accuracy (2 seeds; no interval: n = 2 is too small)"
    )


def test_one_seed_is_one_seed():
    (line,) = verdict({("scratch", 1.0): {0: [0.2, 0.8]}, ("fast", 0.5): {0: [0.9]}})
    assert line.endswith("(1 seed; no interval: n = 1 is too small)")


def test_an_interval_that_includes_one_says_so():
    """Seeds cross at 20, 40 and 40 of 40 steps: log ratios 0.693, 0, 0; mean 0.231, sd 0.4002, half width 4.3027 x 0.2310."""
    naive = {("naive", 1.0): {0: [0.5, 0.8, 0.8, 0.9], 1: [0.5, 0.7, 0.79, 0.9], 2: [0.5, 0.6, 0.7, 0.8]}}
    lines = verdict({("scratch", 1.0): ALL} | naive)
    # The mean over seeds is 0.7 at step 20, 0.763 at 30 and 0.867 at 40: nothing saved by the mean.
    assert lines == ("nothing saved: naive reaches the target at scratch's whole cost (3 seeds)",)
    early = {("naive", 1.0): {0: [0.9, 0.9, 0.9, 0.9], 1: [0.5, 0.7, 0.79, 0.9], 2: [0.5, 0.8, 0.8, 0.8]}}
    (line,) = verdict({("scratch", 1.0): ALL} | early)
    # The mean is 0.8 at 20 steps; seeds cross at 10, 40 and 20: ratios 4, 1 and 2, log2 2, 0, 1: mean 1, half 4.3027 / sqrt(3).
    low, high = 2 ** (1 - 4.302653 / 3**0.5), 2 ** (1 + 4.302653 / 3**0.5)
    assert line.endswith(f"(95 % interval {low:.2f} to {high:.2f}, which includes 1, 3 seeds)")
    assert line.startswith("naive: 2.00 times cheaper")


def test_what_missed_says_by_how_much():
    weak = {("weak", 0.5): {0: [0.7, 0.79], 1: [0.5, 0.798]}}
    (line,) = verdict(SCRATCH | weak)  # the mean ends at 0.794
    assert line == "nothing saved: weak ends 0.6 points short at 0.5 of scratch's length (2 seeds)"
    close = {("weak", 0.5): {0: [0.7, 0.7996], 1: [0.5, 0.7998]}}
    assert "weak ends 0.03 points short" in verdict(SCRATCH | close)[0]


def test_a_frontier_that_misses_is_as_short_as_its_longest_horizon():
    (line,) = verdict(three_seeds((0.25, [0.7] * 3), (0.5, [0.77, 0.78, 0.79])))
    assert line == "nothing saved: fast ends 2.0 points short at 0.5 of scratch's length (3 seeds)"


def test_what_costs_more_than_scratch_saved_nothing():
    longer = {("long", 2.0): {seed: [0.2, 0.3, 0.4, 0.5, 0.9] for seed in (0, 1)}}
    assert verdict(SCRATCH | longer) == ("nothing saved: long costs 1.25 times as much as retraining (2 seeds)",)


def test_scratch_alone_and_strategies_on_other_seeds_have_no_sentence():
    assert verdict(SCRATCH) == ()
    assert verdict(SCRATCH | {("late", 0.5): {7: [0.9, 0.9]}}) == ()
    assert verdict(SCRATCH | {("scratch", 0.5): {0: [0.9, 0.9], 1: [0.9, 0.9]}}) == ()


def test_a_frontier_whose_interval_lies_above_one_leads_a_higher_number_inside_one_run():
    once = {("once", 0.25): {seed: [0.9] for seed in range(3)}}  # 4.00, every seed at the end of its run
    lines = verdict(three_seeds(*SAVES) | once)
    assert [line.partition(" times")[0] for line in lines] == ["fast: 3.03", "once: 4.00"]
    unsure = verdict(three_seeds((0.25, [0.70, 0.85, 0.76]), (0.5, [0.83, 0.78, 0.84])) | once)
    assert [line.partition(":")[0] for line in unsure] == ["once", "fast"]  # as in the leaderboard


def test_of_two_such_frontiers_the_higher_speedup_leads():
    ends = three_seeds((0.5, [0.78, 0.785, 0.775]), (0.75, [0.83, 0.82, 0.84]))
    slow = {("aslow", horizon): seeds for (name, horizon), seeds in ends.items() if name == "fast"}
    # 0.4 of the way from 20 steps to 30, at 23.52; scratch takes 40.
    assert [line.partition(" times")[0] for line in verdict(three_seeds(*SAVES) | slow)] == [
        "fast: 3.03",
        "aslow: 1.70",
    ]


def test_a_strategy_that_missed_on_a_seed_comes_after_one_that_did_not():
    lucky = {("lucky", 0.25): {0: [0.99], 1: [0.79], 2: [0.79]}}  # its mean is above 0.8
    steady = {("steady", 0.5): {seed: [0.5, 0.81] for seed in range(3)}}
    lines = verdict({("scratch", 1.0): ALL} | lucky | steady)
    assert [line.partition(":")[0] for line in lines] == ["steady", "lucky"]
    assert lines[1].endswith("(3 seeds; no interval: 1 of 3 seeds crossed)")


def test_no_more_than_three_sentences_and_the_number_of_the_others():
    many = {(f"fast{place}", 0.5): {0: [0.5, 0.9], 1: [0.5, 0.8]} for place in range(5)}
    lines = verdict(SCRATCH | many)
    assert len(lines) == 4
    assert lines[3] == "2 more saved something, see the table"


def test_the_currency_and_the_share_of_the_target_are_named():
    (line,) = verdict(SCRATCH | FAST, "steps", 0.5)  # 0.4: scratch holds it from step 20 on, ours from 10
    assert line.startswith("fast: 2.00 times cheaper in optimizer steps than retraining at 0.5 of its accuracy (")
    trials, evals = records(SCRATCH | FAST)
    trials = with_target(trials, 0.84)
    (line,) = verdict_lines(leaderboard(trials, evals), frontiers(trials, evals))
    assert " than retraining at the published accuracy (" in line


def test_a_shorter_scratch_that_saves_as_well_is_named():
    curves = three_seeds(*SAVES) | {("scratch", 0.5): {seed: [0.1, 0.8] for seed in range(3)}}
    (line,) = verdict(curves)  # scratch needs 20 of its 40 steps
    assert line.startswith("fast: 3.03 times cheaper")
    assert line.endswith("; 1.52 times against scratch at its own cheapest length")


def test_the_committed_headline_is_the_first_line_of_every_format():
    board = bench.load_results(ROOT / "results").leaderboard("cifar100-70-30-lite")
    said = "optimized: 3.38 times cheaper than retraining at equal accuracy"
    first = f"{said} (95 % interval 2.70 to 4.03, 5 seeds)"
    assert board.verdict.splitlines()[0] == first
    assert board.cells.heading.splitlines()[1] == first
    assert board.markdown().splitlines()[2].rstrip() == first
    assert first.replace("%", r"\%") in board.latex()
    assert first in board._repr_html_()
    assert f'<p class="verdict">{first}</p>' in (ROOT / "reports/published/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["fashion-mnist-7-3"])
def test_where_nothing_was_saved_the_committed_table_says_so(name: str):
    verdict = bench.load_results(ROOT / "results").leaderboard(name).verdict
    assert verdict.startswith(
        "nothing saved: naive reaches the target at scratch's whole cost (3 seeds); optimized ends 0.3 points short"
    )
