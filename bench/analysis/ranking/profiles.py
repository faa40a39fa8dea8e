"""Performance profiles over several tables, as step functions to draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.ranking.pooled import cost_ratios, pool, profile

_COLUMNS = ["strategy", "title", "horizon", "scenarios", "reached", "geometric_mean", "score", "tau", "rho"]
_TAUS = (1.0, 4.0)  # RULES 15: from the best cost to four times it


def profiles(boards: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a row for each strategy and horizon present in all boards, and each tau at which any profile steps.

    boards: as returned by leaderboard, all for the same currency and share of the target.
    Columns: those of `pool`, tau (from 1 to 4) and rho (the share of boards whose cost is at most tau times their lowest).
    """
    pooled, currency = pool(boards), boards[0]["currency"].iloc[0]
    keys = list(zip(pooled["strategy"], pooled["horizon"], strict=True))
    costs = np.array([[_cost(board, key, currency) for board in boards] for key in keys]).reshape(len(keys), -1)
    ratios = cost_ratios(costs)
    taus = np.unique([*_TAUS, *ratios[np.isfinite(ratios)]])
    rows = [
        {**row, "tau": tau, "rho": rho}
        for row, mine in zip(pooled.to_dict("records"), ratios, strict=True)
        for tau, rho in zip(taus, profile(mine, taus), strict=True)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _cost(board: pd.DataFrame, key: tuple[str, float], currency: str) -> float:
    """Return the cost at the target, infinite if it was not held."""
    row = board[(board["strategy"] == key[0]) & (board["horizon"] == key[1])].iloc[0]
    return float(row[f"cost_{currency}"]) if row[f"relation_{currency}"] in ("=", ">") else np.inf
