"""Each seed's own crossing: what the spread between seeds looks like, misses included."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.analysis.published import published_of
from bench.analysis.ranking.leaderboard import paired
from bench.analysis.speedup.crossing import find_crossing
from bench.analysis.speedup.speedup import full_target

_COLUMNS = ["strategy", "title", "horizon", "seed", "cost", "crossed", "bracket"]


def seed_crossings(
    trials: pd.DataFrame, evals: pd.DataFrame, *, currency: str = "flops", share: float = 1.0
) -> pd.DataFrame:
    """Return a row for each strategy, horizon and seed, in that order, of the seeds that it shares with scratch.

    trials, evals: as bench.records.collect gives them, of one scenario and update. share: of the target.
    Columns: strategy, title, horizon, seed, cost (in `currency`: at the seed's own crossing, or all that it spent where it did
    not cross), crossed (bool), bracket (its cost one evaluation before the crossing, NaN where there is none). Scratch's
    seeds, too, cross where they do: that its cost is its full horizon holds for their mean. What cannot be compared in
    `currency` has no row.
    Raises RecordError where there is no scratch to compare with, or trials that must not be compared.
    """
    titles, published = dict(zip(trials["strategy"], trials["title"], strict=True)), published_of(trials)
    fixed = published.accuracy if published else None
    rows = []
    for strategy, horizon, theirs, mine in paired(trials, evals, currency):
        target = share * full_target(theirs.run(currency), fixed)
        run = mine.run(currency)
        for place, seed in enumerate(mine.seeds):
            costs = run.cost[:, place]
            found = find_crossing(run.accuracy[:, place], target)
            row = {"strategy": strategy, "title": titles[strategy], "horizon": horizon, "seed": int(seed)}
            row |= {"cost": costs[-1 if found is None else found], "crossed": found is not None}
            rows.append({**row, "bracket": costs[found - 1] if found else np.nan})
    return pd.DataFrame(rows, columns=_COLUMNS)
