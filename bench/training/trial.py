"""One trial: one strategy on one update with one seed at one horizon."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.catalog import REFERENCE
from bench.data.batches import Pool
from bench.data.update import Update
from bench.errors import RecordError, StrategyError, TrialError
from bench.metering.clock import PhaseClock
from bench.metering.flops import count_flops
from bench.metering.ledger import Ledger
from bench.models import build_model
from bench.records.schema import BaseCost, EvalRow, FlopFacts, GivenModel, Provenance, Summary, TrialRecord
from bench.records.store import RecordWriter, read_evals
from bench.scenario import Scenario
from bench.strategies.strategy import Entrant, running
from bench.streams import stream_seed, torch_stream
from bench.training import TRAINING_VERSION
from bench.training.batching import BatchOrder
from bench.training.checkpoint import load_checkpoint, save_checkpoint, weights_sha256
from bench.training.device import autocast
from bench.training.evaluate import measure
from bench.training.grid import evaluation_grid, scratch_steps, trial_steps

# FLOPs that SGD with momentum and weight decay spends on each parameter: decay, momentum, Nesterov, update; two each.
_SGD_PASSES = 8


@dataclass(frozen=True)
class TrialSpec:
    """Which trial. update: the stage that arrives; 0 trains a base model."""

    scenario: Scenario
    entrant: Entrant
    update: int
    seed: int

    @property
    def horizon(self) -> float:
        return self.entrant.strategy.horizon

    @property
    def stream_seed(self) -> int:
        """What its fresh weights, batches and augmentation are drawn from; the updates of a chain do not repeat each other."""
        return self.seed if self.update < 2 else stream_seed(self.seed, "update", self.update)

    @property
    def whole(self) -> bool:
        """Whether it is trained on all old images, also where only a share is at hand: the reference, and base models."""
        return self.update == 0 or self.entrant.name == REFERENCE


@dataclass(frozen=True)
class Base:
    """The model that an update starts from: its state dict on the CPU, and each old image's learning speed.

    That is the base model or, in a chain, the one that the strategy's own update before left behind.
    learning_speed: float32, for the first images of the update's pool. cost: what the base model had cost.
    previous_sha256: the fingerprint of the update before's weights; None for the base model.
    given: where a user brought the base model along; its speeds and cost are not known then.
    """

    weights: dict[str, Tensor]
    learning_speed: Tensor | None
    cost: BaseCost | None
    previous_sha256: str | None = None
    given: GivenModel | None = None


@dataclass(frozen=True)
class Finished:
    """What a trial leaves behind. learning_speed: float32 (images,), see Pool; NaN for an image never seen."""

    record: TrialRecord
    weights: dict[str, Tensor]
    learning_speed: Tensor


class Observer(Protocol):
    """Who is told how a trial goes on."""

    def began(self, total_steps: int, done_steps: int) -> None:
        """Training is about to go on after `done_steps`, those that earlier sittings took."""

    def evaluated(self, row: EvalRow) -> None:
        """An evaluation was taken, and is safe."""


class Trial:
    """A trial in the making. `run` is all that is called from outside."""

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
    ) -> None:
        """keep: called with what the trial leaves behind, before its record is marked as finished."""
        self._spec = spec
        self._training = spec.scenario.training
        self._update = update
        self._base = base
        self._provenance = provenance
        self._writer = RecordWriter(folder)
        self._checkpoint = checkpoint
        self._device = device
        self._observer = observer
        self._keep = keep
        self._clock = PhaseClock(device)
        self._sittings = 1

    def run(self) -> Finished:
        """Train to the end of the horizon, from the checkpoint where there is one, and return the finished record.

        Once the trial is built, a failure is written into the record before it goes on to the caller.
        """
        with self._clock.phase("build"):
            self._build()
        try:
            with self._clock.phase("prepare"):
                self._prepare()
            with self._clock.phase("io"):
                resumed = self._resume()
            if not resumed:
                with self._clock.phase("io"):
                    self._writer.begin(self._record)
                with self._clock.phase("train"):
                    self._start()
            if self._observer:
                self._observer.began(self._record.total_steps, self._ledger.steps)
            for step in self._grid.steps:
                if step > self._ledger.steps:
                    self._train_until(step)
            return self._close()
        except Exception as cause:
            reason = f"{type(cause).__name__}: {cause}"
            self._writer.folder.mkdir(parents=True, exist_ok=True)
            self._writer.save(self._record.model_copy(update={"status": "failed", "reason": reason}))
            raise

    def _build(self) -> None:
        spec, strategy = self._spec, self._spec.entrant.strategy
        channels, height, width = self._update.train.image_shape
        stream = "update" if spec.update else "base"
        name, head = spec.scenario.model.name, self._update.head
        model = build_model(name, channels, head, spec.stream_seed, stream, height)
        flops = count_flops(model, (channels, height, width))
        self._model = model.to(self._device)
        # A full graph: a model that cannot be compiled whole is an error, not a part of it run slowly.
        self._forward = torch.compile(self._model, fullgraph=True) if self._provenance.compiled else self._model
        self._parameters = list(self._model.parameters())
        self._anchors: list[Tensor] = []
        self._ledger = Ledger(flops, sum(p.numel() for p in self._parameters))
        budget = scratch_steps(spec.scenario, self._update.reference_images)
        total = trial_steps(budget, spec.horizon)
        self._grid = evaluation_grid(spec.scenario, budget, total)
        with running(strategy.schedule):
            factors = list(strategy.schedule.factors(total))
        if len(factors) != total:
            name = type(strategy.schedule).__name__
            raise StrategyError(
                f"{name}: gave {len(factors)} factors for {total} steps, expected one for each. Mend it."
            )
        self._rates = [self._training.learning_rate * factor for factor in factors]
        self._optimizer = self._new_optimizer(self._parameters)
        speed = self._base.learning_speed if self._base else None
        if speed is not None:
            speed = torch.cat([speed, torch.full((len(self._update.pool) - len(speed),), math.nan)])
        pool = Pool(self._update.pool.labels, self._update.pool.new, speed)
        self._order = BatchOrder(
            self._update.train, pool, strategy.selection, self._training.batch_size, spec.stream_seed
        )
        # Per image of the pool: how often it was seen, and predicted right, by the training passes themselves.
        self._seen = torch.zeros(2, len(pool), dtype=torch.float32, device=self._device)
        self._record = TrialRecord(
            training_version=TRAINING_VERSION,
            scenario=spec.scenario.model_dump(mode="json"),
            scenario_hash=spec.scenario.hash(),
            strategy=spec.entrant.describe(),
            strategy_hash=spec.entrant.hash(),
            update=spec.update,
            seed=spec.seed,
            horizon=spec.horizon,
            total_steps=total,
            scratch_steps=budget,
            flops_per_image=FlopFacts(**asdict(flops)),
            parameters=self._ledger.parameters,
            base=self._base.cost if self._base else None,
            given=self._base.given if self._base else None,
            previous_sha256=self._base.previous_sha256 if self._base else None,
            old_share=self._update.old_share,
            provenance=self._provenance,
            status="running",
        )

    def _new_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.SGD:
        training = self._training
        return torch.optim.SGD(
            parameters,
            lr=training.learning_rate,
            momentum=training.momentum,
            nesterov=training.nesterov and training.momentum > 0,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def _prepare(self) -> None:
        """Compile, and let libraries choose their kernels, on made-up images; then put every weight and buffer back."""
        before = {key: value.clone() for key, value in self._model.state_dict().items()}
        optimizer = self._new_optimizer(self._parameters)
        stream = torch_stream(0, "made-up images")
        shape = (self._training.batch_size, *self._update.train.image_shape)
        pixels = torch.randn(shape, generator=stream).to(self._device, memory_format=torch.channels_last)
        labels = torch.randint(self._update.classes, (shape[0],), generator=stream).to(self._device)
        for _ in range(2):
            self._forward_backward(pixels, labels)
            optimizer.step()
        self._model.eval()
        with torch.inference_mode(), autocast(self._device, self._training.precision):
            self._model(pixels)
        self._model.train()
        self._model.load_state_dict(before)

    def _start(self) -> None:
        """Lay the strategy's first weights into the model, and keep what the regularizer pulls to."""
        strategy = self._spec.entrant.strategy
        fresh = {key: value.clone() for key, value in self._model.state_dict().items()}
        base = {key: value.to(self._device) for key, value in self._base.weights.items()} if self._base else {}
        names = frozenset(name for name, _ in self._model.named_parameters())
        with running(strategy.start):
            weights = dict(strategy.start.weights(base, fresh, names, self._ledger.charge_parameters))
            self._model.load_state_dict(weights)
        source = {"start": self._model.state_dict(), "fresh": fresh, None: None}[strategy.regularizer.anchor]
        if source is not None:
            self._anchors = [source[name].detach().clone() for name, _ in self._model.named_parameters()]

    def _train_until(self, stop: int) -> None:
        """Train to step `stop`, measure there, write it down, and make sure of it."""
        with self._clock.phase("train"):
            steps = stop - self._ledger.steps
            loss = self._train(steps) / steps
        with self._clock.phase("evaluate"):
            accuracies = self._evaluate(with_test=stop in self._grid.test)
        with self._clock.phase("io"):
            row = self._row(loss, accuracies)
            self._writer.append(row)
            self._save()
        if self._observer:
            self._observer.evaluated(row)

    def _train(self, steps: int) -> float:
        """Take `steps` optimizer steps and return the sum of their losses. No step waits for the device; the end does."""
        compiled = _compiled_graphs()
        regularizer = self._spec.entrant.strategy.regularizer
        passes = _SGD_PASSES + regularizer.passes
        total = torch.zeros((), device=self._device)
        for _ in range(steps):
            pixels, labels, indices = self._order.next()
            self._optimizer.param_groups[0]["lr"] = self._rates[self._ledger.steps]
            loss, logits = self._forward_backward(pixels, labels)
            with running(regularizer):
                regularizer.apply(self._parameters, self._anchors)
            self._optimizer.step()
            total += loss
            hits = logits.argmax(1) == labels
            self._seen[0].index_add_(0, indices, torch.ones_like(hits, dtype=torch.float32))
            self._seen[1].index_add_(0, indices, hits.float())
            self._ledger.charge_step(len(labels), passes)
        if _compiled_graphs() != compiled:
            raise TrialError(
                f"something was compiled on the clock before step {self._ledger.steps}: its seconds are void."
            )
        return total.item()

    def _forward_backward(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (loss, logits of the classes seen), with every parameter's gradient in place."""
        with autocast(self._device, self._training.precision):
            logits = self._forward(pixels)
        logits = logits[:, : self._update.classes].float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self._training.label_smoothing)
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        return loss.detach(), logits.detach()

    def _evaluate(self, with_test: bool) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        parts = {"validation": self._update.validation, **({"test": self._update.test} if with_test else {})}
        for part, images in parts.items():
            accuracy = measure(self._model, images, self._update.classes, self._training.precision, self._device)
            self._ledger.charge_evaluation(len(images))
            found[f"{part}_accuracy"] = accuracy.all
            apart = self._update.new_is_apart
            found[f"{part}_accuracy_old"] = accuracy.old if apart else None
            found[f"{part}_accuracy_new"] = accuracy.new if apart else None
        return found

    def _row(self, loss: float, accuracies: dict[str, float | None]) -> EvalRow:
        totals = self._ledger.state()
        return EvalRow.model_validate(
            {
                "step": totals.pop("steps"),
                "epoch": self._ledger.images / len(self._update.train),
                **totals,
                "train_seconds": self._clock.seconds["train"],
                "device_seconds": self._clock.seconds["train"],  # one device
                "evaluate_seconds": self._clock.seconds["evaluate"],
                "gpu_joules": None,
                "learning_rate": self._rates[self._ledger.steps - 1],
                "train_loss": loss if math.isfinite(loss) else None,
                **accuracies,
            }
        )

    def _save(self) -> None:
        save_checkpoint(
            self._checkpoint,
            {
                "model": self._model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "anchors": self._anchors,
                "seen": self._seen,
                "order": (self._order.epoch, self._order.position),
                "ledger": self._ledger.state(),
                "clock": self._clock.state(),
                "sittings": self._sittings,
                "provenance": self._record.provenance.model_dump(),
            },
        )

    def _resume(self) -> bool:
        """Go to where the last whole checkpoint stands.

        False where there is none, where the record does not reach it, or where it was made on another machine or by
        other packages: the trial then begins anew, for its seconds would mean nothing.
        """
        saved = load_checkpoint(self._checkpoint, self._device)
        if saved is None:
            return False
        step, before = saved["ledger"]["steps"], Provenance.model_validate(saved["provenance"])
        if before.machine() != self._provenance.machine() or not self._recorded(step):
            return False
        mixed = before.commit != self._provenance.commit or bool(before.modified)
        if mixed:  # of several states of the code, so no one commit made it
            provenance = self._provenance.model_copy(update={"modified": True})
            self._record = self._record.model_copy(update={"provenance": provenance})
        self._writer.keep_until(step)
        self._model.load_state_dict(saved["model"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._anchors = saved["anchors"]
        self._seen = saved["seen"]
        self._order.seek(*saved["order"])
        self._ledger.restore(saved["ledger"])
        self._clock.restore(saved["clock"])
        self._sittings = saved["sittings"] + 1
        self._writer.save(self._record)
        return True

    def _recorded(self, step: int) -> bool:
        """Return whether the record holds every evaluation up to `step`."""
        try:
            written = [row.step for row in read_evals(self._writer.folder, torn_allowed=True) if row.step <= step]
        except RecordError:
            return False
        return written == [mark for mark in self._grid.steps if mark <= step]

    def _close(self) -> Finished:
        with self._clock.phase("io"):
            last = read_evals(self._writer.folder)[-1]
            weights = {key: value.detach().cpu() for key, value in self._model.state_dict().items()}
            fingerprint = weights_sha256(weights)
        summary = Summary.model_validate(
            {
                **self._ledger.state(),
                **{f"{phase}_seconds": spent for phase, spent in self._clock.seconds.items()},
                "device_seconds": self._clock.seconds["train"],
                "wall_seconds": self._clock.wall_seconds,
                "unaccounted_share": self._clock.unaccounted_share(),
                "gpu_joules": None,
                "gpu_joules_reason": "energy is not metered by this version",
                "sittings": self._sittings,
                "validation_accuracy": last.validation_accuracy,
                "test_accuracy": last.test_accuracy,
                "weights_sha256": fingerprint,
            }
        )
        record = self._record.model_copy(update={"status": "finished", "summary": summary})
        seen, right = self._seen.cpu()
        finished = Finished(record, weights, right / seen)
        if self._keep:
            self._keep(finished)
        self._writer.save(record)
        return finished


def _compiled_graphs() -> int:
    """Return how many graphs torch.compile has made in this process; its modules are slow to load, so not asked for."""
    compiler = sys.modules.get("torch._dynamo.utils")
    return compiler.counters["stats"]["unique_graphs"] if compiler else 0
