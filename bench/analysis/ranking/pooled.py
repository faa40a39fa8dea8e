"""One figure for several scenarios: the geometric mean of speedups, and the performance profile."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.guards.seen import mark_seen
from bench.analysis.ranking.aggregate import aggregate_speedups
from bench.catalog import REFERENCE

Row = dict[Hashable, Any]  # of a leaderboard, by column

# RULES 15: more than four times the lowest cost counts as never.
_FARTHEST = 4.0


def pool(boards: Sequence[pd.DataFrame], by_seed: Sequence[pd.DataFrame] = ()) -> pd.DataFrame:
    """Return a row for each strategy and horizon present in all boards, the highest score first.

    boards: as returned by leaderboard, one per scenario, all for the same currency and share of the target. by_seed: for the
    same scenarios, as returned by seed_speedups; without it there is no interquartile mean.
    Columns: strategy, title, horizon, scenarios, reached (in how many the target was held), geometric_mean (of speedups; a miss
    counts as scratch's budget plus one step), score (see profile_score); iqm, iqm_low, iqm_high (see aggregate_speedups).
    """
    currency = boards[0]["currency"].iloc[0]
    known = [board[(board["n"] > 0) & board[f"relation_{currency}"].notna()] for board in boards]
    by_key = [{(row["strategy"], row["horizon"]): row for row in board.to_dict("records")} for board in known]
    common = sorted(set.intersection(*map(set, by_key)))
    costs = np.array([[_cost(rows[key], currency) for rows in by_key] for key in common]).reshape(-1, len(boards))
    scores = [profile_score(ratios) for ratios in cost_ratios(costs)]
    found = []
    for key, spent, score in zip(common, costs, scores, strict=True):
        speedups = [
            rows[key][f"value_{currency}"] if np.isfinite(cost) else _missed(rows)
            for rows, cost in zip(by_key, spent, strict=True)
        ]
        title = by_key[0][key]["title"]
        row = {"strategy": key[0], "title": title, "horizon": key[1], "scenarios": len(boards)}
        row |= {"reached": int(np.isfinite(spent).sum()), "geometric_mean": float(np.exp(np.log(speedups).mean()))}
        found.append({**row, "score": score})
    columns = ["strategy", "title", "horizon", "scenarios", "reached", "geometric_mean", "score"]
    table = pd.DataFrame(found, columns=columns).sort_values("score", ascending=False, kind="stable", ignore_index=True)
    if by_seed:
        table = table.merge(aggregate_speedups(by_seed), on=["strategy", "horizon"], how="left")
    return mark_seen(table, *boards)


def cost_ratios(costs: np.ndarray) -> np.ndarray:
    """Return each cost divided by the lowest of its scenario; infinite for a miss, and beyond four times the lowest.

    costs: (strategies, scenarios), infinite if the target was not held.
    """
    best = costs.min(axis=0, initial=np.inf)
    with np.errstate(invalid="ignore"):  # infinite by infinite, if no strategy held the target
        ratios = np.where(np.isfinite(costs), costs / best, np.inf)
    return np.where(ratios > _FARTHEST, np.inf, ratios)


def profile(ratios: np.ndarray, taus: np.ndarray) -> np.ndarray:
    """Return one strategy's performance profile, (taus,): the share of ratios of at most tau (Dolan & More 2002).

    ratios: (scenarios,), as returned by cost_ratios.
    """
    return (ratios[None, :] <= taus[:, None]).mean(axis=1)


def profile_score(ratios: np.ndarray) -> float:
    """Return the area below the profile from 1 to 4, between 0 and 1: the mean of max(0, (4 - r) / 3)."""
    finite = np.where(np.isfinite(ratios), ratios, _FARTHEST)
    return float(np.clip((_FARTHEST - finite) / (_FARTHEST - 1), 0, None).mean())


def _cost(row: Row, currency: str) -> float:
    return float(row[f"cost_{currency}"]) if row[f"relation_{currency}"] in ("=", ">") else np.inf


def _missed(rows: dict[tuple[str, float], Row]) -> float:
    """Return the speedup that a miss counts as: scratch's cost at the target over its budget plus one step."""
    scratch = rows[REFERENCE, 1.0]
    return float(scratch["cost_steps"]) / (float(scratch["scratch_steps"]) + 1)
