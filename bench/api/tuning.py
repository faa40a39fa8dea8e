"""Tuning a strategy's fields: on tuning seeds, by validation accuracy, at equal cost, within a budget of FLOPs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api.named import load_scenario, seeds_for
from bench.api.named import strategy as named_strategy
from bench.api.plans import plan
from bench.catalog import REFERENCE, TUNING_FROM
from bench.errors import BenchError, NothingToCompareError
from bench.extras import optional_package
from bench.files import write_atomically
from bench.locks import locked
from bench.places import RUNS

if TYPE_CHECKING:
    from bench.api.named import ScenarioLike, StrategyLike
    from bench.execution.listener import Listener
    from bench.execution.tuning import Outcome, Progress
    from bench.strategies.ranges import Range
    from bench.strategies.strategy import Entrant

TUNING_FILE, _JOURNAL = "tuning.json", "study.journal"
# After so many proposals in a row that were tried before, the ranges have nothing new.
_REPEATED = 20
_RANDOM = 5  # trials before the sampler and the pruner go by what was found

State = Literal["finished", "pruned"]


@dataclass(frozen=True)
class Tried:
    """One trial of a tuning. strategy: its name. settings: field -> value, as --set takes it. flops: of all seeds.

    validation_accuracy: final, the mean over seeds and updates; None if it was ended early, or diverged.
    """

    number: int
    strategy: str
    settings: dict[str, str]
    horizon: float
    state: State
    flops: int
    validation_accuracy: float | None


@dataclass(frozen=True)
class Tuned:
    """What a tuning found, and what it cost. The file tuning.json holds the same.

    scratch_flops: of one scratch training, the mean over the tuning seeds. spent: FLOPs of all trials, of the base models and of
    scratch. best: None if no trial was trained to its end. command: runs the best beside scratch.
    """

    scenario: str
    strategy: str
    ranges: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: float
    scratch_flops: float
    scratch_accuracy: float
    spent: dict[str, int]
    trials: tuple[Tried, ...]
    best: Tried | None
    command: str
    identity: dict[str, str] = field(repr=False)

    @property
    def scratch_trainings(self) -> float:
        """Return what was spent, in units of one scratch training."""
        return sum(self.spent.values()) / self.scratch_flops


def tune(
    scenario: ScenarioLike,
    strategy: StrategyLike,
    ranges: Sequence[str] = (),
    *,
    budget: float = 10.0,
    seeds: Iterable[int] = (TUNING_FROM,),
    results: str | os.PathLike[str] = RUNS,
    tell: Callable[[Tried], object] = lambda tried: None,
    listener: Listener | None = None,
    **options: Any,
) -> Tuned:
    """Look for the fields of a strategy, within ranges, that make its final validation accuracy highest.

    ranges: as "schedule.peak=0.3:3:log" or "averaging=NoAveraging,TailMean"; none for those that the strategy's file declares.
    Each trial has the horizon at which its expected FLOPs are the strategy's. The first is the strategy as it is; then Optuna's
    TPE proposes, and its median pruner ends trials early. budget: FLOPs for everything, trials that were ended early, base models
    and scratch included, in units of one scratch training. seeds: from 100 on, which are never scored. tell: is told each trial.
    options: as for plan(). All is kept in <results>/<scenario>/<strategy>/tuning, and continues from there.
    Raises ScenarioError if Optuna is not installed, StrategyError for ranges that are none, and BenchError for scored seeds, a
    budget that is none, and a folder that holds another tuning.
    """
    from bench.execution.listener import Silent
    from bench.strategies.ranges import ranges_of

    optuna = optional_package("optuna", "bench tune", package="optuna")
    numbers, recipe, known = seeds_for(seeds), named_strategy(strategy), load_scenario(scenario)
    scored = [seed for seed in numbers if seed < TUNING_FROM]
    if scored:
        raise BenchError(
            f"--seeds: {', '.join(map(str, scored))}: scored, and nothing must be tuned on what is scored; expected seeds from "
            f"{TUNING_FROM} on. Change it."
        )
    if not (math.isfinite(budget) and budget > 0):
        raise BenchError(f"--budget {budget:g}: expected a number of scratch trainings above 0. Change it.")
    if recipe.strategy.needs_base is False and recipe.name == REFERENCE:
        raise BenchError("--strategy scratch: is the reference, which the scenario tunes. Choose another.")
    found = ranges_of(recipe, ranges)
    folder = Path(results) / known.name / recipe.name / "tuning"
    planned = partial(plan, known, seeds=numbers, results=folder / "trials", **options)
    planned([recipe])  # what can be refused is refused before anything is written
    identity = {"scenario": known.hash(), "strategy": recipe.hash()}
    with locked(folder.with_name("tuning.lock")):
        _refuse_another(folder / TUNING_FILE, identity, [str(each) for each in found], numbers)
        session = _Session(
            optuna, folder, recipe, found, numbers, budget, planned, listener or Silent(), tell, identity
        )
        return session.run(known.name)


class _Session:
    """A tuning as it goes on: Optuna's study in a journal, and what bench keeps of it in tuning.json."""

    def __init__(
        self,
        optuna: Any,
        folder: Path,
        recipe: Entrant,
        ranges: list[Range],
        seeds: tuple[int, ...],
        budget: float,
        planned: Callable[..., Any],
        listener: Listener,
        tell: Callable[[Tried], object],
        identity: dict[str, str],
    ) -> None:
        self._optuna, self._folder, self._recipe, self._ranges = optuna, folder, recipe, ranges
        self._seeds, self._budget, self._planned = seeds, budget, planned
        self._listener, self._tell, self._identity = listener, tell, identity
        self._tried: dict[str, Tried] = {}  # by name: one that is proposed again is not run again
        self._bases: dict[int, int] = {}

    def run(self, scenario: str) -> Tuned:
        from bench.execution.equal_cost import Expectations

        scratch = self._reference()
        self._unit = scratch.flops / len(self._seeds)
        self._scratch = scratch
        self._name = scenario
        local = self._planned([self._recipe])._local
        expectations = Expectations(local)
        price = expectations.of(self._recipe).flops
        study = self._study(local.budget(1))
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished() and "tried" in trial.user_attrs:
                self._note(trial.user_attrs["tried"])
        self._save()  # says whose tuning it is
        repeated = 0
        while repeated < _REPEATED:
            spent = sum(self._spent().values())
            if spent + price * len(self._seeds) > self._budget * self._unit:
                break
            # Seeded by what was tried, so that a process that goes on proposes what the one before would have.
            seed = len(self._tried) + repeated
            study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM)
            asked = study.ask()
            values = {each.field: each.value(self._draw(asked, each)) for each in self._ranges}
            entrant = expectations.at_equal_cost(self._vary(values), price).entrant
            before = self._tried.get(_key(entrant))
            repeated = repeated + 1 if before else 0
            tried = before or self._try(asked, entrant, values)
            self._close(study, asked, tried)
            if before is None:
                self._tell(tried)
        return self._save()

    def _reference(self) -> Outcome:
        """Run scratch on the tuning seeds: the unit of cost, and the accuracy to be matched."""
        from bench.execution.tuning import run_tried

        outcome = run_tried(self._planned([named_strategy(REFERENCE)])._local, self._listener, lambda progress: False)
        if outcome.validation_accuracy is None:
            raise NothingToCompareError(
                f"scratch diverged on a tuning seed, so nothing is tuned. Its record is in {self._folder / 'trials'}. "
                "Lower training.learning_rate in the scenario."
            )
        return outcome

    def _study(self, steps: int) -> Any:
        """Open the study in its journal, or begin one. What was interrupted is to be tried again; so it goes on where it was."""
        optuna, path = self._optuna, self._folder / _JOURNAL
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        for stale in path.parent.glob(
            f"{_JOURNAL}.lock*"
        ):  # of a process that is dead: ours holds the folder's own lock
            stale.unlink()
        journal = optuna.storages.journal
        storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
        # Early accuracies say little: the learning rate is still high. Of each seed's first third, nothing is given up.
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_RANDOM, n_warmup_steps=int(steps * self._horizon / 3))
        study = optuna.create_study(
            storage=storage, study_name="bench tune", direction="maximize", load_if_exists=True, pruner=pruner
        )
        if not study.trials:
            own = {each.field: _own(self._recipe, each) for each in self._ranges}
            study.enqueue_trial({name: value for name, value in own.items() if value is not None})
        for trial in study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(trial.params)
        return study

    @property
    def _horizon(self) -> float:
        return self._recipe.strategy.horizon

    def _draw(self, asked: Any, each: Range) -> Any:
        if each.choices is not None:
            return asked.suggest_categorical(each.field, list(each.choices))
        if each.whole:
            return asked.suggest_int(each.field, int(each.low), int(each.high), log=each.log)
        return asked.suggest_float(each.field, each.low, each.high, log=each.log)

    def _vary(self, values: Mapping[str, Any]) -> Entrant:
        from bench.strategies.variants import vary

        return vary(self._recipe, values)

    def _try(self, asked: Any, entrant: Entrant, values: Mapping[str, Any]) -> Tried:
        from bench.execution.tuning import run_tried
        from bench.strategies.notation import show_value

        def give_up(progress: Progress) -> bool:
            asked.report(progress.validation_accuracy, progress.place)
            return asked.should_prune()

        outcome = run_tried(self._planned([entrant])._local, self._listener, give_up)
        self._bases |= outcome.base_flops
        state: State = "pruned" if outcome.validation_accuracy is None else "finished"
        settings = {name: show_value(value) for name, value in values.items()}
        horizon = entrant.strategy.horizon
        if horizon != self._horizon:
            settings["horizon"] = f"{horizon:g}"
        return Tried(asked.number, entrant.name, settings, horizon, state, outcome.flops, outcome.validation_accuracy)

    def _close(self, study: Any, asked: Any, tried: Tried) -> None:
        """Tell the study what a trial came to, and write it down. In this order: what is not told is tried again."""
        asked.set_user_attr(
            "tried", {**asdict(tried), "bases": {str(seed): flops for seed, flops in self._bases.items()}}
        )
        states = self._optuna.trial.TrialState
        if tried.validation_accuracy is None:
            study.tell(asked, state=states.PRUNED)
        else:
            study.tell(asked, tried.validation_accuracy)
        self._note(asked.user_attrs["tried"])
        self._save()

    def _note(self, said: dict[str, Any]) -> None:
        self._bases |= {int(seed): flops for seed, flops in said["bases"].items()}
        tried = Tried(**{name: value for name, value in said.items() if name != "bases"})
        self._tried.setdefault(f"{tried.strategy}@{tried.horizon:g}", tried)

    def _spent(self) -> dict[str, int]:
        return {
            "trials": sum(each.flops for each in self._tried.values()),
            "base": sum(self._bases.values()),
            "scratch": self._scratch.flops,
        }

    def _save(self) -> Tuned:
        trials = tuple(sorted(self._tried.values(), key=lambda each: each.number))
        whole = [each for each in trials if each.validation_accuracy is not None]
        best = max(whole, key=lambda each: each.validation_accuracy or 0.0, default=None)
        assert self._scratch.validation_accuracy is not None
        found = Tuned(
            self._name,
            self._recipe.name,
            tuple(map(str, self._ranges)),
            self._seeds,
            self._budget,
            self._unit,
            self._scratch.validation_accuracy,
            self._spent(),
            trials,
            best,
            _command(self._name, self._recipe, best) if best else "",
            self._identity,
        )
        content = asdict(found) | {"scratch_trainings": found.scratch_trainings}
        write_atomically(self._folder / TUNING_FILE, (json.dumps(content, indent=2) + "\n").encode())
        if best is not None:
            text = strategy_file(self._recipe, best, found)
            if text is not None:
                path = self._folder / f"{file_name(self._recipe)}.py"
                write_atomically(path, text.encode())
        return found


