"""From a plan to figures in Python, without the command line. Takes under a minute on two cores.

python docs/examples/api.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import bench


def main(folder: Path) -> None:
    # A scenario of one's own: the shipped one with a sixth of its training.
    scenario = bench.load_scenario("digits-7-3")
    quick = scenario.model_copy(
        update={"name": "digits-quick", "training": scenario.training.model_copy(update={"epochs": 4})}
    )

    # Strategies by name, with a field set to another value, and made from pieces.
    mine = bench.Strategy(
        title="Half of the old", start=bench.Keep(), selection=bench.OldShare(0.5), schedule=bench.Linear()
    )
    kept = bench.strategy("optimized", start=bench.Keep(), horizon=0.5)
    plan = bench.plan(quick, ["scratch", "naive", kept, mine], seeds=range(2), results=folder / "runs")
    print(plan.trials)
    print(plan.costs().frame)

    results = bench.run(plan)
    board = results.leaderboard()
    print(board.frame[["rank", "strategy", "horizon", "value_flops", "validation_accuracy"]])
    print(board.markdown())
    print(results.compare("naive", "half-of-the-old").frame[["accuracy", "n", "difference", "low", "high"]])
    print(results.curves().frame.head())

    for path in bench.report(results, folder / "reports", formats=["png"], width="page"):
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path())
