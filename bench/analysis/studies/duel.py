"""Two strategies against each other, seed by seed: what they cost at scratch's target, and how accurate they end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.analysis.guards.seen import seen_by_strategy
from bench.analysis.published import published_of, scored
from bench.analysis.ranking.leaderboard import ONE_DEVICE, refuse_mixtures, require_scratch
from bench.analysis.speedup.curves import ACCURACIES, Measured
from bench.analysis.speedup.speedup import full_target
from bench.analysis.speedup.student import paired_interval
from bench.analysis.speedup.survival import Reach, estimate_reach, log_rank, sign_flip
from bench.catalog import REFERENCE
from bench.errors import RecordError
from bench.records.sharing import comparable


@dataclass(frozen=True)
class Duel:
    """What is known of two strategies on the seeds that both, and scratch, have finished.

    seeds: (n,). costs, other_costs: each seed's at the target, infinite where it was not reached. ratio: the geometric mean of
    other_costs / costs, above 1 where the first is cheaper; None where a seed of either missed.
    paired_p: of the sign-flip test on the logarithms of these ratios, None with the ratio. log_rank_p: of the log-rank
    test, which takes misses along; None where it says nothing. published_n: how many seeds a published target is from; None
    where it is scratch's own on these seeds.
    """

    currency: str
    target: float
    share: float
    seeds: tuple[int, ...]
    costs: tuple[float, ...]
    other_costs: tuple[float, ...]
    reach: Reach
    other_reach: Reach
    ratio: float | None
    paired_p: float | None
    log_rank_p: float | None
    published_n: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Two strategies, each (strategy, horizon). costs: at scratch's target, or None, and then `reason` says why there are none.

    accuracies: as returned by final_differences. seen: of the two, those whose old model may have been trained on held-out
    images, and which images, in words.
    """

    one: tuple[str, float]
    other: tuple[str, float]
    costs: Duel | None
    reason: str | None
    accuracies: pd.DataFrame
    seen: dict[str, str] = field(default_factory=dict)


def compare(
    trials: pd.DataFrame,
    evals: pd.DataFrame,
    one: tuple[str, float],
    other: tuple[str, float],
    *,
    currency: str = "flops",
    share: float = 1.0,
) -> Comparison:
    """Compare two strategies of one scenario and update in cost, where that can be done, and in final accuracy.

    Raises RecordError for trials that must not be compared, or that have no seed in common.
    """
    refuse_mixtures(trials)
    accuracies = final_differences(trials, evals, one, other)
    try:
        costs, reason = duel(trials, evals, one, other, currency=currency, share=share), None
    except RecordError as cause:  # no scratch, or not in this currency: there is no target, but there are accuracies
        costs, reason = None, str(cause)
    seen = {name: uses for name, uses in seen_by_strategy(trials).items() if name in (one[0], other[0])}
    return Comparison(one, other, costs, reason, accuracies, seen)


def final_differences(
    trials: pd.DataFrame, evals: pd.DataFrame, one: tuple[str, float], other: tuple[str, float]
) -> pd.DataFrame:
    """Return a row for each accuracy at the end of two strategies: of validation and of test, each of all, old and new.

    Paired: on the seeds that both have finished. Columns: accuracy (its name), n, mean, other_mean, difference (mean minus
    other_mean), low, high (its 95 % interval by Student's t on the paired differences; NaN below two seeds, and where all
    seeds differ by the same). What was not measured has no row. Raises RecordError where the two share no seed.
    """
    trials, evals = scored(trials, evals)
    measured = Measured(evals)
    seeds = sorted(measured.seeds(one) & measured.seeds(other))
    if not seeds:
        raise RecordError(
            f"{_name(one)} and {_name(other)}: no seed that both have finished. Run them on the same seeds."
        )
    mine, theirs = (measured.curves(key, seeds).values for key in (one, other))
    rows = []
    for name in ACCURACIES:
        ends = [values[name][-1] for values in (mine, theirs) if name in values]
        if len(ends) < 2 or np.isnan(ends).all():
            continue
        differences = ends[0] - ends[1]
        low, high = paired_interval(differences)
        rows.append(
            {
                "accuracy": name,
                "n": len(seeds),
                "mean": float(ends[0].mean()),
                "other_mean": float(ends[1].mean()),
                "difference": float(differences.mean()),
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows, columns=["accuracy", "n", "mean", "other_mean", "difference", "low", "high"])


def duel(
    trials: pd.DataFrame,
    evals: pd.DataFrame,
    one: tuple[str, float],
    other: tuple[str, float],
    *,
    currency: str = "flops",
    share: float = 1.0,
) -> Duel:
    """Compare two strategies of one scenario and update. one, other: (strategy, horizon).

    trials, evals: as bench.records.collect gives them. share: of scratch's final accuracy, which is the target.
    Raises RecordError where they share no seed with scratch, must not be compared, or the currency was not measured.
    """
    refuse_mixtures(trials)
    published = published_of(trials)
    trials, evals = scored(trials, evals)
    require_scratch(trials, evals)
    measured, keys = Measured(evals), ((REFERENCE, 1.0), one, other)
    seeds = sorted(frozenset.intersection(*map(measured.seeds, keys)))
    if not seeds:
        raise RecordError(
            f"{_name(one)} and {_name(other)}: no seed that both and {REFERENCE} have finished, expected some. "
            "Run them on the same seeds."
        )
    scratch, mine, theirs = (measured.curves(key, seeds).run(currency) for key in keys)
    if np.isnan(mine.cost).any() or np.isnan(theirs.cost).any():
        raise RecordError(f"{_name(one)} and {_name(other)}: {currency} was not measured. Choose another currency.")
    machines = pd.concat([_of(trials, *key) for key in (one, other)])["machine"]
    if currency in ONE_DEVICE and not comparable(set(machines)):
        raise RecordError(
            f"{_name(one)} and {_name(other)}: {currency} was measured on different machines, or shared ones. Choose another "
            "currency."
        )
    target = share * full_target(scratch, published.accuracy if published else None)
    costs, other_costs = mine.seed_costs(target), theirs.seed_costs(target)
    reached, other_reached = np.isfinite(costs), np.isfinite(other_costs)
    spent = np.where(reached, costs, mine.cost[-1])
    other_spent = np.where(other_reached, other_costs, theirs.cost[-1])
    limit = float(max(mine.cost[-1].max(), theirs.cost[-1].max()))
    logs = np.log(other_costs / costs) if reached.all() and other_reached.all() else None
    return Duel(
        currency=currency,
        target=target,
        seeds=tuple(seeds),
        costs=tuple(costs.tolist()),
        other_costs=tuple(other_costs.tolist()),
        share=share,
        published_n=len(published.seeds) if published else None,
        reach=estimate_reach(spent, reached, limit),
        other_reach=estimate_reach(other_spent, other_reached, limit),
        ratio=None if logs is None else float(np.exp(logs.mean())),
        paired_p=None if logs is None or len(logs) > 20 else sign_flip(logs),
        log_rank_p=log_rank(spent, reached, other_spent, other_reached),
    )


def _of(evals: pd.DataFrame, strategy: str, horizon: float) -> pd.DataFrame:
    return evals[(evals["strategy"] == strategy) & (evals["horizon"] == horizon)]


def _name(key: tuple[str, float]) -> str:
    return f"{key[0]} at horizon {key[1]:g}"
