"""Tables of what was counted and checked: a model's FLOPs by layer, an audit, the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.records.rules import Verdict
from bench.reporting.layout import Cells, Column

if TYPE_CHECKING:  # these need torch
    from bench.execution.audit import Audit
    from bench.execution.contract import Contract
    from bench.metering.flops import FlopCount, LayerFlops
    from bench.training.stage_costs import StageCost


def flops_cells(model: str, image_shape: tuple[int, int, int], count: FlopCount, layers: Sequence[LayerFlops]) -> Cells:
    """Return a model's forward multiply-adds by layer, by both counters, with the totals in the last row."""
    columns = (
        Column("layer", "layer", left=True),
        Column("kind", "kind", left=True),
        Column("multiply_adds", "multiply-adds"),
        Column("fvcore", "by fvcore"),
    )
    rows = [
        (layer.name or "(the model)", layer.kind, f"{layer.forward // 2:,}", f"{layer.forward_fvcore // 2:,}")
        for layer in layers
    ]
    rows.append(("all: forward", "", f"{count.forward // 2:,}", f"{count.forward_fvcore // 2:,}"))
    return Cells(f"{model}, one image of {'x'.join(map(str, image_shape))}", columns, tuple(rows))


def stage_cells(model: str, image_shape: tuple[int, int, int], count: FlopCount, stages: Sequence[StageCost]) -> Cells:
    """Return a model's stages, and what a training step costs behind each of them, as a share of a whole one."""
    columns = (
        Column("stage", "stage", left=True),
        Column("modules", "modules", left=True, prose=True),
        Column("multiply_adds", "multiply-adds, forward"),
        Column("recomputed", "step behind it, recomputed"),
        Column("kept", "step behind it, kept"),
    )
    rows = []
    for stage in stages:
        shares = ["" if step is None else f"{step / count.step:.3f}" for step in (stage.recomputed, stage.kept)]
        rows.append((stage.name, ", ".join(stage.modules), f"{stage.forward // 2:,}", *shares))
    notes = (
        f"A whole step, forward and backward: {count.step:,} FLOPs per image.",
        "Step behind it: with this stage and all before it frozen, as a share of a whole step. Recomputed: their forward pass is "
        "made in each step. Kept: it is made once for each image and its mirror image, which costs extra.",
    )
    return Cells(f"{model}, one image of {'x'.join(map(str, image_shape))}", columns, tuple(rows), notes=notes)


def audit_cells(audit: Audit) -> Cells:
    """Return what an audit found, part by part."""
    columns = (
        Column("part", "part", left=True),
        Column("counted", "counted FLOPs"),
        Column("charged", "charged FLOPs"),
        Column("disagreement", "disagreement"),
        Column("verdict", "verdict", left=True),
    )
    rows = [
        (
            part.name,
            f"{part.counted:,}",
            f"{part.charged:,}",
            f"{part.disagreement:.4%}",
            "ok" if part.agrees else "WRONG",
        )
        for part in audit.parts
    ]
    return Cells(audit.trial, columns, tuple(rows))


def rules_cells(verdict: Verdict) -> Cells:
    """Return each rule, and where it was not kept."""
    columns = (
        Column("rule", "rule", left=True),
        Column("verdict", "verdict", left=True),
        Column("where", "where", left=True),
        Column("found", "asked, or found", left=True, prose=True),
    )
    rows = []
    for name, words in verdict.rules.items():
        broken = [violation for violation in verdict.violations if violation.rule == name]
        rows.append((name, "BROKEN" if broken else "kept", "", words))
        rows += [("", "", violation.where, violation.found) for violation in broken]
    return Cells(f"{verdict.trials} trials", columns, tuple(rows))


def contract_cells(contract: Contract) -> Cells:
    """Return each rule of a strategy's contract, and what was found."""
    from bench.execution.contract import RULES

    columns = (
        Column("rule", "rule", left=True),
        Column("verdict", "verdict", left=True),
        Column("found", "asked, or found", left=True, prose=True),
    )
    words = {"broken": "BROKEN"}
    rows = [
        (each.rule, words.get(each.state, each.state), "; ".join(filter(None, (RULES[each.rule], each.said))))
        for each in contract.verdicts
    ]
    return Cells(f"contract of {contract.name}", columns, tuple(rows))
