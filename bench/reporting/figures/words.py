"""The texts of figures and their captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.catalog import REFERENCE
from bench.records.collect import Records
from bench.reporting.figures.inks import MOST_DRAWN, drawn, drawn_whole
from bench.reporting.incomplete import incomplete_note
from bench.reporting.numbers import COST_NAMES

AXIS = COST_NAMES
_ACCURACY = (
    "Validation accuracy against the training cost of the update, in {}. Lines: means over seeds; band: one standard "
    "deviation over seeds to either side; dashed line: the target. A dot marks the evaluation from which the mean never again "
    "falls below the target (for scratch its end, by definition), an x the end of a strategy that did not hold it. A second "
    "panel, if there is one, is the first near the target."
)
_COST = (
    "Where the update's cost goes, in {}: means over finished seeds, no spread shown. {} The number next to a bar is its total. "
    "The old model's own training is not shown."
)
# Figure -> its caption's own sentences.
_WHAT = {
    **{f"accuracy-{name.replace('_', '-')}": _ACCURACY.format(axis) for name, axis in AXIS.items()},
    "speedup-target": "Speedup over scratch in FLOPs against the required accuracy, as a share of the target. Bars: "
    "95 % intervals, where available. An open marker with an arrow is a bound: downwards, the strategy did not hold that "
    "accuracy; upwards, only scratch did not. No marker: neither did. Markers are offset around each share only for visibility.",
    "frontier-flops": "Final validation accuracy against the cost of whole trials, for strategies run at several horizons; each "
    "marker is a horizon, its bar one standard deviation over seeds. Line: the frontier, each accuracy lowered to the worst at "
    "that cost or more. Upright bars at the target line: the cost at the target, interpolated in log cost. The band around "
    "it: its 95 % interval, where three seeds or more give one, the costs at which a paired t test cannot distinguish the "
    "strategy's accuracy from scratch's; an arrow: this end lies outside the horizons that were run. Bars of several strategies "
    "are offset upwards and downwards only for visibility.",
    "ablation": "What one piece of a recipe is worth: the recipe at the top, below it strategies that differ from it in one "
    "aspect, named in brackets. Left or top: speedup over scratch in FLOPs. Right or bottom: final validation accuracy minus the "
    "recipe's, paired by seed. Black bars: 95 % intervals (paired t for the accuracy), where available. An open bar with an "
    "arrow is a bound: the target was not held.",
    "old-new": "Final accuracy on the new part (classes or domain) against the old one, on validation and test images; "
    "bars: one standard deviation over seeds. Thin lines join points of equal accuracy on all images; the dashed one is "
    "scratch's.",
    "cost-flops": _COST.format(
        "FLOPs",
        "Training: forward and backward passes. Optimizer and start, and the regularizer: work on every parameter, by formula "
        '("element-wise" if a record does not separate them). Selecting images takes no FLOPs. Evaluation is measurement and '
        "counts in no speedup.",
    ),
    "cost-seconds": _COST.format(
        "seconds",
        "Training includes augmentation and the regularizer, which cannot be timed separately without waiting for the device at "
        "each step. Selection: choosing images, part of training if a record does not separate it. Only these two count in "
        "speedups. Preparing: compilation and warm-up.",
    ),
    "seed-crossings": "Each seed's own cost, in FLOPs, at the target: filled if it held the target from there on, with a "
    "thin line back to the previous evaluation; open, with an arrow, if it missed, at its total cost. Not every seed of scratch "
    "ends above scratch's mean. No band: every seed is shown.",
    "seeds-reached": "Kaplan-Meier estimate of the share of seeds that had reached the target by a cost in FLOPs: seeds that "
    "missed are censored at their end. No band.",
    "energy-time": "GPU energy while training, and mean power between evaluations, against training time. Lines: means over "
    "seeds; band: one standard deviation over seeds to either side.",
}


@dataclass(frozen=True)
class Facts:
    """What a caption says about the records and is not in a leaderboard. incomplete: that some are left out, if any are."""

    rules_version: str
    incomplete: str = ""

    @classmethod
    def of(cls, parts: Sequence[Records]) -> Facts:
        """Return the facts of records."""
        versions = pd.concat([part.trials["rules_version"] for part in parts]).astype(str)
        return cls(_each(versions), incomplete_note([each for part in parts for each in part.unreadable]))


def heading(ranking: pd.DataFrame) -> str:
    """Return a figure's title: the scenario's and, for a chain, which update."""
    first = ranking.iloc[0]
    which = f", update {first['update']} of {first['updates']}" if first["updates"] > 1 else ""
    return f"{first['scenario_title']}{which}"


def caption(figure: str, suffix: str, ranking: pd.DataFrame, facts: Facts) -> str:
    """Return a figure's caption: what it shows, and what its numbers are based on.

    figure: its name. suffix: of a chain's update, after the names of its files. ranking: as returned by leaderboard.
    """
    keys = drawn_whole(ranking) if figure == "frontier-flops" else drawn(ranking)
    shown = ranking[[key in keys for key in zip(ranking["strategy"], ranking["horizon"].astype(float), strict=True)]]
    lines = [f"{heading(ranking)}. {_WHAT[figure]}", _seeds(shown), _target(ranking)]
    if len(ranking) > len(shown):
        others = f"{REFERENCE} and the {MOST_DRAWN - 1} best of {len(ranking) - 1} others"
        every = ", each strategy at all of its horizons" if figure == "frontier-flops" else ""
        lines.append(f"At most {others} are drawn{every}; leaderboard{suffix}.md lists all.")
    lines.append(_origin(shown, facts))
    lines += [facts.incomplete] if facts.incomplete else []
    lines.append(f"Drawn from: {figure}{suffix}.csv, leaderboard{suffix}.csv.")
    return "\n".join(lines) + "\n"


def profile_caption(boards: Sequence[pd.DataFrame], table: str, facts: Facts) -> str:
    """Return the performance profile's caption. boards: as returned by leaderboard. table: the file it is drawn from."""
    lines = [
        f"The share of {len(boards)} tables in which a strategy's cost at the target, in FLOPs, is at most "
        "tau times the lowest in that table. A miss, or a cost above four times the lowest, never counts, so a profile need not "
        "reach 1; it depends on which strategies are compared. In brackets: the geometric mean of speedups over scratch, a miss "
        "counting as scratch's budget plus one step. Shown: strategies present in every table, at most the "
        f"{MOST_DRAWN} with the highest scores, including scratch. No band: each table gives one mean over seeds.",
        "Tables: "
        + "; ".join(f"{heading(board)} (n = {_span(board)}; {_short_target(board)})" for board in boards)
        + ".",
        _origin(pd.concat([board[["device", "commit", "modified"]] for board in boards]), facts),
        *([facts.incomplete] if facts.incomplete else []),
        f"Drawn from: {table}.",
    ]
    return "\n".join(lines) + "\n"


