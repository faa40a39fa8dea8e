"""Costs with censored seeds: the Kaplan-Meier estimate, and tests between two strategies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Reach:
    """How reliably, and at what cost, seeds reach a target.

    share: of seeds that reached it. median: the cost by which half had reached it, infinite if fewer did (Kaplan & Meier
    1958). restricted_mean: the mean cost, restricted to `limit`.
    """

    share: float
    median: float
    restricted_mean: float
    limit: float


def estimate_reach(costs: np.ndarray, reached: np.ndarray, limit: float) -> Reach:
    """Return the estimate from seeds, some of which may be censored.

    costs: (seeds,), at the target or, if it was not reached, in total. reached: bool (seeds,).
    limit: of the restricted mean, at least the highest cost; the same for all strategies compared, or one that stops early
    looks cheap.
    """
    spent, survival = _survival(costs, reached)
    half = np.flatnonzero(survival <= 0.5)
    median = float(spent[half[0]]) if len(half) else np.inf
    # The area under the survival function, a step function.
    edges = np.concatenate([[0.0], spent, [limit]])
    heights = np.concatenate([[1.0], survival])
    return Reach(float(reached.mean()), median, float((np.diff(edges) * heights).sum()), limit)


def reached_by_cost(crossings: pd.DataFrame) -> pd.DataFrame:
    """Return the Kaplan-Meier estimate as a step function: the share of seeds that had reached the target by a cost.

    crossings: as returned by seed_crossings.
    Columns: strategy, title, horizon, n, cost (0, then each at which a seed crossed or was censored), reached.
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
    """Return the two-sided p-value of the log-rank test that both strategies reach the target alike (Mantel 1966).

    costs, reached: as in estimate_reach, of one strategy; other_...: of the other. The seeds are not paired.
    None if the test is undefined: no seed reached the target, or all did at the same cost.
    """
    # Written out, for scipy.stats takes 0.4 s to import; tests/analysis/speedup/test_survival.py compares the two.
    every, crossed = np.concatenate([costs, other_costs]), np.concatenate([reached, other_reached])
    events = np.unique(every[crossed])[:, None]
    at_risk, mine_at_risk = (every >= events).sum(axis=1), (costs >= events).sum(axis=1)
    hits, mine = ((every == events) & crossed).sum(axis=1), ((costs == events) & reached).sum(axis=1)
    share = mine_at_risk / at_risk
    variance = hits * share * (1 - share) * (at_risk - hits) / np.maximum(at_risk - 1, 1)
    if not variance.sum():
        return None
    z = (mine - hits * share).sum() / math.sqrt(variance.sum())
    return math.erfc(abs(z) / math.sqrt(2))


def sign_flip(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the exact sign-flip test on paired differences.

    differences: (pairs,), at most 20. The smallest possible value is 2 / 2^pairs: 0.25 for 3 pairs.
    """
    if not 1 <= len(differences) <= 20:
        raise ValueError(f"{len(differences)} pairs, expected 1 to 20")
    flips = 1 - 2 * ((np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences))) & 1)
    sums = np.abs(flips @ differences)
    return float((sums >= abs(differences.sum()) - 1e-12).mean())


def _survival(costs: np.ndarray, reached: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (costs, the share of seeds that have not reached the target after each), bit for bit like scipy.stats.ecdf.

    That takes 0.2 ms per call, and 0.4 s to import: too long for a table of 1,000 rows.
    """
    order = np.argsort(costs)
    spent, first = np.unique(costs[order], return_index=True)
    arrived = np.add.reduceat(reached[order].astype(int), first)
    if reached.all():
        return spent, 1 - np.cumsum(arrived) / len(costs)
    on_the_way = len(costs) - first
    return spent, np.cumprod((on_the_way - arrived) / on_the_way)
