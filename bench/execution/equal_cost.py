"""The horizon at which a strategy is expected to cost as much as another one."""

from __future__ import annotations

from dataclasses import dataclass

from bench.execution.local import LocalRun
from bench.scenario import digest
from bench.strategies.start import GradientStart
from bench.strategies.strategy import Entrant
from bench.training.base import base_entrant
from bench.training.learner import Learner
from bench.training.spec import TrialSpec

_CLOSE = 0.002  # two strategies this near in cost keep one horizon, and with it the records that there may be
_TRIES = 12


@dataclass(frozen=True)
class Expected:
    """A strategy at a horizon, and what one seed of it is expected to cost: steps and FLOPs, of all updates."""

    entrant: Entrant
    steps: int
    flops: int


class Expectations:
    """What strategies are expected to cost in a run's scenario, on its device. Trains nothing."""

    def __init__(self, run: LocalRun) -> None:
        self._run = run
        # By what costs depend on. Counting a model's FLOPs takes a second or more, and most variants differ in other aspects.
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, entrant: Entrant) -> Expected:
        """Return what one seed of a strategy is expected to cost, as Learner.expected_flops has it."""
        each = [self.of_update(entrant, update) for update in range(1, self._run.scenario.updates + 1)]
        return Expected(entrant, sum(steps for steps, _ in each), sum(flops for _, flops in each))

    def of_base(self) -> tuple[int, int]:
        """Return the steps and FLOPs that a base model is expected to cost."""
        whole = self._run.scenario.whole
        return self._expect(TrialSpec(whole, base_entrant(whole), 0, 0))

    def of_update(self, entrant: Entrant, update: int) -> tuple[int, int]:
        """Return the steps and FLOPs that one update of a strategy is expected to cost."""
        said, strategy = entrant.describe(), entrant.strategy
        whole = TrialSpec(self._run.scenario, entrant, 1, 0).whole
        pieces = [said.get(name) for name in ("freezing", "head", "averaging")]
        pieces += [isinstance(strategy.start, GradientStart), strategy.needs_predictions]
        pieces += [said.get("selection")] if getattr(strategy.selection, "holdout_epochs", 0) else []
        hooks = [strategy.objective.passes, said.get("objective"), said["source"], said.get("modules")]
        pieces += hooks if "objective" in said else []
        key = digest([*pieces, strategy.regularizer.passes, strategy.horizon, whole, update])
        if key not in self._known:
            self._known[key] = self._expect(TrialSpec(self._run.scenario, entrant, update, 0))
        return self._known[key]

    def at_equal_cost(self, entrant: Entrant, flops: int) -> Expected:
        """Return the strategy at the horizon at which it is expected to cost `flops`, to four digits after the point.

        A strategy that costs within 0.2 % of it at the horizon that it has keeps this one. Otherwise the horizon is multiplied by
        wanted over expected cost until it changes no more: cost is proportional to it but for what is paid once (features that
        are kept, a fitted head), so that each time the error falls to the share of what is paid once.
        Raises StrategyError if the horizon would be above 10.
        """
        best = found = self.of(entrant)
        if abs(found.flops / flops - 1) <= _CLOSE:
            return found
        tried = {entrant.strategy.horizon}
        for _ in range(_TRIES):
            horizon = max(0.0001, round(found.entrant.strategy.horizon * flops / found.flops, 4))
            if horizon in tried:
                break
            tried.add(horizon)
            found = self.of(entrant.at(horizon))
            best = min(best, found, key=lambda each: abs(each.flops - flops))
        return best

    def _expect(self, spec: TrialSpec) -> tuple[int, int]:
        update = self._run.data_of(spec.update, bool(spec.update) and spec.whole and self._run.restricted)
        learner = Learner(spec, update, None, self._run.device, compiled=False)
        return learner.total_steps, learner.expected_flops()
