"""Each seed's own crossing: the spread between seeds, including misses."""

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
    """Return a row for each strategy, horizon and seed, in that order, for the seeds shared with scratch.

    trials, evals: as returned by bench.records.collect, for one scenario and update. share: of the target.
    Columns: strategy, title, horizon, seed, cost (in `currency`: at the seed's own crossing, or in total if it did not cross),
    crossed (bool), bracket (its cost one evaluation before the crossing, NaN if there is none). Scratch's seeds have crossings
    of their own, too: only the cost of their mean is the full horizon by definition. A strategy that cannot be compared in
    `currency` has no row.
    Raises RecordError if there is no scratch to compare with, or if trials must not be compared.
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
