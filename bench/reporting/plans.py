"""Tables of what can be run, and of what a run would cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.data.sources.counts import expected_size
from bench.records.schema import TrialRecord
from bench.scenario import Scenario, Stage

if TYPE_CHECKING:  # needs torch, and `bench list` starts without
    from bench.execution.estimate import Plan

_LIST_NOTE = (
    "images: about how many scratch trains on at the last update, from the sets' published counts. scratch, FLOPs: of one trial "
    "there, if the results contain one; bench plan estimates it."
)


def scenario_table(
    scenarios: Sequence[Scenario], ready: Sequence[str], records: Sequence[TrialRecord | None]
) -> tuple[Table, Text]:
    """Return (table, note) of scenarios. ready: see data_ready. records: a finished trial of scratch at the last update."""
    table = Table(box=None, header_style="bold")
    headings = ("scenario", "kind", "stages", "set", "classes", "images", "model", "epochs", "batch", "precision")
    for heading in (*headings, "scratch, FLOPs", "data"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("classes", "images") else "left")
    for scenario, state, record in zip(scenarios, ready, records, strict=True):
        training, data = scenario.training, scenario.data
        images, classes = expected_size(scenario)
        table.add_row(
            scenario.name,
            scenario.kind,
            " + ".join(map(_stage_text, scenario.stages)),
            data.set or "own folders",
            "-" if classes is None else str(classes),
            "-" if images is None else f"{images:,}",
            scenario.model.name,
            str(training.epochs),
            str(training.batch_size),
            training.precision,
            f"{record.summary.train_flops + record.summary.aux_flops:.2e}" if record and record.summary else "-",
            state,
        )
    return table, Text(_LIST_NOTE, style="dim")


def _stage_text(stage: Stage) -> str:
    if stage.classes is not None:
        text = str(stage.classes)
    elif stage.share is not None:
        text = f"{stage.share:.0%}"
    else:
        text = stage.domain or stage.folder or ""
    return text if stage.old_share == 1 else f"{text} (old: {stage.old_share:.0%})"


def plan_table(scenario: Scenario, plan: Plan) -> tuple[Text, Table, Text]:
    """Return (heading, table, notes) on what a run would cost. plan: as returned by bench.execution.estimate."""
    table = Table(box=None, header_style="bold")
    for heading in (
        "strategy",
        "update",
        "asked",
        "due",
        "steps",
        "images",
        "FLOPs",
        "training",
        "all due, FLOPs",
        "all due",
    ):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    for row in plan.estimates:
        counts = (str(row.update or "-"), str(row.asked), str(row.due), f"{row.steps:,}", f"{row.images:,}")
        all_due = (f"{row.due * row.flops:.3e}", duration(row.due * row.seconds))
        table.add_row(row.strategy, *counts, f"{row.flops:.3e}", duration(row.seconds), *all_due)
    due = sum(row.due for row in plan.estimates)
    flops = sum(row.due * row.flops for row in plan.estimates)
    seconds = sum(row.due * row.seconds for row in plan.estimates)
    table.add_row("all", "", "", str(due), "", "", "", "", f"{flops:.3e}", duration(seconds))
    notes = (
        f"Steps, images, FLOPs and training time are for one whole trial. Times: from {plan.timed_steps} steps of scratch on "
        f"{plan.device}, without evaluation, compilation and a strategy's extra computation; an interrupted trial needs less."
    )
    return Text(scenario.title, style="bold"), table, Text(notes, style="dim")


def duration(seconds: float) -> str:
    """Return "45 s", "12 min" or "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