def file_name(recipe: Entrant) -> str:
    """Return the name of the strategy file that a tuning writes."""
    return f"{(recipe.plain or recipe).name}-tuned"


def strategy_file(recipe: Entrant, best: Tried, found: Tuned) -> str | None:
    """Return the best as a strategy's file; None if pieces are the user's own, which only their file defines."""
    from bench.strategies.notation import read_value
    from bench.strategies.strategy import ASPECTS
    from bench.strategies.variants import vary

    entrant = vary(recipe, {name: read_value(text) for name, text in best.settings.items()})
    if entrant.source is not None:
        return None
    pieces = {name: getattr(entrant.strategy, name) for name in ASPECTS}
    names = ", ".join(sorted({type(piece).__name__ for piece in pieces.values()} | {"Strategy"}))
    plain = recipe.plain or recipe
    told = {
        **plain.strategy.tuned_on,
        found.scenario: plain.strategy.tuned_on.get(found.scenario, 0) + len(found.trials),
    }
    lines = "".join(f"    {name}={piece!r},\n" for name, piece in pieces.items())
    return (
        f'"""Tuned by bench tune on {found.scenario}: {len(found.trials)} trials, '
        f'{found.scratch_trainings:.1f} scratch trainings."""\n\n'
        f"from bench import {names}\n\nstrategy = Strategy(\n"
        f"    title={f'{plain.strategy.title}, tuned'!r},\n{lines}"
        f"    horizon={entrant.strategy.horizon!r},\n    tuned_on={told!r},\n    tuning={TUNING_FILE!r},\n)\n"
    )


