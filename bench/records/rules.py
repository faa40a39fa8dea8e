"""The rules that a leaderboard row must keep (RULES 17), each checked from the records alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from bench.catalog import REFERENCE, TUNING_FROM
from bench.errors import RecordError
from bench.records.imported import imported_files, read_curves
from bench.records.listing import list_records, require_results
from bench.records.published import PublishedTargets
from bench.records.schema import POWER_DISAGREEMENT, UNACCOUNTED_SECONDS, UNACCOUNTED_SHARE, EvalRow, TrialRecord
from bench.records.store import place_of, read_trial, verified_evals
from bench.target import TargetPart

# The first rule: what cannot be read can keep no other.
_READABLE = "readable"
_READABLE_MEANS = (
    "Every record can be read; one that has ended has each evaluation of its grid once, in order, as it wrote them."
)
_PHASES = ("build", "prepare", "train", "evaluate", "io")


@dataclass(frozen=True)
class Violation:
    """A broken rule. where: the folder of a trial or a row, below the results. found: in words."""

    rule: str
    where: str
    found: str


@dataclass(frozen=True)
class Verdict:
    """The result of a check. rules: name -> what it requires, in words. trials: number of trials checked."""

    rules: dict[str, str]
    trials: int
    violations: tuple[Violation, ...]


def check_results(results: Path, guards: Mapping[str, RowRule] | None = None) -> Verdict:
    """Check every record under `results` against every rule.

    guards: name -> further rules of a row, see bench.analysis.guards.rules; a rule's docstring says what it requires.
    Raises RecordError if the folder does not exist, cannot be listed, or holds no trial.
    """
    require_results(results)
    targets = PublishedTargets()
    rows: dict[tuple[str, str, float, int], list[CheckedTrial]] = defaultdict(list)
    found, count = [], 0
    shared = _Shared()
    for folder in map(Path, list_records(results).folders):
        where = folder.relative_to(results).as_posix()
        try:
            if (record := read_trial(folder)) is None:
                continue
            trial = CheckedTrial(where, record, verified_evals(folder, record), targets.of(record))
        except RecordError as cause:
            found.append(Violation(_READABLE, where, str(cause)))
            count += 1
            continue
        found += [Violation(name, trial.where, words) for name, rule in _OF_TRIALS.items() for words in rule(trial)]
        # Only guards of scratch need a row's evaluations again: keeping those of 10,000 trials would take 4 GB.
        needed = trial.published is not None and trial.row[1:3] == (REFERENCE, 1.0)
        rows[trial.row].append(replace(trial, record=shared.of(record), evals=trial.evals if needed else []))
        count += 1
    for path in imported_files(results):
        try:
            read_curves(path)
        except RecordError as cause:
            found.append(Violation(_READABLE, path.relative_to(results).as_posix(), str(cause)))
    if not count:
        raise RecordError(f"{results}: no trials, expected at least one. Run: bench run")
    of_rows = {**_OF_ROWS, **(guards or {})}
    for key, group in rows.items():
        where = f"{key[0]}/{key[1]}/{key[2]:g}" + (f", update {key[3]}" if group[0].record.update > 1 else "")
        scratch = rows.get((key[0], REFERENCE, 1.0, key[3]), [])
        found += [Violation(name, where, words) for name, rule in of_rows.items() for words in rule(group, scratch)]
    asked = {name: str(rule.__doc__) for name, rule in {**_OF_TRIALS, **of_rows}.items()}
    return Verdict({_READABLE: _READABLE_MEANS, **asked}, count, tuple(found))


@dataclass(frozen=True)
class CheckedTrial:
    """A trial to be checked. where: its folder below the results. published: its scenario's target, if any."""

    where: str
    record: TrialRecord
    evals: list[EvalRow]
    published: TargetPart | None = None

    @property
    def row(self) -> tuple[str, str, float, int]:
        record = self.record
        return record.scenario["name"], record.strategy["name"], record.horizon, record.update


class _Shared:
    """Lets records share what is the same in many: a trial's takes 20 KB of memory alone, 7 with others."""

    def __init__(self) -> None:
        self._found: dict[str, object] = {}

    def of(self, record: TrialRecord) -> TrialRecord:
        parts = {name: getattr(record, name) for name in ("scenario", "strategy", "base", "flops_per_image")}
        parts["provenance"] = record.provenance.model_copy(update={"started": "", "load_average": None})
        return record.model_copy(
            update={name: self._found.setdefault(repr(part), part) for name, part in parts.items()}
        )


RowRule: TypeAlias = Callable[[list[CheckedTrial], list[CheckedTrial]], Iterator[str]]


def _finished(trial: CheckedTrial) -> Iterator[str]:
    """Every trial is finished, or diverged, which counts as a miss."""
    if trial.record.status not in ("finished", "diverged"):
        yield f"{trial.record.status}: {trial.record.reason or 'it was interrupted'}"


def _complete(trial: CheckedTrial) -> Iterator[str]:
    """A finished trial's summary agrees with its last evaluation."""
    summary = trial.record.summary
    if summary is None:
        return
    last = trial.evals[-1]
    for name in _ENDS:
        if getattr(summary, name) != getattr(last, name):
            yield f"{name} is {getattr(summary, name)} in the summary, {getattr(last, name)} in the last evaluation"


def _clock(trial: CheckedTrial) -> Iterator[str]:
    """The clock's phases account for the wall time to within 1 %, or a quarter of a second."""
    summary = trial.record.summary
    if summary is None:
        return
    left = summary.wall_seconds - sum(getattr(summary, f"{phase}_seconds") for phase in _PHASES)
    if abs(left) > max(UNACCOUNTED_SHARE * summary.wall_seconds, UNACCOUNTED_SECONDS):
        yield f"{left:.2f} of {summary.wall_seconds:.2f} s belong to no phase"


