"""The README beside exported records: what the rows are, where they come from, and what each column means."""

from __future__ import annotations

import json

import pandas as pd

from bench.reporting.layout import Cells, Column, markdown_table

KEY = ("scenario", "strategy", "horizon", "seed", "update")
# Column -> what it means, in both tables where it is in both.
MEANINGS = {
    "scenario": "name of the task: old data, new data, model and budget",
    "strategy": "name of the way to update the model; `scratch` trains again on all data",
    "horizon": "length of the trial, as a share of scratch's",
    "seed": "of the trial; those from 100 on are for tuning and never scored",
    "update": "which update of a chain, from 1",
    "updates": "how many updates the scenario has",
    "title": "the strategy's title",
    "scenario_title": "the scenario's title",
    "status": "`finished`, `running`, `interrupted`, `failed` or `diverged`",
    "reason": "why it failed or diverged",
    "chance": "accuracy of guessing the most frequent class",
    "validation_images": "how many there are",
    "scenario_hash": "of the scenario's content",
    "strategy_hash": "of the strategy's content and code",
    "rules_version": "of the rules of measuring",
    "training_version": "of bench's training code",
    "device": "name of the processor that trained",
    "machine": "all that must be equal for seconds and joules to be compared",
    "data_hash": "of pixels, labels, split, and an old model of one's own",
    "commit": "of the code",
    "modified": "whether the code differed from that commit",
    "commit_reason": "why either is unknown",
    "command": "that began the trial",
    "started": "when, UTC, ISO 8601",
    "python": "version",
    "packages": "versions, as text",
    "threads": "of the processor",
    "precision": "of training",
    "compiled": "whether by torch.compile",
    "own_code": "whether the strategy has pieces of its own",
    "division": "`closed`: pieces of bench's loop; `open`: a loop of its own",
    "reference": "of the open division: the strategy that it is compared with",
    "points": "how many evaluations the scenario asks for",
    "total_steps": "optimizer steps of the trial",
    "scratch_steps": "optimizer steps of scratch",
    "old_share": "share of the old images that are still at hand",
    "previous_sha256": "of the weights that the update started from",
    "pieces": "the aspects that the strategy sets; JSON",
    "may_have_seen": "held-out images that a given old model may have been trained on",
    "tuning_flops": "what tuning the strategy cost",
    "base_steps": "of the old model's training",
    "base_images": "of the old model's training",
    "base_flops": "of the old model's training",
    "base_device_seconds": "of the old model's training",
    "base_gpu_joules": "of the old model's training",
    "steps": "optimizer steps taken",
    "step": "optimizer steps taken so far",
    "epoch": "images trained on so far, over all training images",
    "images": "images trained on",
    "train_flops": "FLOPs of forward and backward passes",
    "aux_flops": "FLOPs of everything else that is charged: optimizer, regularizer, start",
    "evaluate_flops": "FLOPs of evaluation, which are not charged",
    "train_seconds": "training, by the host's clock",
    "device_seconds": "training, by the device's clock",
    "evaluate_seconds": "evaluation, which is not charged",
    "io_seconds": "reading and writing, not charged",
    "prepare_seconds": "preparing and compiling, not charged",
    "build_seconds": "building the model, not charged",
    "wall_seconds": "the whole trial",
    "unaccounted_share": "of wall_seconds, in no phase",
    "gpu_joules": "GPU energy while training",
    "gpu_joules_reason": "why it is empty",
    "gpu_joules_source": "energy counter or sampled power",
    "gpu_short_share": "share of training in segments too short for an exact energy",
    "evaluate_gpu_joules": "GPU energy while evaluating",
    "gpu_use": "clocks, temperature, utilization; JSON",
    "cpu_seconds": "of all threads, while training",
    "cpu_joules": "of the processor's packages while training, other processes included",
    "cpu_joules_reason": "why it is empty",
    "selection_seconds": "part of train_seconds: choosing images",
    "regularizer_flops": "part of aux_flops",
    "feature_flops": "part of train_flops: computing kept features",
    "head_flops": "part of train_flops: fitting the head before the first step",
    "feature_bytes": "the most memory that kept features took",
    "other_cpu_seconds": "processor time of everything else on the machine while training",
    "load_average": "over the last minute, at the end",
    "sittings": "1 + how often the trial was interrupted and resumed",
    "learning_rate": "of the last step",
    "train_loss": "mean since the previous evaluation",
    "validation_accuracy": "of all classes; a fraction, as all accuracies",
    "validation_accuracy_old": "of the old part (classes or domain)",
    "validation_accuracy_new": "of the new part",
    "test_accuracy": "of all classes; empty where it was not measured",
    "test_accuracy_old": "of the old part",
    "test_accuracy_new": "of the new part",
    "weights_sha256": "of the weights at the end",
    "published_accuracy": "the scenario's published target",
    "published_std": "its standard deviation",
    "published_source": "where it is published",
    "published_seeds": "the seeds that it is the mean of",
    "published_steps": "the steps of these trials",
}


