"""A trial whose training loop is the user's own: images, grid, clock, meters and record from here, FLOPs by the counter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from bench.data.feed.update import Update
from bench.errors import BenchError, RecordError, TrialError
from bench.execution.listener import Silent
from bench.execution.local import LocalRun
from bench.locks import locked
from bench.metering.clock import PhaseClock
from bench.metering.flops import count_flops
from bench.metering.formulas import exact_counter
from bench.metering.meters import Meters, open_meters
from bench.models import build_model
from bench.records.provenance import load_average
from bench.records.schema import EvalRow, FlopFacts, GpuFacts, Summary, TrialRecord
from bench.records.store import RecordWriter, read_trial, trial_folder
from bench.scenario import digest
from bench.training import TRAINING_VERSION
from bench.training.checkpoint import weights_sha256
from bench.training.device import gpu_uuid
from bench.training.evaluate import measure
from bench.training.grid import evaluation_grid
from bench.training.learner import Base, _compiled_graphs

OPEN = "open-"  # what the name of every strategy of the open division begins with
_ADAM_PASSES = 14  # FLOPs per parameter and step: two moments, their corrections, root, quotient, decay and update
_OTHER_PASSES = 2  # of an optimizer that is not known: the update alone; the rest is the user's to charge


class TrackedTrial:
    """What a loop of one's own is given. Steps are those of any optimizer of PyTorch, counted by a hook.

    labels: int64 (images,); new: bool (images,), whether an image arrived with this update; both on the device, old images first.
    classes: how many there are now. steps, total_steps: taken so far, and in all. scratch_steps: scratch's.
    """

    def __init__(
        self,
        run: LocalRun,
        update: Update,
        base: Base | None,
        meters: Meters,
        record: TrialRecord,
        writer: RecordWriter,
    ) -> None:
        self._run, self._update, self._base, self._meters, self._writer = run, update, base, meters, writer
        self._record = record
        self._seed = record.seed
        self.device = run.device
        self.labels, self.new = update.train.labels, update.pool.new.to(run.device)
        self.classes, self.total_steps, self.scratch_steps = update.classes, record.total_steps, record.scratch_steps
        self._grid = evaluation_grid(run.scenario, record.scratch_steps, record.total_steps)
        self._totals = dict.fromkeys(("images", "train_flops", "aux_flops", "evaluate_flops"), 0)
        self.steps = 0
        self._rows: list[EvalRow] = []
        self._rate = 0.0
        self._drawn = 0
        self.finished = False
        self._compiled = _compiled_graphs()
        self._clock = PhaseClock(run.device, meters.all)
        self._phase: AbstractContextManager[None] | None = None
        self._counter: Any = None

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return (images, labels) of a batch to train on, cropped and flipped as the scenario says, and count its images.

        indices: int64 (batch,). Images are float32 (batch, channels, height, width), normalized.
        """
        train = self._update.train
        drawn = train.draw(len(indices), self._seed, self._drawn)
        self._drawn += 1
        self._totals["images"] += len(indices)
        where = indices.to(self.device)
        return train.batch(where, *drawn), self.labels[where]

    def plain(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return (images, labels) as evaluation sees them, for a loop with augmentation of its own; charge() its images."""
        where = indices.to(self.device)
        return self._update.train.plain(where), self.labels[where]

    def new_model(self) -> nn.Module:
        """Return the scenario's model, newly initialized from this trial's seed, on the device."""
        channels, height, _ = self._update.train.image_shape
        name = self._run.scenario.model.name
        return build_model(name, channels, self._update.head, self._seed, "update", height).to(self.device)

    def old_model(self) -> nn.Module:
        """Return the scenario's model with the old model's weights, on the device. Raises TrialError if none was asked for."""
        if self._base is None:
            raise TrialError("track: found old_model=False, expected True where the old model is used. Change it.")
        model = self.new_model()
        model.load_state_dict(self._base.weights)
        return model

    def due(self) -> bool:
        """Whether the model is to be evaluated now: at the steps at which every strategy of the scenario is."""
        return self.steps == self._next()

    def charge(self, flops: int = 0, *, images: int = 0) -> None:
        """Charge what the counter cannot see: FLOPs of element-wise work or of other libraries, and images trained on."""
        if not (isinstance(flops, int) and isinstance(images, int) and flops >= 0 and images >= 0):
            raise BenchError(
                f"charge: found {flops!r} FLOPs and {images!r} images, expected whole numbers of 0 or more."
            )
        if self._next() is None:
            raise TrialError("charge: after the last evaluation, which holds what the trial cost. Charge before it.")
        self._totals["aux_flops"] += flops
        self._totals["images"] += images

    def evaluate(self, model: nn.Module, *, loss: float | None = None) -> float:
        """Measure a model on the held-out images, in float32 and off the clock, record it, and return its validation accuracy.

        loss: the mean training loss since the last time. Raises TrialError if none is due.
        """
        if not self.due():
            raise TrialError(f"evaluate: at step {self.steps}, expected step {self._next()}. Ask due() first.")
        self._pause()
        if _compiled_graphs() != self._compiled:
            raise TrialError(
                "evaluate: the loop runs compiled code, which the counter cannot see. Run it without torch.compile."
            )
        with self._clock.phase("evaluate"), exact_counter() as counter:
            test = self.steps in self._grid.test
            parts = {"validation": self._update.validation, **({"test": self._update.test} if test else {})}
            found: dict[str, float | None] = {}
            for part, images in parts.items():
                accuracy = measure(model, [], images, self.classes, "fp32", self.device)
                apart = self._update.new_is_apart
                found[f"{part}_accuracy"] = accuracy.all
                found[f"{part}_accuracy_old"] = accuracy.old if apart else None
                found[f"{part}_accuracy_new"] = accuracy.new if apart else None
        self._totals["evaluate_flops"] += counter.get_total_flops()
        with self._clock.phase("io"):
            row = EvalRow.model_validate(
                {
                    "step": self.steps,
                    "epoch": self._totals["images"] / len(self._update.train),
                    **self._totals,
                    "train_seconds": self._clock.seconds["train"],
                    "device_seconds": self._clock.seconds["train"],
                    "evaluate_seconds": self._clock.seconds["evaluate"],
                    **self._meters.totals(),
                    "learning_rate": self._rate,
                    "train_loss": loss,
                    **found,
                }
            )
            self._writer.append(row)
            self._rows.append(row)
        if self._next() is not None:  # the last one is the trial's end
            self._go_on()
        return row.validation_accuracy

    def finish(self, model: nn.Module) -> TrialRecord:
        """End the trial: its last step must be taken and evaluated. Returns the record. Raises TrialError."""
        if self.steps != self.total_steps or self._next() is not None:
            raise TrialError(
                f"finish: after {self.steps} of {self.total_steps} steps, and {len(self._rows)} of {len(self._grid.steps)} "
                "evaluations, expected all. Take them, or give track() fewer steps."
            )
        self._pause()
        last = self._rows[-1]
        with self._clock.phase("io"):
            fingerprint = weights_sha256({key: each.detach().cpu() for key, each in model.state_dict().items()})
        summary = Summary.model_validate(
            {
                "steps": self.steps,
                **self._totals,
                **{f"{phase}_seconds": spent for phase, spent in self._clock.seconds.items()},
                "device_seconds": self._clock.seconds["train"],
                "wall_seconds": self._clock.wall_seconds,
                "unaccounted_share": self._clock.unaccounted_share(),
                **self._meters.summary(),
                "load_average": load_average(),
                "sittings": 1,
                "validation_accuracy": last.validation_accuracy,
                "test_accuracy": last.test_accuracy,
                "weights_sha256": fingerprint,
            }
        )
        changes = {"status": "finished", "summary": summary, "parameters": sum(p.numel() for p in model.parameters())}
        record = self._writer.save(self._record.model_copy(update=changes))
        self.finished = True
        return record

    def _next(self) -> int | None:
        return self._grid.steps[len(self._rows)] if len(self._rows) < len(self._grid.steps) else None

    def _took(self, optimizer: Optimizer) -> None:
        """Count a step that an optimizer has taken, and charge its work on the parameters."""
        following = self._next()
        if following is None or self.steps >= following:
            raise TrialError(
                f"step {self.steps + 1}: "
                + (
                    f"expected {self.total_steps} in all"
                    if following is None
                    else f"step {following} was not evaluated"
                )
                + ". Ask due() after each step, and evaluate() then."
            )
        self.steps += 1
        for group in optimizer.param_groups:
            count = sum(each.numel() for each in group["params"] if each.grad is not None)
            self._totals["aux_flops"] += _passes(optimizer, group) * count
            self._rate = float(group["lr"])

    def _go_on(self) -> None:
        self._phase = self._clock.phase("train")
        self._phase.__enter__()
        self._counter = exact_counter()
        self._counter.__enter__()

    def _pause(self) -> None:
        if self._phase is None:
            return
        self._counter.__exit__(None, None, None)
        self._phase.__exit__(None, None, None)
        self._totals["train_flops"] += self._counter.get_total_flops()
        self._phase = self._counter = None


def _passes(optimizer: Optimizer, group: Mapping[str, Any]) -> int:
    """Return an optimizer's FLOPs per parameter and step: SGD's as everywhere, Adam's, or those of the update alone."""
    if isinstance(optimizer, torch.optim.SGD):
        momentum = group["momentum"] > 0
        return 2 * (1 + (group["weight_decay"] > 0) + momentum + (momentum and group["nesterov"]))
    return _ADAM_PASSES if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) else _OTHER_PASSES