def _ledger(trial: CheckedTrial) -> Iterator[str]:
    """The ledger never decreases, and holds at least the images of its steps and what they cost."""
    facts, before = trial.record.flops_per_image, None
    if trial.record.strategy.get("division") == "open":  # batches and models of its own, counted as it ran
        for row, then in pairwise(trial.evals):
            if any(getattr(then, name) < getattr(row, name) for name in _TOTALS):
                yield f"step {then.step}: a total is lower than at step {row.step}"
                return
        return
    batch = trial.record.scenario["training"]["batch_size"]
    # Where a part of the network is frozen, a step costs at least what the cheapest phase's does.
    step = min([facts.step, *(phase.step for phase in trial.record.phases)])
    once = min([facts.batch, *(phase.batch for phase in trial.record.phases)])
    for row in trial.evals:
        if row.images < row.step * batch:
            yield f"step {row.step}: {row.images:,} images, too few for batches of {batch}"
            return
        if row.train_flops < row.images * step + row.step * once:
            yield f"step {row.step}: {row.train_flops:,} FLOPs, too few for {row.images:,} images of {step:,}"
            return
        if before is not None and any(getattr(row, name) < getattr(before, name) for name in _TOTALS):
            yield f"step {row.step}: a total is lower than at step {before.step}"
            return
        before = row


_ENDS = (
    *("images", "train_flops", "aux_flops", "evaluate_flops", "train_seconds", "device_seconds", "evaluate_seconds"),
    *("gpu_joules", "cpu_seconds", "validation_accuracy", "test_accuracy"),
)
_TOTALS = ("step", "images", "train_flops", "aux_flops", "train_seconds")


def _energy(trial: CheckedTrial) -> Iterator[str]:
    """Missing joules have a reason, and sampled power gives the counter's joules to within 10 %."""
    summary = trial.record.summary
    ratio = summary.gpu_power.sampled_over_counted if summary and summary.gpu_power else None
    if ratio is not None and abs(ratio - 1) > POWER_DISAGREEMENT:
        yield f"sampled power gives {ratio:.2f} times the joules of the energy counter"
    if summary is not None and summary.gpu_joules is None and not summary.gpu_joules_reason:
        yield "gpu_joules is null, and no reason is given"


def _commit(trial: CheckedTrial) -> Iterator[str]:
    """The code was that of a commit, unmodified."""
    origin = trial.record.provenance
    if origin.modified is not False:
        if origin.commit_reason or origin.commit is None:
            yield f"its commit is unknown: {origin.commit_reason or 'not run from a checkout'}"
        else:
            yield f"modified since commit {origin.commit[:10]}"


def _place(trial: CheckedTrial) -> Iterator[str]:
    """A record is in the folder of its scenario, strategy, horizon and seed."""
    expected = place_of(trial.record)
    if trial.where != expected:
        yield f"expected in {expected}"


def _one_question(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> Iterator[str]:
    """A row's trials and scratch's have the same scenario, data, rules version and training version."""
    together = [trial.record for trial in (*group, *scratch)]
    for name in ("scenario_hash", "rules_version", "training_version"):
        found = {str(getattr(record, name)) for record in together}
        if len(found) > 1:
            yield f"{name}: {', '.join(sorted(found))}"
    if len({record.provenance.data_hash for record in together}) > 1:
        yield "data_hash: different data"


def _one_strategy(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> Iterator[str]:
    """A row's trials have the same strategy."""
    found = {trial.record.strategy_hash for trial in group}
    if len(found) > 1:
        yield f"strategy_hash: {', '.join(sorted(found))}"


def _distinct_seeds(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> Iterator[str]:
    """No seed counts twice, and no two seeds ended with the same weights."""
    ended: dict[str, CheckedTrial] = {}
    seeds: dict[int, CheckedTrial] = {}
    # Those that lie where they belong come first: the others are the copies.
    for trial in sorted(group, key=lambda each: each.where != place_of(each.record)):
        weights = trial.record.summary.weights_sha256 if trial.record.summary else trial.where
        same, twin = ended.setdefault(weights, trial), seeds.setdefault(trial.record.seed, trial)
        if same is not trial:
            yield f"{trial.where} is a copy of {same.where}: it ended with the same weights"
        elif twin is not trial:
            yield f"{trial.where} and {twin.where} are both of seed {trial.record.seed}"


def _none_missing(group: list[CheckedTrial], scratch: list[CheckedTrial]) -> Iterator[str]:
    """Every seed of scratch has its trial, except those for tuning (from 100 on) and those that its published target is from."""
    group, scratch = ([trial for trial in trials if trial.record.seed < TUNING_FROM] for trials in (group, scratch))
    if not group:  # nothing that is scored
        return
    scored = {
        trial.record.seed for trial in scratch if not trial.published or trial.record.seed not in trial.published.seeds
    }
    missing = scored - {trial.record.seed for trial in group}
    if not scratch or (not scored and group != scratch):
        yield "scratch is missing"
    elif missing:
        yield f"seeds {', '.join(map(str, sorted(missing)))} are missing"


_OF_TRIALS: dict[str, Callable[[CheckedTrial], Iterator[str]]] = {
    "finished": _finished,
    "complete": _complete,
    "clock": _clock,
    "ledger": _ledger,
    "energy": _energy,
    "commit": _commit,
    "place": _place,
}
_OF_ROWS: dict[str, RowRule] = {
    "one question": _one_question,
    "one strategy": _one_strategy,
    "distinct seeds": _distinct_seeds,
    "none missing": _none_missing,
}
