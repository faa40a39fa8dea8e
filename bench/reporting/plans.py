"""Tables of what can be run, and of what a run would cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.data.sources.counts import expected_size
from bench.records.schema import TrialRecord
from bench.reporting.layout import Cells, Column
from bench.scenario import Scenario, Stage

if TYPE_CHECKING:  # needs torch, and `bench list` starts without
    from bench.execution.estimate import Plan
    from bench.execution.jobs import Graph, Job

_LIST_NOTE = (
    "images: about how many scratch trains on at the last update, from the sets' published counts. scratch, FLOPs: of one trial "
    "there, if the results contain one; bench plan estimates it. --wide shows all columns."
)

_LONGEST_PATH = 6  # jobs, as a note shows them


def scenario_cells(scenarios: Sequence[Scenario], ready: Sequence[str], records: Sequence[TrialRecord | None]) -> Cells:
    """Return scenarios in words. ready: see data_ready. records: a finished trial of scratch at the last update of each."""
    columns = (
        Column("scenario", "scenario", left=True),
        Column("data", "data", 0, left=True),
        Column("stages", "stages", 1, left=True),
        Column("model", "model", 2, left=True),
        Column("kind", "kind", 3, left=True),
        Column("set", "set", 4, left=True),
        Column("classes", "classes", 5),
        Column("images", "images", 6),
        Column("epochs", "epochs", 7),
        Column("batch", "batch", 8),
        Column("precision", "precision", 9, left=True),
        Column("flops", "scratch, FLOPs", 10),
    )
    rows = []
    for scenario, state, record in zip(scenarios, ready, records, strict=True):
        training, data = scenario.training, scenario.data
        images, classes = expected_size(scenario)
        rows.append(
            (
                scenario.name,
                state,
                " + ".join(map(_stage_text, scenario.stages)),
                scenario.model.name,
                scenario.kind,
                data.set or "own folders",
                "-" if classes is None else str(classes),
                "-" if images is None else f"{images:,}",
                str(training.epochs),
                str(training.batch_size),
                training.precision,
                f"{record.summary.train_flops + record.summary.aux_flops:.2e}" if record and record.summary else "-",
            )
        )
    return Cells("Scenarios", columns, tuple(rows), (_LIST_NOTE,))


def _stage_text(stage: Stage) -> str:
    if stage.classes is not None:
        text = str(stage.classes)
    elif stage.share is not None:
        text = f"{stage.share:.0%}"
    else:
        text = stage.domain or stage.folder or ""
    return text if stage.old_share == 1 else f"{text} (old: {stage.old_share:.0%})"


def plan_cells(scenario: Scenario, plan: Plan) -> Cells:
    """Return what a run would take, as returned by bench.execution.estimate, in words."""
    columns = (
        Column("strategy", "strategy", left=True),
        Column("update", "update", 1),
        Column("asked", "asked"),
        Column("due", "due"),
        Column("steps", "steps", 2),
        Column("images", "images", 5),
        Column("flops", "FLOPs", 3),
        Column("training", "training", 4),
        Column("all_flops", "all due, FLOPs"),
        Column("all_training", "all due"),
    )
    rows = []
    for row in plan.estimates:
        counts = (str(row.update or "-"), str(row.asked), str(row.due), f"{row.steps:,}", f"{row.images:,}")
        all_due = (f"{row.due * row.flops:.3e}", duration(row.due * row.seconds))
        rows.append((row.strategy, *counts, f"{row.flops:.3e}", duration(row.seconds), *all_due))
    due = sum(row.due for row in plan.estimates)
    flops = sum(row.due * row.flops for row in plan.estimates)
    rows.append(("all", "", "", str(due), "", "", "", "", f"{flops:.3e}", duration(plan.seconds)))
    notes = [
        f"Steps, images, FLOPs and training time: of one whole trial. Times: from {plan.timed_steps} steps of scratch on "
        f"{plan.device}, without evaluating, compiling and what a strategy computes besides model and head; interrupted trials "
        "need less."
    ]
    if plan.jobs > 1:
        notes.append(
            f"Time of all: {plan.jobs} trials side by side, as if they did not slow each other down; at least that of the "
            "longest chain of trials that need one another."
        )
    return Cells(scenario.title, columns, tuple(rows), tuple(notes))


def graph_cells(graph: Graph, jobs: int) -> Cells:
    """Return a graph of jobs in words: how many of each kind there are, what is done already, and what the rest costs."""
    from bench.reporting.numbers import counted  # which loads pandas; bench list does without

    columns = (
        Column("scenario", "scenario", left=True),
        Column("kind", "kind", left=True),
        Column("nodes", "nodes"),
        Column("cached", "cached"),
        Column("due", "due"),
        Column("steps", "all due, steps", 1),
        Column("all_flops", "all due, FLOPs"),
        Column("device_hours", "device-hours"),
    )
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in graph.jobs:
        groups.setdefault((job.scenario["name"], job.kind), []).append(job)
    rows = [(scenario, kind, *_counted_jobs(jobs)) for (scenario, kind), jobs in groups.items()]
    rows.append(("all", "", *_counted_jobs(graph.jobs)))
    notes = ["Cached: done already, or decoded. Device-hours: of training, from a few steps that were timed here."]
    if path := graph.critical_path:
        seconds = sum(job.seconds or 0 for job in path)
        total = sum(job.seconds or 0 for job in graph.due)
        chain = " -> ".join(job.id for job in path[:_LONGEST_PATH])
        rest = " -> ..." if len(path) > _LONGEST_PATH else ""
        notes.append(f"Critical path: {counted(len(path), 'job')}, {duration(seconds)}: {chain}{rest}")
        if jobs > 1:
            notes.append(f"With {jobs} at a time: at least {duration(max(seconds, total / jobs))}.")
    if memory := max((job.memory_bytes or 0 for job in graph.due), default=0):
        notes.append(
            f"Memory: up to {memory / 2**30:.2g} GiB for a job, the most that finished trials took on such a device."
        )
    joules = [job.joules for job in graph.due if job.joules is not None]
    if joules:
        of = (
            ""
            if len(joules) == len(graph.due)
            else f" of {counted(len(joules), 'job')}; those of the others are unknown"
        )
        notes.append(
            f"Energy: {sum(joules) / 3.6e6:.3g} kWh{of}, by finished trials' joules per FLOP on such a device."
        )
    return Cells("Jobs", columns, tuple(rows), tuple(notes))


def _counted_jobs(jobs: Sequence[Job]) -> tuple[str, ...]:
    due = [job for job in jobs if not job.cached]
    hours = sum(job.seconds or 0 for job in due) / 3600
    counts = (str(len(jobs)), str(len(jobs) - len(due)), str(len(due)))
    return (*counts, f"{sum(job.steps for job in due):,}", f"{sum(job.flops for job in due):.3e}", f"{hours:.3g}")


def duration(seconds: float) -> str:
    """Return "45 s", "12 min" or "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