def _origin(rows: pd.DataFrame, facts: Facts) -> str:
    """Return where numbers come from: device, rules version, commit, and whether code was modified."""
    code = "some modified, or of unknown commit" if rows["modified"].any() else "code as committed"
    return (
        f"Device: {_each(rows['device']) or 'unknown'}. Rules version {facts.rules_version}. "
        f"Commit {_each(rows['commit']) or 'unknown'}: {code}."
    )


def _seeds(rows: pd.DataFrame) -> str:
    """Return how many seeds each strategy shares with scratch."""
    counts = rows["n"].astype(int)
    if counts.nunique() > 1:
        each = (f"{row['strategy']} at horizon {row['horizon']:g} n = {row['n']:.0f}" for _, row in rows.iterrows())
        return f"Seeds shared with scratch: {', '.join(each)}."
    alone = " One seed has no spread: no band, no interval." if counts.iloc[0] == 1 else ""
    return f"Seeds shared with scratch: n = {counts.iloc[0]} each.{alone}"


def _target(ranking: pd.DataFrame) -> str:
    scratch = ranking[ranking["strategy"] == REFERENCE].iloc[0]
    spread = f" ± {scratch['target_std']:.4f}" if pd.notna(scratch["target_std"]) else ""
    kind = f"provisional: mean of {REFERENCE}'s {scratch['n']:.0f} seeds"
    if "published_source" in ranking:
        kind = f"published: {scratch['published_n']:.0f} seeds, {scratch['published_source']}"
    return f"Target: validation accuracy {scratch['target']:.4f}{spread} ({kind})."


def _short_target(ranking: pd.DataFrame) -> str:
    kind = "published" if "published_source" in ranking else "provisional"
    return f"{kind} target {ranking.loc[ranking['strategy'] == REFERENCE, 'target'].iloc[0]:.4f}"


def _span(ranking: pd.DataFrame) -> str:
    counts = sorted(set(ranking["n"].astype(int)) - {0})
    return " to ".join(dict.fromkeys((str(counts[0]), str(counts[-1]))))


def _each(values: pd.Series) -> str:
    """Return each name once; a row may contain several."""
    return " / ".join(sorted({name for value in values.dropna() for name in value.split(" / ")} - {""}))
