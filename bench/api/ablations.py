"""What each piece of a strategy is worth at equal cost: planning an ablation, running it, and its tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.api.named import load_scenario, seeds_for
from bench.api.named import strategy as named_strategy
from bench.api.plans import plan, run
from bench.errors import ScenarioError, TrialError
from bench.places import RUNS

if TYPE_CHECKING:
    import pandas as pd

    from bench.analysis.studies.equal_cost import Study
    from bench.api.named import ScenarioLike, StrategyLike
    from bench.api.plans import Plan
    from bench.api.results import Results
    from bench.api.tables import Table
    from bench.execution.equal_cost import Expected
    from bench.execution.listener import Listener
    from bench.scenario import Scenario
    from bench.strategies.ablations import Ablated
    from bench.strategies.strategy import Entrant
    from bench.training.step import StepChoice


@dataclass(frozen=True)
class AblationPlan:
    """What an ablation would run. See plan_ablation().

    recipe: the strategy whose pieces are compared. plans: one for each scenario, of the recipe and its variants.
    frame: a row for each scenario and strategy, the recipe first. Columns: scenario, strategy, aspect, change ("left out" or
    "alone"; empty for the recipe, as aspect and piece are), piece (in words), horizon; steps and flops (expected of one seed, of
    all updates), relative (flops over the recipe's); asked and due (numbers of trials).
    """

    recipe: Entrant
    plans: tuple[Plan, ...]
    frame: pd.DataFrame

    @property
    def tables(self) -> list[Table]:
        """A table for each scenario."""
        from bench.api.tables import AblationPlanTable

        return [AblationPlanTable.of(rows, plan.scenario.title) for plan, rows in self._parts()]

    def _parts(self) -> list[tuple[Plan, pd.DataFrame]]:
        return [(each, self.frame[self.frame["scenario"] == each.scenario.name]) for each in self.plans]

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in self.tables)


@dataclass(frozen=True)
class Ablation:
    """What each piece of a strategy is worth at equal cost.

    frame: a row for each scenario and variant, and for several scenarios one for each variant over all of them; its columns: see
    bench.analysis.studies.equal_cost.equal_cost_ablation. tables: the same, one for each scenario and one over all.
    """

    frame: pd.DataFrame
    tables: tuple[Table, ...]

    def _repr_html_(self) -> str:
        return "\n".join(table._repr_html_() for table in self.tables)


def plan_ablation(
    strategy: StrategyLike,
    scenarios: Iterable[ScenarioLike],
    seeds: Iterable[int] = range(3),
    *,
    results: str | os.PathLike[str] = RUNS,
    device: str = "auto",
    data_root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    compiled: bool | None = None,
    step: StepChoice = "auto",
    threads: int | None = None,
) -> AblationPlan:
    """Return what would show which of a strategy's pieces earn their place; trains and writes nothing.

    The variants are those of bench.strategies.ablations.ablations: each piece left out, and each alone. In each scenario, a
    variant has the horizon at which its expected FLOPs are the strategy's. The other options: as for plan().
    Raises StrategyError for a strategy without pieces, ScenarioError for no scenario or one that is given twice, and a BenchError
    for whatever else can be known to be wrong beforehand.

    >>> import bench
    >>> plan = bench.plan_ablation("optimized", ["digits-7-3"], seeds=range(2), results="runs-of-the-example")
    >>> plan.frame[["aspect", "change"]].to_dict("list")
    {'aspect': ['', 'schedule', 'freezing', 'head', 'schedule', 'freezing', 'head'],
     'change': ['', 'left out', 'left out', 'left out', 'alone', 'alone', 'alone']}
    """
    import pandas as pd

    from bench.strategies.ablations import ablations

    recipe, chosen, numbers = named_strategy(strategy), _scenarios(scenarios), seeds_for(seeds)
    variants = ablations(recipe)
    planned = partial(
        plan,
        seeds=numbers,
        results=results,
        device=device,
        data_root=data_root,
        cache=cache,
        compiled=compiled,
        step=step,
        threads=threads,
    )
    plans, rows = [], []
    for scenario in chosen:
        expected = _at_equal_cost(planned(scenario, [recipe]), variants)
        made = planned(scenario, [each.entrant for each in expected])
        plans.append(made)
        rows += _rows(made, expected, variants)
    return AblationPlan(recipe, tuple(plans), pd.DataFrame(rows))


def ablate(plan: AblationPlan, *, jobs: int = 1, listener: Listener | None = None) -> Ablation:
    """Run what is not finished of a plan of an ablation, scenario by scenario, and return what each piece is worth.

    jobs, listener: as for run(). Only the plan's seeds are compared. Raises TrialError at the end where any trial failed; the
    others have run and are recorded.
    """
    failed, studies = [], []
    for each, rows in plan._parts():
        try:
            studies.append(_study(each, rows, run(each, jobs=jobs, listener=listener)))
        except TrialError as cause:
            failed.append(f"{each.scenario.name}: {cause}")
    if failed:
        raise TrialError(" ".join(failed))
    return _compared(plan, studies)


def _compared(plan: AblationPlan, studies: Sequence[Study]) -> Ablation:
    from bench.analysis.studies.equal_cost import ALL, equal_cost_ablation
    from bench.api.tables import AblationTable

    found = equal_cost_ablation(studies)
    titles = {each.scenario.name: each.scenario.title for each in plan.plans}
    names = [*titles, ALL] if len(studies) > 1 else list(titles)
    tables = [AblationTable.of(found[found["scenario"] == name], titles.get(name, "")) for name in names]
    return Ablation(found, tuple(tables))


def _study(plan: Plan, rows: pd.DataFrame, results: Results) -> Study:
    """Return the part of an ablation that a scenario's finished trials make. rows: the plan's, the recipe's first."""
    from bench.analysis.studies.equal_cost import Compared, Study

    trials = results.trials
    mine = trials[(trials["scenario"] == plan.scenario.name) & (trials["scenario_hash"] == plan.scenario.hash())]
    recipe, *variants = rows.to_dict("records")
    names = ("strategy", "horizon", "aspect", "change", "piece")
    compared = [Compared(**{name: row[name] for name in names}) for row in variants]
    return Study(plan.scenario.name, mine, (recipe["strategy"], recipe["horizon"]), compared, plan.seeds)


def _at_equal_cost(plan: Plan, variants: Sequence[Ablated]) -> list[Expected]:
    """Return the recipe, which is the plan's strategy, and its variants at the horizons at which they cost as much."""
    from bench.execution.equal_cost import Expectations

    costs, (recipe,) = Expectations(plan._local), plan.strategies
    whole = costs.of(recipe)
    found = [whole, *(costs.at_equal_cost(each.entrant, whole.flops) for each in variants)]
    plan._local.data_of.cache_clear()  # images on a GPU, where the run needs the memory
    return found


def _rows(plan: Plan, expected: Sequence[Expected], variants: Sequence[Ablated]) -> list[dict[str, Any]]:
    trials = plan.trials
    about = [("", "", ""), *((each.aspect, each.change, each.piece) for each in variants)]
    rows = []
    for each, (aspect, change, piece) in zip(expected, about, strict=True):
        name, horizon = each.entrant.name, each.entrant.strategy.horizon
        mine = trials[(trials["strategy"] == name) & (trials["horizon"] == horizon)]
        rows.append(
            {
                "scenario": plan.scenario.name,
                "strategy": name,
                "aspect": aspect,
                "change": change,
                "piece": piece,
                "horizon": horizon,
                "steps": each.steps,
                "flops": each.flops,
                "relative": each.flops / expected[0].flops,
                "asked": len(mine),
                "due": int((~mine["state"].isin(["finished", "diverged"])).sum()),
            }
        )
    return rows


def _scenarios(scenarios: Iterable[ScenarioLike]) -> list[Scenario]:
    """Return several scenarios. Raises ScenarioError for none, and for one that is given twice."""
    if isinstance(scenarios, str | os.PathLike) or not isinstance(scenarios, Iterable):
        raise ScenarioError(f"scenarios: found {scenarios!r}, expected a list of scenarios, such as ['digits-7-3'].")
    found = [load_scenario(each) for each in scenarios]
    names = [each.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if not found or twice is not None:
        raise ScenarioError(
            f"scenarios: {f'{twice} is given twice' if twice else 'none given'}, expected distinct ones. Change them."
        )
    return found
