"""Tables of what was counted and checked: a model's FLOPs by layer, an audit, the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.records.rules import Verdict

if TYPE_CHECKING:  # these need torch
    from bench.execution.audit import Audit
    from bench.metering.flops import FlopCount, LayerFlops


def flops_table(model: str, image_shape: tuple[int, int, int], count: FlopCount, layers: Sequence[LayerFlops]) -> Table:
    """Return a model's forward multiply-adds by layer, by both counters, with the totals below."""
    size = "x".join(map(str, image_shape))
    table = Table(
        box=None, header_style="bold", title=f"{model}, one image of {size}", title_justify="left", show_footer=True
    )
    table.add_column("layer", footer="all: forward", overflow="fold")
    table.add_column("kind")
    table.add_column("multiply-adds", f"{count.forward // 2:,}", justify="right")
    table.add_column("by fvcore", f"{count.forward_fvcore // 2:,}", justify="right")
    for layer in layers:
        table.add_row(
            layer.name or "(the model)", layer.kind, f"{layer.forward // 2:,}", f"{layer.forward_fvcore // 2:,}"
        )
    return table


def audit_table(audit: Audit) -> Table:
    """Return what an audit found, part by part."""
    table = Table(box=None, header_style="bold", title=Text(audit.trial), title_justify="left")
    for heading in ("part", "counted FLOPs", "charged FLOPs", "disagreement", ""):
        table.add_column(heading, justify="left" if heading in ("part", "") else "right")
    for part in audit.parts:
        verdict = "ok" if part.agrees else "WRONG"
        table.add_row(part.name, f"{part.counted:,}", f"{part.charged:,}", f"{part.disagreement:.4%}", verdict)
    return table


def rules_table(verdict: Verdict) -> Table:
    """Return each rule, and where it was broken."""
    table = Table(box=None, header_style="bold", title=f"{verdict.trials} trials", title_justify="left")
    for heading in ("rule", "", "where", "found"):
        table.add_column(heading)
    for name, words in verdict.rules.items():
        broken = [violation for violation in verdict.violations if violation.rule == name]
        table.add_row(name, "BROKEN" if broken else "kept", "", words)
        for violation in broken:
            table.add_row("", "", Text(violation.where), Text(violation.found))
    return table
