"""How the strategies in docs/examples compare with naive and scratch: the table of docs/strategies.md, from records.

    python -m tests.benchmarks.examples                  # of results/examples

In the leaderboard's order, at scratch's accuracy, in FLOPs; differences from scratch are in final validation accuracy. The open
division comes below, without a rank, and against its own scratch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.ranking.open_division import with_open
from bench.analysis.studies.duel import final_differences
from bench.catalog import REFERENCE
from bench.records.collect import Records, collect
from bench.reporting.numbers import speedup_text

RECORDS = Path(__file__).resolve().parents[2] / "results" / "examples"
SCENARIO = "glyphs-32-15"
HEADER = (
    "| rank | strategy | speedup | seeds that reached it | cost, of scratch's | validation accuracy | difference, points |",
    "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
)


def table() -> Iterator[str]:
    """Yield the rows."""
    records = collect(RECORDS).of(SCENARIO)
    closed, opened = records.of_division("closed"), records.of_division("open")
    rows = with_open(leaderboard(closed.trials, closed.evals), opened.trials, opened.evals)
    named = opened.trials.dropna(subset="reference")  # the others are references
    references = dict(zip(named["strategy"], named["reference"], strict=True))
    for row in rows.to_dict("records"):
        key, is_open = (row["strategy"], row["horizon"]), row["division"] == "open"
        reference = references.get(row["strategy"]) if is_open else REFERENCE
        if reference is None or key == (scratch := (reference, 1.0)):
            continue
        part = opened if is_open else closed
        last = final_differences(part.trials, part.evals, key, scratch).set_index("accuracy").loc["validation_accuracy"]
        cells = (
            "-" if is_open else f"{row['rank']}",
            f"`{row['strategy']}`",
            speedup_text(row, "flops"),
            f"{round(row['reached'] * row['n'])} of {row['n']}",
            f"{_cost(part, key) / _cost(part, scratch):.3f}",
            f"{row['validation_accuracy']:.4f}",
            f"{100 * last['difference']:+.1f} ({100 * last['low']:+.1f} to {100 * last['high']:+.1f})",
        )
        yield f"| {' | '.join(cells)} |"


def _cost(records: Records, key: tuple[str, float]) -> float:
    """Return the FLOPs of a whole trial, the mean over seeds."""
    evals = records.evals
    mine = evals[(evals["strategy"] == key[0]) & (evals["horizon"] == key[1])]
    ends = mine.sort_values("step").groupby("seed")[["train_flops", "aux_flops"]].last()
    return float(ends.sum(axis=1).mean())


def main() -> None:
    print("\n".join((*HEADER, *table())))


if __name__ == "__main__":
    main()
