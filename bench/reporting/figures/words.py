"""What figures and their captions say in words."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bench.catalog import REFERENCE
from bench.reporting.figures.inks import MOST_DRAWN, drawn

AXIS = {
    "steps": "optimizer steps",
    "images": "images",
    "flops": "FLOPs",
    "device_seconds": "device seconds",
    "gpu_joules": "GPU joules",
}


@dataclass(frozen=True)
class Facts:
    """What a caption says of the records behind it."""

    rules_version: str


def heading(ranking: pd.DataFrame) -> str:
    """Return a figure's title: the scenario's, and which update of a chain."""
    first = ranking.iloc[0]
    which = f", update {first['update']} of {first['updates']}" if first["updates"] > 1 else ""
    return f"{first['scenario_title']}{which}"


def caption(what: str, ranking: pd.DataFrame, tables: list[str], facts: Facts) -> str:
    """Return a figure's caption: what it shows, and what its numbers rest on.

    what: the figure's own sentences. ranking: as leaderboard gives it. tables: the files that it was drawn from.
    """
    scratch = ranking[ranking["strategy"] == REFERENCE].iloc[0]
    shown = ranking[[key in set(drawn(ranking)) for key in zip(ranking["strategy"], ranking["horizon"], strict=True)]]
    lines = [f"{heading(ranking)}. {what}", _seeds(shown), _target(scratch)]
    if len(ranking) > len(shown):
        others = MOST_DRAWN - 1
        lines.append(f"Drawn: {REFERENCE} and the {others} best of {len(ranking) - 1} others; leaderboard.md has them all.")
    lines.append(origin(shown, facts))
    lines.append(f"Drawn from: {', '.join(tables)}.")
    return "\n".join(lines) + "\n"


def origin(rows: pd.DataFrame, facts: Facts) -> str:
    """Return where numbers come from: device, rules version, commit, and whether code was modified."""
    devices, commits = (sorted(set(rows[name].dropna()) - {""}) for name in ("device", "commit"))
    code = "some on modified code, or code of unknown commit" if rows["modified"].any() else "code as committed"
    return (
        f"Device: {' / '.join(devices) or 'unknown'}. Rules version {facts.rules_version}. "
        f"Commit {' / '.join(commits) or 'unknown'}: {code}."
    )


def _seeds(rows: pd.DataFrame) -> str:
    counts = rows["n"].astype(int)
    if counts.nunique() == 1:
        n = counts.iloc[0]
        return f"Seeds: n = {n} each." + (" One seed has no spread: no band, no interval." if n == 1 else "")
    each = ", ".join(
        f"{row['strategy']} at horizon {row['horizon']:g} n = {row['n']:.0f}" for _, row in rows.iterrows()
    )
    return f"Seeds: {each}."


def _target(scratch: pd.Series) -> str:
    spread = f" ± {scratch['target_std']:.4f}" if pd.notna(scratch["target_std"]) else ""
    kind = f"provisional: mean of {REFERENCE}'s {scratch['n']:.0f} seeds"
    return f"Target: validation accuracy {scratch['target']:.4f}{spread} ({kind})."
