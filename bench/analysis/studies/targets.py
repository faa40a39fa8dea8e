"""How a speedup depends on the required accuracy: the same comparison at several shares of the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.published import published_of
from bench.analysis.ranking.leaderboard import RELATIVE_TARGETS_AND_FULL, paired
from bench.analysis.speedup.speedup import compare, reference
from bench.catalog import REFERENCE

_COLUMNS = ["strategy", "title", "horizon", "share", "value", "relation", "low", "high", "n"]


def speedups_by_target(
    trials: pd.DataFrame,
    evals: pd.DataFrame,
    *,
    currency: str = "flops",
    shares: Sequence[float] = RELATIVE_TARGETS_AND_FULL,
) -> pd.DataFrame:
    """Return a row for each strategy, horizon and share of the target, in that order.

    trials, evals: as returned by bench.records.collect, for one scenario and update. shares: each above 0 and at most 1.
    Columns: strategy, title, horizon, share, value and relation (as in Speedup: NaN if undetermined), low and high (95 %
    interval, NaN if there is none), n (seeds shared with scratch). Scratch's own rows are 1 by definition. A strategy that
    shares no seed with scratch, or cannot be compared in `currency`, has no row.
    Raises RecordError if there is no scratch to compare with, or if trials must not be compared.
    """
    titles, published = dict(zip(trials["strategy"], trials["title"], strict=True)), published_of(trials)
    fixed = published.accuracy if published else None
    rows = []
    for strategy, horizon, theirs, mine in paired(trials, evals, currency):
        scratch, ours = theirs.run(currency), mine.run(currency)
        is_scratch = (strategy, horizon) == (REFERENCE, 1.0)
        for share in shares:
            found = reference(scratch, share, fixed) if is_scratch else compare(scratch, ours, share, published=fixed)
            row = {"strategy": strategy, "title": titles[strategy], "horizon": horizon, "share": share}
            row |= {"value": found.value, "relation": found.relation, "n": ours.seeds}
            row |= {"low": _or_nan(found.low), "high": _or_nan(found.high)}
            rows.append(row)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
