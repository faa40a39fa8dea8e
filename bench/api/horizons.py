"""Several horizons of each strategy: all that a frontier needs, or the shortest that holds the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.api.named import load_scenario, seeds_for, strategies_for, strategy
from bench.catalog import BASELINES, REFERENCE, TUNING_FROM
from bench.errors import BenchError, StrategyError

if TYPE_CHECKING:
    from bench.api.named import ScenarioLike, StrategyLike
    from bench.api.plans import Plan
    from bench.execution.listener import Listener
    from bench.scenario import Scenario
    from bench.strategies.strategy import Entrant

HORIZONS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)


@dataclass(frozen=True)
class Tried:
    """One length of a strategy, as find_horizons tried it.

    accuracy: final validation accuracy, the mean over seeds; of a chain, of the update that comes closest to missing. target: the
    accuracy to be matched there.
    """

    strategy: str
    horizon: float
    accuracy: float
    target: float
    holds: bool


def frontier(
    scenario: ScenarioLike,
    strategies: Iterable[StrategyLike] = BASELINES,
    horizons: Sequence[float] = HORIZONS,
    seeds: Iterable[int] = range(3),
    **options: Any,
) -> Plan:
    """Return the plan of the trials that a frontier needs: each strategy at each horizon, and scratch's full length.

    options: as for plan(). Run it with run(), whose results have the frontier().
    Raises StrategyError for fewer than two horizons, and a BenchError as plan() does.

    >>> import bench
    >>> plan = bench.frontier("digits-7-3", ["naive"], [0.5, 0.25], seeds=[0], results="runs-of-the-example")
    >>> plan.trials[["strategy", "horizon"]].to_dict("list")
    {'strategy': ['scratch', 'naive', 'naive'], 'horizon': [1.0, 0.5, 0.25]}
    """
    from bench.api.plans import plan

    if len(set(horizons)) < 2:
        raise StrategyError(f"horizons: found {list(horizons)}, expected at least two, such as [1, 0.5]. Add one.")
    asked = strategies_for(strategies, horizons=horizons)
    return plan(scenario, _with_reference(asked), seeds, **options)


def find_horizons(
    scenario: ScenarioLike,
    strategies: Iterable[StrategyLike],
    seeds: Iterable[int] = (TUNING_FROM,),
    *,
    resolution: float = 0.02,
    tell: Callable[[Tried], object] = lambda tried: None,
    jobs: int = 1,
    listener: Listener | None = None,
    **options: Any,
) -> dict[str, float | None]:
    """Return the shortest horizon at which each strategy's final accuracy holds the target; None where 1 does not hold it.

    By bisection between 0 and 1 over multiples of `resolution`. A strategy that holds the target at some length is taken to hold
    it at every greater one. Trials that are finished already are not run again. Scratch is the reference and is not looked for.
    seeds: for tuning, from 100 on: a length that was chosen on scored seeds would flatter itself on them. tell: is told each
    length as it was tried. jobs, listener: as for run(). options: as for plan().
    Raises BenchError for seeds below 100 and a resolution that is not between 0 and 0.5, and TrialError where a trial fails.
    """
    numbers, asked = seeds_for(seeds), [each for each in strategies_for(strategies) if each.name != REFERENCE]
    scored = [seed for seed in numbers if seed < TUNING_FROM]
    if scored:
        raise BenchError(
            f"seeds {', '.join(map(str, scored))}: scored, and a length must not be chosen on what is scored; expected tuning "
            f"seeds, from {TUNING_FROM} on. Name others."
        )
    if not 0 < resolution <= 0.5:
        raise BenchError(f"resolution {resolution:g}: expected above 0 and at most 0.5. Change it.")
    if not asked:
        raise StrategyError("strategies: none besides scratch, the reference. Name one.")
    known, found = load_scenario(scenario), {}
    lengths = [round(place * resolution, 6) for place in range(1, int(1 / resolution + 1e-9) + 1)]
    lengths += [1.0] if lengths[-1] < 1 else []
    for each in asked:

        def holds(horizon: float, each: Entrant = each) -> bool:
            tried = _try(known, each.at(horizon), numbers, jobs, listener, options)
            tell(tried)
            return tried.holds

        found[each.name] = shortest(lengths, holds)
    return found


def shortest(lengths: Sequence[float], holds: Callable[[float], bool]) -> float | None:
    """Return the least of these lengths, ascending, that holds; None if the greatest does not. Asks about log2 of them."""
    if not holds(lengths[-1]):
        return None
    fails, last = -1, len(lengths) - 1
    while last - fails > 1:
        middle = (fails + last) // 2
        fails, last = (fails, middle) if holds(lengths[middle]) else (middle, last)
    return lengths[last]


def _with_reference(asked: Sequence[Entrant]) -> list[Entrant]:
    """Return the strategies with scratch's full length among them, in front if it was not asked for."""
    if any(each.name == REFERENCE and each.strategy.horizon == 1 for each in asked):
        return list(asked)
    return [strategy(REFERENCE).at(1.0), *asked]


def _try(
    scenario: Scenario,
    entrant: Entrant,
    seeds: Sequence[int],
    jobs: int,
    listener: Listener | None,
    options: dict[str, Any],
) -> Tried:
    """Run scratch and one length of a strategy on tuning seeds, and return whether it holds every update's target."""
    from bench.analysis.speedup.crossing import ROUNDING
    from bench.api.plans import plan, run

    results = run(plan(scenario, _with_reference([entrant]), seeds, **options), jobs=jobs, listener=listener)
    records = results._records
    mine = replace(results, _records=records.only(records.trials[records.trials["seed"].isin(seeds)]))
    ends = []
    for update in range(1, scenario.updates + 1):
        rows = mine.leaderboard(scenario, update=update).frame
        found = rows[(rows["strategy"] == entrant.name) & (rows["horizon"] == entrant.strategy.horizon)].iloc[0]
        ends.append((float(found["validation_accuracy"]), float(found["target"])))
    accuracy, target = min(ends, key=lambda end: end[0] - end[1])
    return Tried(entrant.name, entrant.strategy.horizon, accuracy, target, accuracy >= target - ROUNDING)