def _command(scenario: str, recipe: Entrant, best: Tried) -> str:
    import shlex

    from bench.catalog import scenario_argument
    from bench.strategies.notation import read_value
    from bench.strategies.ranges import settings_text

    plain = recipe.plain or recipe
    asked = recipe.name
    if plain.code is not None and plain.name not in _shipped():
        stem = plain.code.path.stem
        asked = (
            str(plain.code.path)
            + plain.name.removeprefix(stem).replace(".", ":")
            + recipe.name.removeprefix(plain.name)
        )
    settings = {name: read_value(text) for name, text in best.settings.items()}
    base = f"bench run --scenario {scenario_argument(scenario)} --strategy {REFERENCE} --strategy {shlex.quote(asked)}"
    return f"{base} {settings_text(settings, plain.name)}"


def _shipped() -> list[str]:
    from bench.catalog import installed_names, strategy_names

    return [*strategy_names(), *installed_names("strategies")]


def _key(entrant: Entrant) -> str:
    return f"{entrant.name}@{entrant.strategy.horizon:g}"


def _own(recipe: Entrant, each: Range) -> Any:
    """Return the strategy's own value of a field as it would be drawn; None if it is outside the range."""
    from bench.strategies.notation import show_value

    aspect, dot, name = each.field.partition(".")
    piece = getattr(recipe.strategy, aspect)
    value = getattr(piece, name, None) if dot else piece
    if each.choices is not None:
        shown = show_value(value)
        return shown if shown in each.choices else None
    return value if isinstance(value, int | float) and each.low <= value <= each.high else None


def _refuse_another(path: Path, identity: dict[str, str], ranges: list[str], seeds: tuple[int, ...]) -> None:
    """Raise BenchError if the folder holds a tuning of something else: its trials would be taken for this one's."""
    if not path.is_file():
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        differs = [
            word
            for word, mine, theirs in (
                ("scenario", identity["scenario"], there["identity"]["scenario"]),
                ("strategy", identity["strategy"], there["identity"]["strategy"]),
                ("ranges", ranges, there["ranges"]),
                ("seeds", list(seeds), there["seeds"]),
            )
            if mine != theirs
        ]
    except (ValueError, KeyError, TypeError):
        raise BenchError(
            f"{path}: is no record of a tuning, expected what bench tune wrote. Remove its folder."
        ) from None
    if differs:
        raise BenchError(
            f"{path}: holds a tuning with another {' and another '.join(differs)}. Give --results another "
            "folder, or remove this one."
        )
