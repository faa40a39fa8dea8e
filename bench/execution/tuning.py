"""One trial of a tuning: run it, tell the tuner how validation accuracy goes, and end it early where the tuner says so.

What passes from here to a tuner is Progress and Outcome. Neither has a field for test accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from bench.errors import BenchError
from bench.execution.listener import Listener
from bench.execution.local import LocalRun, base_label
from bench.records.schema import EvalRow, TrialRecord
from bench.records.store import read_evals, read_trial


@dataclass(frozen=True)
class Progress:
    """One evaluation of a trial. place: rises from one to the next, over all seeds and updates."""

    place: int
    validation_accuracy: float


@dataclass(frozen=True)
class Outcome:
    """What trials came to. validation_accuracy: final, the mean over seeds and updates; None if one was ended early or diverged.

    flops: spent on them. base_flops: on the base models that they started from, whether trained for this or before; by seed.
    """

    validation_accuracy: float | None
    flops: int
    base_flops: dict[int, int]


class PrunedError(BenchError):
    """Ends a trial that its tuner gave up."""


def run_tried(run: LocalRun, listener: Listener, give_up: Callable[[Progress], bool]) -> Outcome:
    """Run all trials of a run that are due, and return what they came to. give_up: told each evaluation; true ends the trials.

    Raises TrialError where a trial failed.
    """
    bases = {base_label(trial.spec.seed) for trial in run.trials}
    try:
        run.run(_Watch(listener, give_up, bases))
    except PrunedError:
        return _outcome(run, whole=False)
    return _outcome(run, whole=True)


class _Watch:
    """Passes everything on, and each evaluation's validation accuracy to the tuner."""

    # A seed's or update's places lie behind the last one's: no trial has as many steps.
    _NEXT = 10**9

    def __init__(self, listener: Listener, give_up: Callable[[Progress], bool], bases: Collection[str]) -> None:
        self._listener = listener
        self._give_up = give_up
        self._bases = bases
        self._ended = 0

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        self._ended = asked - due  # those of an earlier sitting
        self._listener.planned(asked, due, total_steps)

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        self._listener.began(label, total_steps, done_steps)

    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None:
        self._listener.evaluated(label, row, total_steps)
        if label in self._bases:
            return
        if self._give_up(Progress(self._ended * self._NEXT + row.step, row.validation_accuracy)):
            self._listener.ended(label, None)
            raise PrunedError(f"ended early at step {row.step}: its validation accuracy was below the median")

    def ended(self, label: str, record: TrialRecord | None) -> None:
        self._ended += label not in self._bases
        self._listener.ended(label, record)


def _outcome(run: LocalRun, whole: bool) -> Outcome:
    accuracies: list[float] = []
    flops, bases = 0, dict[int, int]()
    for trial in run.trials:
        record = read_trial(trial.folder)
        if record is None:
            continue
        rows = read_evals(trial.folder, torn_allowed=True)
        flops += rows[-1].train_flops + rows[-1].aux_flops if rows else 0
        if record.base is not None:
            bases[record.seed] = record.base.train_flops + record.base.aux_flops
        if record.summary is None:
            whole = False
        else:
            accuracies.append(record.summary.validation_accuracy)
    return Outcome(sum(accuracies) / len(accuracies) if whole and accuracies else None, flops, bases)
