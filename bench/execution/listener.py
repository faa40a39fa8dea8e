"""Following a run's progress."""

from __future__ import annotations

from typing import Protocol

from bench.records.schema import EvalRow, TrialRecord


class Listener(Protocol):
    """Receives a run's progress, in the run's own process. `label` names a trial, or a base model, in words.

    With several jobs, several labels are in progress at a time: each begins, is evaluated and ends by itself.
    asked, due: numbers of trials. total_steps: of everything due, or of the one trial. done_steps: those taken in earlier
    sittings. record: None for what failed.
    """

    def planned(self, asked: int, due: int, total_steps: int) -> None: ...
    def began(self, label: str, total_steps: int, done_steps: int) -> None: ...
    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None: ...
    def ended(self, label: str, record: TrialRecord | None) -> None: ...


class Silent:
    """A listener that keeps everything to itself."""

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        pass

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        pass

    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None:
        pass

    def ended(self, label: str, record: TrialRecord | None) -> None:
        pass
