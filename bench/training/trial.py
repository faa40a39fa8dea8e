"""One trial: one strategy on one update with one seed at one horizon."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from bench.data.feed.update import Update
from bench.errors import LostRankError, RanksError, RecordError, TrialError, WriteError
from bench.files import make_folder
from bench.interrupts import asked, check, held
from bench.metering.clock import PhaseClock
from bench.metering.meters import open_meters
from bench.records.listing import EVALS
from bench.records.provenance import load_average
from bench.records.schema import (
    UNACCOUNTED_SECONDS,
    UNACCOUNTED_SHARE,
    Divergence,
    EvalRow,
    FlopFacts,
    GpuFacts,
    PhaseFacts,
    Provenance,
    Summary,
    TrialRecord,
)
from bench.records.sharing import shared_by
from bench.records.store import RecordWriter, read_evals
from bench.training import TRAINING_VERSION
from bench.training.checkpoint import CheckpointWriter, remove_checkpoint, usable_checkpoints, weights_sha256
from bench.training.device import begin_peak_memory, gpu_uuid, peak_memory
from bench.training.faults import explained
from bench.training.grid import evaluation_grid
from bench.training.learner import Learner
from bench.training.ranks import ALONE, Measured, World, total
from bench.training.spec import Base, TrialSpec
from bench.training.step import StepWay, recorder_for, settle

_LOG = logging.getLogger(__name__)
# Increment when the content of a checkpoint changes.
_CHECKPOINT_FORMAT = 8
# Seconds between two checkpoints, at least: one of ResNet-18 is 90 MB, and a GPU trains for less than a second between two
# evaluations. The first evaluation of a sitting has one.
CHECKPOINT_SECONDS = 30.0
# A loss that ends above where it began is a divergence from so many times guessing's on (the logarithm of the classes).
DIVERGED_LOSS = 1.5


@dataclass(frozen=True)
class Finished:
    """What a trial leaves behind, whether it finished or diverged.

    learning_speed: float32 (images,), see Pool; NaN for an image never seen.
    before_decay: the weights from before the learning rate began to fall; None unless they are kept, see TrialSpec.
    """

    record: TrialRecord
    weights: dict[str, Tensor]
    learning_speed: Tensor
    before_decay: dict[str, Tensor] | None = None


class _DivergedError(Exception):
    """Ends the training of a trial that learns nothing any more."""

    def __init__(self, step: int, loss: float, why: str) -> None:
        super().__init__(why)
        self.facts = Divergence(step=step, loss=f"{loss:.6g}", why=why)


class Observer(Protocol):
    """Receives a trial's progress."""

    def began(self, total_steps: int, done_steps: int) -> None:
        """Training is about to continue after `done_steps`, the steps taken in earlier sittings."""

    def evaluated(self, row: EvalRow) -> None:
        """An evaluation was made and saved."""