@contextmanager
def tracking(
    run: LocalRun,
    name: str,
    seed: int,
    *,
    steps: int | None,
    reference: str | None,
    code: Mapping[str, Any],
    old_model: bool,
    fresh: bool,
) -> Iterator[TrackedTrial]:
    """Yield a trial of the open division; its record says so. run: of the scenario, for whatever strategy.

    steps: in all; None for scratch's. reference: the strategy, of the open division too, that it is compared with. code: source,
    modules and packages of the loop. old_model: whether it starts from one, which is trained first if there is none.
    Raises RecordError if there is a record already and not `fresh`, and TrialError if the loop ends without finish().
    """
    update, scenario = run.data_of(1, False), run.scenario
    total = run.budget(1) if steps is None else steps
    horizon = total / run.budget(1)
    content = {"division": "open", **({"reference": f"{OPEN}{reference}"} if reference else {}), **code}
    folder = trial_folder(
        run._results, scenario.name, f"{OPEN}{name}", horizon, seed, 1 if scenario.updates > 1 else None
    )
    with ExitStack() as stack:
        stack.enter_context(locked(folder.with_name(f"{folder.name}.lock")))
        if read_trial(folder) is not None and not fresh:
            raise RecordError(
                f"{folder}: holds a record already. Give track() fresh=True to replace it, or another name."
            )
        base = run._base(seed, Silent()) if old_model else None
        meters = stack.enter_context(open_meters(gpu_uuid(run.device)))
        channels, height, width = update.train.image_shape
        model = build_model(scenario.model.name, channels, update.head, seed, "update", height)
        flops = count_flops(model, (channels, height, width))
        facts = meters.gpu_facts()
        changes = {"gpu": GpuFacts(**facts) if facts else None, "compiled": False, "step": "eager"}
        record = TrialRecord(
            training_version=TRAINING_VERSION,
            scenario=scenario.model_dump(mode="json"),
            scenario_hash=scenario.hash(),
            strategy={"name": f"{OPEN}{name}", "title": f"{name} (open division)", "horizon": horizon, **content},
            strategy_hash=digest({key: value for key, value in content.items() if key != "packages"}),
            update=1,
            seed=seed,
            horizon=horizon,
            total_steps=total,
            scratch_steps=run.budget(1),
            flops_per_image=FlopFacts(**asdict(flops)),
            parameters=sum(each.numel() for each in model.parameters()),
            chance=int(update.validation.labels.bincount().max()) / len(update.validation),
            validation_images=len(update.validation),
            base=base.cost if base else None,
            given=base.given if base else None,
            old_share=update.old_share,
            provenance=run._provenance(run.data_hash).model_copy(update=changes),
            status="running",
        )
        del model
        writer = RecordWriter(folder)
        writer.begin(record)
        trial = TrackedTrial(run, update, base, meters, record, writer)
        hook = register_optimizer_step_post_hook(lambda optimizer, arguments, options: trial._took(optimizer))
        try:
            trial._go_on()
            yield trial
            if not trial.finished:
                raise TrialError(f"{OPEN}{name} seed {seed}: its loop ended without finish(model). Call it at the end.")
        except BaseException as cause:
            if not trial.finished:
                reason = " ".join(f"{type(cause).__name__}: {cause}".split())
                writer.save(record.model_copy(update={"status": "failed", "reason": reason}))
            raise
        finally:
            hook.remove()
            trial._pause()
