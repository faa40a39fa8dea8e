"""Tables of how fast the training step is, and of what the harness takes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records.speed import HarnessRecord, PairedRatio, SpeedRecord, ThroughputRecord
from bench.reporting.layout import Cells, Column

_NOTES = (
    "images/s: the median over rounds. To bare, to usual: how many times as many images our step takes as a bare loop and as the "
    "loop that people write, with the 95 % interval over pairs; per CPU second: the same for CPU time, which other work on the "
    "machine moves less. Evaluation: its share of the time, if each epoch ends with one on a tenth as many images as it has.",
)


def speed_cells(records: Sequence[SpeedRecord]) -> Cells:
    """Return a row for each record."""
    columns = (
        Column("model", "model", left=True),
        Column("image", "image", left=True, priority=3),
        Column("batch", "batch", priority=4),
        Column("precision", "precision", left=True, priority=3),
        Column("step", "step", left=True, priority=2),
        Column("images_per_second", "images/s"),
        Column("bare", "to bare"),
        Column("usual", "to usual"),
        Column("bare_cpu", "to bare, per CPU second", priority=1),
        Column("usual_cpu", "to usual, per CPU second", priority=1),
        Column("flops", "GFLOP/s", priority=2),
        Column("peak", "of peak", priority=2),
        Column("evaluation", "evaluation", priority=2),
        Column("others", "others' CPUs", priority=4),
        Column("processor", "processor", left=True, priority=5),
    )
    rows = []
    for record in records:
        peak = record.peak_flops
        others, place = record.other_cpu_seconds, record.provenance
        rows.append(
            (
                record.model,
                "x".join(map(str, record.image)),
                str(record.batch_size),
                place.precision,
                record.way,
                f"{record.loops['ours'].images_per_second:,.0f}",
                _ratio(record.ratios["bare"]),
                _ratio(record.ratios["usual"]),
                _ratio(record.cpu_ratios["bare"]),
                _ratio(record.cpu_ratios["usual"]),
                f"{record.flops_per_second / 1e9:,.1f}",
                f"{record.flops_per_second / peak:.1%}" if peak else "unknown",
                f"{record.evaluation_share:.1%}",
                "" if others is None else f"{others / record.wall_seconds:.1f} of {place.cpus}",
                f"{record.processor}, threads: {place.threads}" if place.device_type == "cpu" else record.processor,
            )
        )
    pairs = sorted({record.ratios["bare"].pairs for record in records})
    heading = f"Speed of the training step, {' or '.join(map(str, pairs))} pairs"
    return Cells(heading, columns, tuple(rows), notes=_NOTES)


def profile_cells(record: SpeedRecord) -> Cells:
    """Return where one record's time goes."""
    facts = record.profile
    columns = (Column("operator", "operator", left=True), Column("share", "share of the operators' time"))
    rows = [(each.name, f"{each.share:.1%}") for each in facts.operators]
    device = "" if facts.device_seconds is None else f", {1000 * facts.device_seconds:.2f} ms in kernels on the GPU"
    note = (
        f"Profiled, a step takes {1000 * facts.wall_seconds:.2f} ms: {1000 * facts.host_seconds:.2f} ms in operators on the "
        f"CPU{device}."
    )
    return Cells(
        f"{record.model}, {'x'.join(map(str, record.image))}: where the time goes", columns, tuple(rows), (note,)
    )


def harness_cells(record: HarnessRecord) -> Cells:
    """Return what each piece of work takes."""
    columns = (
        Column("piece", "what", left=True),
        Column("seconds", "seconds"),
        Column("cpu_seconds", "CPU seconds"),
        Column("megabytes", "peak MB"),
    )
    rows = [
        (
            piece.name,
            f"{piece.seconds:.2f}",
            f"{piece.cpu_seconds:.2f}",
            "" if piece.megabytes is None else f"{piece.megabytes:,.0f}",
        )
        for piece in record.pieces
    ]
    return Cells(f"{record.trials:,} trials of {record.evaluations} evaluations", columns, tuple(rows))


def throughput_cells(record: ThroughputRecord) -> Cells:
    """Return a row for each way."""
    columns = (
        Column("way", "way", left=True),
        Column("trials_per_minute", "trials a minute"),
        Column("ratio", "ratio"),
        Column("others", "others' CPUs"),
    )
    count, others = record.processes, record.other_cpu_seconds
    busy = "" if others is None else f"{others / record.wall_seconds:.1f} of {record.provenance.cpus}"
    rows = (
        (f"1 process of {count} threads", f"{record.trials_per_minute['threads']:.2f}", "1", busy),
        (f"{count} processes of 1 thread", f"{record.trials_per_minute['processes']:.2f}", _ratio(record.ratio), ""),
    )
    return Cells(
        f"{record.scenario}: trials of scratch, {record.ratio.pairs} pairs of turns of {record.trials}", columns, rows
    )


def _ratio(ratio: PairedRatio) -> str:
    interval = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.value:.2f}{interval}"