class Trial:
    """One trial. Only `run` is called from outside."""

    def __init__(
        self,
        spec: TrialSpec,
        update: Update,
        base: Base | None,
        provenance: Provenance,
        folder: Path,
        checkpoint: Path,
        device: torch.device,
        observer: Observer | None = None,
        keep: Callable[[Finished], None] | None = None,
        automatic: bool = False,
        world: World = ALONE,
    ) -> None:
        """keep: called with what the trial leaves behind, before its record is marked as finished.

        automatic: whether a way of taking steps that cannot run is replaced by what is left of it that can; see StepWay.
        world: the ranks that train it together, of which this is the one that keeps the record.
        """
        self._world = world
        self._spec = spec
        self._update = update
        self._base = base
        self._provenance = provenance
        self._writer = RecordWriter(folder)
        self._checkpoint = checkpoint
        self._device = device
        self._observer = observer
        self._keep = keep
        self._automatic = automatic
        self._sittings = 1
        self._saved = -math.inf  # when the last checkpoint was made

    def run(self) -> Finished:
        """Train to the end of the horizon, from the checkpoint if there is one, and return what the trial leaves behind.

        Once the trial is built, a failure is recorded before it is raised to the caller. If a signal arrives, the step is
        finished, a checkpoint saved, and the record says "interrupted"; then Interrupted is raised. Raises TrialError if memory
        runs out, and DeadDeviceError if the device stops working.
        """
        with open_meters(gpu_uuid(self._device)) as self._meters, CheckpointWriter(self._checkpoint) as self._saver:
            self._clock = PhaseClock(self._device, self._meters.all)
            with self._clock.phase("build"):
                self._build()
            try:
                return self._run()
            except (WriteError, RanksError):  # nothing is lost: the next run goes on
                raise
            except Exception as cause:
                known = explained(cause, self._spec.scenario.training.batch_size)
                reason = str(known or f"{type(cause).__name__}: {cause}")
                with suppress(WriteError):
                    make_folder(self._writer.folder)
                    self._writer.save(self._record.model_copy(update={"status": "failed", "reason": reason}))
                if known is None or known is cause:
                    raise
                raise known from cause

    def _run(self) -> Finished:
        begin_peak_memory(self._device)
        place = self._provenance
        settle(StepWay(place.step, place.compiled, self._automatic, place.step_reason), self._prepare)
        with held():
            return self._train()

    def _train(self) -> Finished:
        with self._clock.phase("io"):
            resumed = self._resume()
        if not resumed:
            with self._clock.phase("io"):
                remove_checkpoint(self._checkpoint)
                self._writer.begin(self._record)
            with self._clock.phase("train"):
                self._learner.start()
        with self._clock.phase("io"):
            if self._observer:
                self._observer.began(self._record.total_steps, self._learner.ledger.steps)
        try:
            for begin, end in pairwise((0, *self._grid.steps)):
                if end > self._learner.ledger.steps:
                    self._train_until(end, end - begin)
            with self._clock.phase("io"):
                self._saver.wait()
            self._require_lower_loss()
        except _DivergedError as cause:
            return self._close_diverged(cause.facts)
        return self._close()

    def _prepare(self, way: StepWay) -> None:
        if way.reason != self._provenance.step_reason:
            changes = {"step": way.mode, "compiled": way.compiled, "step_reason": way.reason}
            self._provenance = self._provenance.model_copy(update=changes)
            with self._clock.phase("build"):
                self._build()
        with self._clock.phase("prepare"):
            self._learner.prepare()

    def _build(self) -> None:
        spec = self._spec
        with self._world.doing("build", spec.entrant.name, spec.horizon, spec.update, spec.seed, self._base):
            self._learner = Learner(
                spec,
                self._update,
                self._base,
                self._device,
                self._provenance.compiled,
                self._checkpoint.parent,
                recorder_for(self._provenance.step, self._device),
                self._world,
            )
        self._grid = evaluation_grid(spec.scenario, self._learner.scratch_steps, self._learner.total_steps)
        images = "streamed" if self._update.train.streamed else "resident"
        self._record = TrialRecord(
            training_version=TRAINING_VERSION,
            scenario=spec.scenario.model_dump(mode="json"),
            scenario_hash=spec.scenario.hash(),
            strategy=spec.entrant.describe(),
            strategy_hash=spec.entrant.hash(),
            update=spec.update,
            seed=spec.seed,
            horizon=spec.horizon,
            total_steps=self._learner.total_steps,
            scratch_steps=self._learner.scratch_steps,
            flops_per_image=FlopFacts(**asdict(self._learner.flops)),
            parameters=self._learner.ledger.parameters,
            chance=_largest_share(self._update.validation.labels),
            validation_images=len(self._update.validation),
            phases=self._phases(),
            base=self._base.cost if self._base else None,
            given=self._base.given if self._base else None,
            previous_sha256=self._base.previous_sha256 if self._base else None,
            old_share=self._update.old_share,
            provenance=self._provenance.model_copy(update={"gpu": self._gpu_facts(), "images": images}),
            status="running",
        )

    def _phases(self) -> tuple[PhaseFacts, ...]:
        phases = self._learner.phases
        if not any(phase.frozen for phase in phases):
            return ()
        return tuple(
            PhaseFacts(
                begin=phase.begin,
                frozen=phase.through,
                step=phase.step.image,
                batch=phase.step.batch,
                parameters=sum(parameter.numel() for parameter in phase.parameters),
                features=phase.features,
            )
            for phase in phases
        )

    def _gpu_facts(self) -> GpuFacts | None:
        facts = self._meters.gpu_facts()
        return GpuFacts(**facts) if facts else None

    def _train_until(self, stop: int, steps: int) -> None:
        """Train to step `stop`, evaluate and record the evaluation; save a checkpoint if the last one is too old.

        steps: since the evaluation before, some of which may have been taken in an earlier sitting.
        """
        if asked():
            self._interrupt()
        with self._clock.phase("train"):
            loss = self._learner.train(stop - self._learner.ledger.steps) / steps
        if self._learner.ledger.steps < stop:
            self._interrupt()
        with self._clock.phase("evaluate"):
            accuracies = self._learner.evaluate(with_test=stop in self._grid.test)
            finite = self._learner.weights_are_finite()
        with self._clock.phase("io"):
            row = self._row(loss, accuracies)
            self._writer.append(row)
            if not (math.isfinite(loss) and finite):  # before a checkpoint of it replaces a good one
                raise _DivergedError(
                    stop, loss, "a weight is not finite" if math.isfinite(loss) else "not a finite loss"
                )
            self._saver.check()
            if time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
                self._save()
                self._saved = time.monotonic()
            if self._observer:
                self._observer.evaluated(row)

    def _require_lower_loss(self) -> None:
        """Raise _DivergedError where the loss ended above where it began, and far above guessing's.

        Without the second condition, a model that has little left to learn would diverge by the noise of a batch, and one that
        has not begun to learn, near guessing, by that of a few batches.
        """
        with self._clock.phase("io"):
            rows = read_evals(self._writer.folder)
        began, ended, guessing = rows[0].train_loss, rows[-1].train_loss, math.log(self._update.classes)
        assert began is not None  # it would have been ended there
        assert ended is not None
        if ended > began and ended > DIVERGED_LOSS * guessing:
            why = f"it began at {began:.6g}, and guessing has {guessing:.6g}"
            raise _DivergedError(rows[-1].step, ended, why)

    def _interrupt(self) -> NoReturn:
        """Save a checkpoint, mark the record, and raise Interrupted."""
        with self._clock.phase("io"):
            self._save()
            self._saver.wait()
            self._writer.save(self._record.model_copy(update={"status": "interrupted"}))
        check()
        raise LostRankError("another rank was asked to end. The same command resumes from the last checkpoint.")

    def _row(self, loss: float, accuracies: dict[str, float | None]) -> EvalRow:
        totals = self._learner.ledger.state()
        for part in ("regularizer_flops", "feature_flops", "head_flops"):  # recorded once, in the summary
            del totals[part]
        return EvalRow.model_validate(
            {
                "step": totals.pop("steps"),
                "epoch": self._learner.ledger.images / len(self._update.train),
                **totals,
                "train_seconds": self._clock.seconds["train"],
                "device_seconds": self._clock.seconds["train"] * self._world.size,
                "evaluate_seconds": self._clock.seconds["evaluate"],
                **self._on_all_ranks(self._meters.totals()),
                "learning_rate": self._learner.learning_rate,
                "train_loss": loss if math.isfinite(loss) else None,
                **accuracies,
            }
        )

    def _on_all_ranks(self, measured: dict[str, Any]) -> dict[str, Any]:
        """Return what the meters of this rank say, as totals over all ranks."""
        if self._world.size == 1:
            return measured
        with self._world.doing("measured"):
            return total(self._world.gather(Measured(self._meters.known(), self._world.first_here)), measured)

    def _clocks(self) -> list[dict[str, Any]]:
        """Return the state of every rank's clock, by rank."""
        with self._world.doing("clock"):
            return self._world.gather(self._clock.state())

    def _save(self) -> None:
        """Copy what a checkpoint holds; it is written while the trial goes on."""
        clock, *others = self._clocks()
        self._saver.save(
            {
                **self._learner.state(),
                "clock": clock,
                **({"other_clocks": others} if others else {}),
                "format": _CHECKPOINT_FORMAT,
                "evals_sha256": self._writer.digest(),
                "sittings": self._sittings,
                "provenance": self._record.provenance.model_dump(),
            }
        )

    def _resume(self) -> bool:
        """Resume from the last checkpoint that is whole, or from the one before it.

        Returns False if there is none, if the record does not reach it, or if it was made on another machine, with other
        packages, or in another checkpoint format: the trial then starts over, since its costs would be meaningless.
        """
        return any(map(self._resume_from, usable_checkpoints(self._checkpoint, self._device)))

    def _resume_from(self, saved: dict[str, Any]) -> bool:
        if saved.get("format") != _CHECKPOINT_FORMAT:
            return False
        others = saved.get("other_clocks", [])
        if len(others) + 1 != self._world.size:
            began, here = (f"{size} rank{'s' if size > 1 else ''}" for size in (len(others) + 1, self._world.size))
            again = "give --fresh to begin it again" if self._spec.update else "name another --cache"
            raise RanksError(
                f"{self._writer.folder}: begun on {began}, found {here}, expected as many: its seconds and, with batch norm, "
                f"what it learns depend on it. Run it with {began}, or {again}."
            )
        step, before = saved["ledger"]["steps"], Provenance.model_validate(saved["provenance"])
        if before.machine() != self._record.provenance.machine() or not self._recorded(step, saved["evals_sha256"]):
            return False
        mixed = before.commit != self._provenance.commit or bool(before.modified)
        if mixed:  # trained by several versions of the code, so no single commit describes it
            provenance = self._record.provenance.model_copy(update={"modified": True})
            self._record = self._record.model_copy(update={"provenance": provenance})
        self._writer.keep_until(step)
        self._learner.restore(saved)
        self._clock.restore(saved["clock"])
        with self._world.doing("wind", others):
            pass
        self._sittings = saved["sittings"] + 1
        self._writer.save(self._record)
        return True

    def _require_whole_clock(self) -> None:
        wall, share = self._clock.wall_seconds, self._clock.unaccounted_share()
        if abs(share) > UNACCOUNTED_SHARE and abs(share * wall) > UNACCOUNTED_SECONDS:
            remove_checkpoint(self._checkpoint)  # resuming from it would bring back the same gap
            raise TrialError(
                f"the clock's phases leave {share * wall:.2f} of {wall:.2f} s unaccounted for, expected under "
                f"{UNACCOUNTED_SHARE:.0%}: its seconds are invalid. Run it again on a quieter machine."
            )

    def _recorded(self, step: int, digest: str) -> bool:
        """Return whether the record holds every evaluation up to `step`, as it was when the checkpoint was saved."""
        try:
            written = [row.step for row in read_evals(self._writer.folder, torn_allowed=True) if row.step <= step]
        except RecordError:
            return False
        if written != [mark for mark in self._grid.steps if mark <= step]:
            return False
        if self._writer.digest(len(written)) == digest:
            return True
        _LOG.warning(
            "bench: %s: changed since its checkpoint was saved; an earlier one is used, or the trial starts over",
            self._writer.folder / EVALS,
        )
        return False

    def _close_diverged(self, facts: Divergence) -> Finished:
        reason = f"diverged at step {facts.step} with loss {facts.loss}: {facts.why}"
        changes = {"status": "diverged", "reason": reason, "diverged": facts}
        with self._clock.phase("io"):
            self._saver.wait()
        record = self._record.model_copy(update=changes)
        record = self._writer.save(record)
        return Finished(record, self._learner.weights(), self._learner.learning_speed())

    def _close(self) -> Finished:
        with self._clock.phase("io"):
            last = read_evals(self._writer.folder)[-1]
            weights = self._learner.weights()
            fingerprint = weights_sha256(weights)
            metered = self._on_all_ranks(self._meters.summary())
        self._require_whole_clock()
        trained = self._clock.seconds["train"]
        shared = shared_by(self._record.provenance, trained, metered["other_cpu_seconds"], self._meters.neighbours)
        summary = Summary.model_validate(
            {
                **self._learner.ledger.state(),
                **{f"{phase}_seconds": spent for phase, spent in self._clock.seconds.items()},
                "device_seconds": self._clock.seconds["train"] * self._world.size,
                "selection_seconds": self._learner.selection_seconds,
                "feature_bytes": self._learner.feature_bytes,
                "wall_seconds": self._clock.wall_seconds,
                "unaccounted_share": self._clock.unaccounted_share(),
                **metered,
                "load_average": load_average(),
                "shared": shared,
                "peak_memory_bytes": peak_memory(self._device),
                "sittings": self._sittings,
                "validation_accuracy": last.validation_accuracy,
                "test_accuracy": last.test_accuracy,
                "weights_sha256": fingerprint,
            }
        )
        record = self._record.model_copy(update={"status": "finished", "summary": summary})
        finished = Finished(record, weights, self._learner.learning_speed(), self._learner.before_decay())
        if self._keep:
            self._keep(finished)
        return replace(finished, record=self._writer.save(record))


def _largest_share(labels: Tensor) -> float:
    """Return the share of the largest class, (images,) -> a fraction."""
    return int(labels.bincount().max()) / len(labels)