def data_card(trials: pd.DataFrame, evaluations: pd.DataFrame, version: str) -> str:
    """Return the README of exported records, in Markdown.

    trials, evaluations: as exported. version: of bench.
    """
    parts = [
        "# Records of trials",
        "What does it cost to update a trained model when new data arrives, compared with training again from scratch, "
        f"at the same accuracy? {len(trials):,} trials with {len(evaluations):,} evaluations answer it for the scenarios "
        f"below. They were measured with bench {version}; nothing here needs it to be read.",
        markdown_table(_scenarios(trials)),
        "## Files",
        "* `trials.parquet`: a row for each trial, finished or not: what was run, where it comes from, its totals.\n"
        "* `evaluations.parquet`: a row for each evaluation of a finished or diverged trial. Costs are totals since the trial's "
        "start.",
        f"Rows of one trial share {', '.join(f'`{name}`' for name in KEY)}:",
        "```python\nimport pandas as pd\n\n"
        'trials, evaluations = pd.read_parquet("trials.parquet"), pd.read_parquet("evaluations.parquet")\n'
        f"both = evaluations.merge(trials, on={json.dumps(KEY)}, suffixes=(\"\", \"_total\"))\n```",
        "The cost of an update in FLOPs is `train_flops` + `aux_flops`. Seconds and joules are comparable within one `machine` "
        "alone. Accuracy is chosen and compared on validation images; test images are for reporting.",
        "## Columns of `trials.parquet`",
        markdown_table(_columns(trials)),
        "## Columns of `evaluations.parquet`",
        markdown_table(_columns(evaluations)),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _scenarios(trials: pd.DataFrame) -> Cells:
    rows = []
    for name, mine in trials.groupby("scenario", sort=True):
        rows.append(
            {
                "scenario": f"`{name}`",
                "title": _joined(mine["scenario_title"]),
                "content": _joined(mine["scenario_hash"]),
                "strategies": _joined(mine["strategy"]),
                "seeds": ", ".join(map(str, sorted(mine["seed"].unique()))),
                "trials": f"{len(mine):,}",
                "devices": _joined(mine["device"]),
                "commits": ", ".join(sorted({str(each)[:10] for each in mine["commit"].dropna()})),
            }
        )
    return _cells(rows)


def _columns(frame: pd.DataFrame) -> Cells:
    kinds = {"i": "whole", "u": "whole", "f": "number", "b": "true or false"}
    rows = []
    for name in frame.columns:
        empty = int(frame[name].isna().sum())
        rows.append(
            {
                "column": f"`{name}`",
                "type": kinds.get(getattr(frame[name].dtype, "kind", "O"), "text"),
                "empty": f"{empty:,}" if empty else "",
                "meaning": MEANINGS[name],
            }
        )
    return _cells(rows)


def _joined(values: pd.Series) -> str:
    return ", ".join(sorted(map(str, values.dropna().unique())))


def _cells(rows: list[dict[str, str]]) -> Cells:
    keys = list(rows[0]) if rows else []
    return Cells("", tuple(Column(key, key, left=True) for key in keys), tuple(tuple(row.values()) for row in rows))
