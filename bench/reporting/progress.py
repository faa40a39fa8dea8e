"""Shows the progress of a run: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bench.execution.listener import Listener
from bench.records.schema import EvalRow, TrialRecord
from bench.records.sharing import BUSY_SHARE
from bench.reporting.numbers import counted


@contextmanager
def progress_for(console: Console) -> Iterator[Listener]:
    """Yield the listener that suits `console`, and clean up after it."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # Updates come at evaluations, minutes apart in a long trial; a shorter window would see no speed.
    with Progress(*columns, console=console, speed_estimate_period=1800) as progress:
        yield _Bars(progress)


@contextmanager
def progress_on_terminal() -> Iterator[Listener]:
    """Give the listener that fits the standard error stream."""
    with progress_for(Console(stderr=True)) as listener:
        yield listener


@contextmanager
def decoding_bar(images: int) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many images were just decoded, and shows a bar from the first one on."""
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=images, visible=False)

        def advance(done: int) -> None:
            progress.update(task, advance=done, visible=True)

        yield advance


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        self._print(_plan_in_words(asked, due))

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        self._print(f"{label}: " + (f"resumes after step {done_steps}" if done_steps else f"{total_steps} steps"))

    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None:
        pass

    def ended(self, label: str, record: TrialRecord | None) -> None:
        self._print(f"{label}: {result_in_words(record)}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._all = progress.add_task("all steps", total=None, note="")
        self._bars: dict[str, TaskID] = {}  # of what is in progress
        self._steps: dict[str, int] = {}

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        self._progress.console.print(_plan_in_words(asked, due), highlight=False, markup=False)
        # An ablation runs one scenario after the other: what is done stays done.
        self._progress.update(self._all, total=self._progress.tasks[0].completed + total_steps)

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        self._bars[label] = self._progress.add_task(label, total=total_steps, note="")
        self._steps[label] = 0
        self._advance(label, done_steps)

    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None:
        self._advance(label, row.step)
        self._progress.update(self._bars[label], note=f"validation {row.validation_accuracy:.4f}")

    def ended(self, label: str, record: TrialRecord | None) -> None:
        self._progress.console.print(f"{label}: {result_in_words(record)}", highlight=False, markup=False)
        if label in self._bars:  # a trial may fail before it begins
            self._progress.remove_task(self._bars.pop(label))

    def _advance(self, label: str, step: int) -> None:
        self._progress.update(self._bars[label], completed=step)
        self._progress.advance(self._all, step - self._steps[label])
        self._steps[label] = step


def _plan_in_words(asked: int, due: int) -> str:
    return f"{counted(asked, 'trial')}: {due} to run, {asked - due} finished already"


def result_in_words(record: TrialRecord | None) -> str:
    """Return one line on how a trial ended, and on what makes its timings doubtful."""
    if record is None:
        return "failed"
    summary = record.summary
    if summary is None:
        return record.reason if record.status == "diverged" and record.reason else record.status
    return (
        f"validation {summary.validation_accuracy:.4f}, test {summary.test_accuracy:.4f}, "
        f"{summary.train_flops + summary.aux_flops:.3e} FLOPs, {summary.train_seconds:.1f} s of training, "
        f"{summary.wall_seconds:.1f} s in total{_warnings_in_words(record)}"
    )


def _warnings_in_words(record: TrialRecord) -> str:
    """Return what makes a finished trial's timings doubtful; usually empty."""
    summary, origin = record.summary, record.provenance
    if summary is None:
        return ""
    words = ""
    if summary.other_cpu_seconds is not None and summary.train_seconds:
        # Of what was not the trial's own, its neighbours in the same run account for at most a core per thread.
        neighbours = (origin.jobs - 1) * origin.threads * summary.train_seconds
        share = (summary.other_cpu_seconds - neighbours) / (origin.cpus * summary.train_seconds)
        if share > BUSY_SHARE:
            words += f"; the machine was busy: other processes used {share:.0%} of its CPU time"
    if summary.gpu_use and (summary.gpu_use.slowed_share or 0) > BUSY_SHARE:
        reasons = ", ".join(summary.gpu_use.slowed_by)
        words += f"; the GPU's clocks were throttled {summary.gpu_use.slowed_share:.0%} of the time: {reasons}"
    return words
