"""How the strategies in docs/examples compare with naive and scratch: the table of docs/strategies.md, from records.

    python -m tests.benchmarks.examples                  # of results/examples

In the leaderboard's order, at scratch's accuracy, in FLOPs; differences from scratch are in final validation accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.studies.duel import final_differences
from bench.catalog import REFERENCE
from bench.records.collect import collect
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
    ends = (
        records.evals.sort_values("step").groupby(["strategy", "horizon", "seed"])[["train_flops", "aux_flops"]].last()
    )
    flops = ends.sum(axis=1).groupby(["strategy", "horizon"]).mean()
    for row in leaderboard(records.trials, records.evals).to_dict("records"):
        key = (row["strategy"], row["horizon"])
        if key == (REFERENCE, 1.0):
            continue
        frame = final_differences(records.trials, records.evals, key, (REFERENCE, 1.0))
        last = frame[frame["accuracy"] == "validation_accuracy"].iloc[0]
        cells = (
            f"{row['rank']}",
            f"`{row['strategy']}`",
            speedup_text(row, "flops"),
            f"{round(row['reached'] * row['n'])} of {row['n']}",
            f"{flops[key] / flops[REFERENCE, 1.0]:.3f}",
            f"{row['validation_accuracy']:.4f}",
            f"{100 * last['difference']:+.1f} ({100 * last['low']:+.1f} to {100 * last['high']:+.1f})",
        )
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    print("\n".join((*HEADER, *table())))


if __name__ == "__main__":
    main()
