"""How well pilots predicted the whole result: the table of docs/own-data.md, from records.

    python -m tests.benchmarks.pilots                            # of results/pilots against results
    python -m tests.benchmarks.pilots --whole results --whole FOLDER     # whole results from several folders

A row for each strategy and horizon that a pilot and its whole scenario have in common, on seeds 0 to 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.analysis.ranking.leaderboard import leaderboard
from bench.analysis.studies.duel import final_differences
from bench.analysis.studies.pilots import pilot_cost
from bench.catalog import REFERENCE
from bench.errors import NothingToCompareError
from bench.records.collect import Records, collect
from bench.reporting.numbers import speedup_text

RESULTS = Path(__file__).resolve().parents[2] / "results"
_MARK, _SEEDS = "-pilot-", (0, 1, 2)
# What a pilot runs unless it is told otherwise, which its cost is of.
_DEFAULT = ((REFERENCE, 1.0), ("naive", 0.5), ("optimized", 0.44))
HEADER = (
    "| scenario | pilot | its cost | strategy | its speedup | measured speedup | its difference, points | measured difference |",
    "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
)


def table(pilots: Path, whole: Sequence[Path]) -> Iterator[str]:
    """Yield the rows."""
    small = collect(pilots)
    large = [collect(folder) for folder in (*whole, pilots)]
    for name in sorted(each for each in small.scenarios() if _MARK in each):
        full, _, share = name.partition(_MARK)
        found = next((records for records in large if full in records.scenarios()), None)
        if found is not None:
            yield from rows(full, share, _of_seeds(small.of(name)), _of_seeds(found.of(full)))


def rows(scenario: str, share: str, pilot: Records, whole: Records) -> Iterator[str]:
    """Yield the rows of one pilot."""
    steps = int(whole.trials["scratch_steps"].iloc[0])
    default = pilot.trials[[key in _DEFAULT for key in _keys(pilot)]]
    cost = pilot_cost(default, steps) / default["seed"].nunique()
    common = sorted(set(_keys(pilot)) & set(_keys(whole)) - {(REFERENCE, 1.0)})
    for strategy, horizon in common:
        said = [_speedup(of, strategy, horizon) for of in (pilot, whole)]
        ends = [_difference(of, (strategy, horizon)) for of in (pilot, whole)]
        cells = (scenario, share, f"{100 * cost:.1f} %", f"`{strategy}` at {horizon:g}", *said, *ends)
        yield f"| {' | '.join(cells)} |"


def _of_seeds(records: Records) -> Records:
    return records.only(records.trials[records.trials["seed"].isin(_SEEDS)])


def _keys(records: Records) -> list[tuple[str, float]]:
    return list(zip(records.trials["strategy"], records.trials["horizon"], strict=True))


def _speedup(records: Records, strategy: str, horizon: float) -> str:
    """Return the speedup in FLOPs at scratch's accuracy, or that scratch learned nothing."""
    try:
        found = leaderboard(records.trials, records.evals)
    except NothingToCompareError:
        return "none: scratch guesses"
    (row,) = found[(found["strategy"] == strategy) & (found["horizon"] == horizon)].to_dict("records")
    return speedup_text(row, "flops")


def _difference(records: Records, key: tuple[str, float]) -> str:
    """Return the difference in final validation accuracy from scratch, in points, with its interval."""
    frame = final_differences(records.trials, records.evals, key, (REFERENCE, 1.0))
    row = frame[frame["accuracy"] == "validation_accuracy"].iloc[0]
    return f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pilots", type=Path, default=RESULTS / "pilots")
    parser.add_argument("--whole", type=Path, action="append")
    arguments = parser.parse_args()
    print("\n".join((*HEADER, *table(arguments.pilots, arguments.whole or [RESULTS]))))


if __name__ == "__main__":
    main()
