"""An update of one's own model in words: what there is before it, and whether to continue or to retrain."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.analysis.studies.decision import Candidate, Decision
from bench.analysis.studies.pilots import Pilot
from bench.execution.preflight import ClassCount, Preflight
from bench.reporting.duplicates import twice_in_words
from bench.reporting.layout import Cells, Column
from bench.reporting.numbers import counted
from bench.scenario import HELD_OUT, Scenario

_CHANNELS = {1: "grey", 3: "RGB"}
_WORST = 3  # classes


def preflight_cells(scenario: Scenario, found: Preflight, read: Sequence[str] = ()) -> Cells:
    """Return what a run would train on, class by class, and below it what was taken for granted. read: what each folder was read
    as, in words.
    """
    columns = (
        Column("class", "class", left=True),
        Column("old", "old"),
        Column("new", "new"),
        Column("validation", "validation", 1),
        Column("test", "test", 1),
        Column("arrives", "arrives", 2, left=True),
    )
    rows = [
        (each.name, *(f"{number:,}" for number in (each.old, each.new, each.validation, each.test)), _arrives(each))
        for each in found.classes
    ]
    sums = [sum(getattr(each, part) for each in found.classes) for part in ("old", "new", "validation", "test")]
    rows.append(("all", *(f"{number:,}" for number in sums), ""))
    notes = [f"{each}." for each in read]
    if scenario.pilot:
        notes.append(
            f"A pilot: {scenario.pilot.share:g} of the images to train on. Its old model is that of all old images."
        )
    channels, height, width = found.image_shape
    size = f"{width} x {height} px, {_CHANNELS.get(channels, f'{channels} channels')}"
    notes += [
        f"Arrives: {found.arrives}. Old and new: images to train on; {_held_out(scenario, found.cut_off)}.",
        f"Images: {size}{_geometry(found.resizing)}. Each channel minus {_numbers(found.mean)}, divided by "
        f"{_numbers(found.std)} (pixels from 0 to 1).",
    ]
    notes += [f"{line}." for line in twice_in_words(found.split)]
    if scenario.model.trained_on is not None:
        notes.append(f"Held-out old images are cut from those that {scenario.model.trained_on} does not list.")
    if found.old_model is not None:
        notes += [f"{line[0].upper()}{line[1:]}." for line in found.old_model.lines()]
        worst = sorted(found.old_model.by_class.items(), key=lambda each: each[1])[:_WORST]
        notes.append(f"Its worst classes: {', '.join(f'{name} {accuracy:.2f}' for name, accuracy in worst)}.")
    elif scenario.model.checkpoint is None:
        notes.append(f"Old model: none given, so a base model ({scenario.model.name}) is trained on the old images.")
    return Cells(scenario.title, columns, tuple(rows), tuple(notes))


def decision_lines(decision: Decision) -> tuple[str, ...]:
    """Return the answer as one sentence, and below it each way to continue that was compared."""
    return (_sentence(decision), *(f"  {_compared(each)}" for each in decision.candidates))


def pilot_lines(pilot: Pilot, decision: Decision) -> tuple[str, ...]:
    """Return what a pilot points to as one sentence, and below it each way to continue that was compared."""
    seeds, cost = counted(decision.n, "seed"), f"{100 * pilot.cost:.1f} % of one full retraining's FLOPs"
    best = pilot.way or max(decision.candidates, key=lambda each: each.difference)
    said = (
        f"pilot of {pilot.share:g} ({seeds}, {cost}; experimental): points to {pilot.points_to}: {_name(best)} ends "
        f"{_difference(best)} from its scratch's accuracy of {decision.scratch_accuracy:.4f}, for {best.cost:.2f} of its FLOPs; "
        "nothing is decided, and no model is written"
    )
    return (said, *(f"  {_compared(each)}" for each in decision.candidates))


def _sentence(decision: Decision) -> str:
    if decision.likely_seen:
        return (
            f"{_answer(decision)}; but the old model was probably trained on held-out images, which favours continuing: "
            f"{decision.likely_seen}: name other images with --validation and --test, or all that it was trained on with "
            "--trained-on"
        )
    if not decision.may_have_seen:
        return _answer(decision)
    return (
        f"{_answer(decision)}; but the old model may have been trained on {decision.may_have_seen} images, which favours "
        "continuing: name images of their own with --validation, or those that it was trained on with --trained-on"
    )


def _answer(decision: Decision) -> str:
    margin, seeds = f"a margin of {100 * decision.margin:g} points", counted(decision.n, "seed")
    if decision.answer == "continue" and decision.chosen:
        chosen = decision.chosen
        return (
            f"continue: {_name(chosen)} costs {chosen.cost:.2f} of retraining ({1 / chosen.cost:.2f} times cheaper) and ends "
            f"{_difference(chosen)} from its accuracy of {decision.scratch_accuracy:.4f}, within {margin} ({seeds})"
        )
    if decision.answer == "retrain":
        best = max(decision.candidates, key=lambda each: each.difference)
        return (
            f"retrain: everything that costs less ends lower than {margin} allows; the best, {_name(best)}, "
            f"{_difference(best)} ({seeds})"
        )
    return f"undecided within {margin} ({seeds}); what would decide it: {decision.remedy}"


def _compared(each: Candidate) -> str:
    return f"{_name(each)}: accuracy {each.accuracy:.4f}, {_difference(each)} from scratch's, for {each.cost:.2f} of its FLOPs"


def _name(candidate: Candidate) -> str:
    return f"{candidate.strategy} at {candidate.horizon:g}"


def _difference(candidate: Candidate) -> str:
    """Return "+0.8 points (95 % interval -0.8 to +2.4)"."""
    text = f"{100 * candidate.difference:+.1f} points"
    if math.isnan(candidate.low):
        return text
    return f"{text} (95 % interval {100 * candidate.low:+.1f} to {100 * candidate.high:+.1f})"


def _held_out(scenario: Scenario, cut_off: Sequence[str]) -> str:
    """Return where validation and test images come from."""
    said = {}
    for use in HELD_OUT:
        folders = [scenario.held_out(use, place) for place in range(len(scenario.stages))]
        own = "cut off" if use in cut_off else "parts of the folders' own"
        said[use] = " and ".join(dict.fromkeys(folder or own for folder in folders))
    if set(said.values()) == {"cut off"}:
        return "validation and test are held out of both"
    return "; ".join(f"{use}: {where}" for use, where in said.items())


def _geometry(resizing: tuple[int, int] | None) -> str:
    return f": the shorter side resized to {resizing[0]}, {resizing[1]} cut from the centre" if resizing else ""


def _arrives(each: ClassCount) -> str:
    return "more of it" if each.old and each.new else "new" if each.new else ""


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"
