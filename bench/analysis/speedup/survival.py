"""Costs of seeds of which some never reached the target: Kaplan and Meier's estimate, and tests between two strategies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Reach:
    """How surely, and at what cost, seeds reach a target.

    share: of seeds that did. median: the cost by which half had, infinite where fewer did (Kaplan & Meier 1958).
    restricted_mean: the mean cost, one that did not reach being taken to stop at `limit`.
    """

    share: float
    median: float
    restricted_mean: float
    limit: float


def estimate_reach(costs: np.ndarray, reached: np.ndarray, limit: float) -> Reach:
    """Return the estimate from seeds of which some were censored.

    costs: (seeds,), at the target; where it was not reached, all that was spent. reached: bool (seeds,).
    limit: of the restricted mean, at least every cost; one for all that are compared, or who gives up early looks cheap.
    """
    spent, survival = _survival(costs, reached)
    half = np.flatnonzero(survival <= 0.5)
    median = float(spent[half[0]]) if len(half) else np.inf
    # The area below the share of seeds still on their way, a step function.
    edges = np.concatenate([[0.0], spent, [limit]])
    heights = np.concatenate([[1.0], survival])
    return Reach(float(reached.mean()), median, float((np.diff(edges) * heights).sum()), limit)


def reached_by_cost(crossings: pd.DataFrame) -> pd.DataFrame:
    """Return Kaplan and Meier's estimate as steps: the share of seeds that had reached the target by a cost.

    crossings: as seed_crossings gives them.
    Columns: strategy, title, horizon, n, cost (0, each at which a seed crossed or gave up), reached.
    """
    parts = []
    for _, mine in crossings.groupby(["strategy", "horizon"]):
        costs, crossed = mine["cost"].to_numpy(float), mine["crossed"].to_numpy(bool)
        spent, survival = _survival(costs, crossed)
        found = {"cost": [0.0, *spent], "reached": [0.0, *(1 - survival)]}
        facts = mine[["strategy", "title", "horizon"]].iloc[0].to_dict()
        parts.append(pd.DataFrame({**found, **facts, "n": len(mine)}))
    columns = ["strategy", "title", "horizon", "n", "cost", "reached"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def log_rank(
    costs: np.ndarray, reached: np.ndarray, other_costs: np.ndarray, other_reached: np.ndarray
) -> float | None:
    """Return the two-sided p-value of the log-rank test that both strategies' seeds reach the target alike (Mantel 1966).

    costs, reached: as in estimate_reach, of one strategy; other_...: of the other. The seeds are not paired.
    None where the test says nothing: nobody reached it, or all did at one cost.
    """
    from scipy import stats  # takes 0.4 s, and most tables do without

    one, other = (
        stats.CensoredData(uncensored=spent[there], right=spent[~there])
        for spent, there in ((costs, reached), (other_costs, other_reached))
    )
    with np.errstate(all="ignore"):
        found = float(stats.logrank(one, other).pvalue)
    return found if np.isfinite(found) else None


def sign_flip(differences: np.ndarray) -> float:
    """Return the two-sided p-value that paired differences are as likely of either sign, by every way to flip them.

    differences: (pairs,), of at most 20 pairs. Exact: no less than 2 / 2^pairs, so 3 pairs give at best 0.25.
    """
    if not 1 <= len(differences) <= 20:
        raise ValueError(f"{len(differences)} pairs, expected 1 to 20")
    flips = 1 - 2 * ((np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences))) & 1)
    sums = np.abs(flips @ differences)
    return float((sums >= abs(differences.sum()) - 1e-12).mean())


def _survival(costs: np.ndarray, reached: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (costs, the share of seeds still on their way after each), as scipy.stats.ecdf does, to the bit.

    That takes 0.2 ms a call, and importing it 0.4 s: too long for a table of 1,000 rows.
    """
    order = np.argsort(costs)
    spent, first = np.unique(costs[order], return_index=True)
    arrived = np.add.reduceat(reached[order].astype(int), first)
    if reached.all():
        return spent, 1 - np.cumsum(arrived) / len(costs)
    on_the_way = len(costs) - first
    return spent, np.cumprod((on_the_way - arrived) / on_the_way)
