"""What learns in a trial: model, optimizer, the order of images, and the ledger that adds up what they cost."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.catalog import REFERENCE
from bench.data.feed.batches import Pool
from bench.data.feed.update import Update
from bench.errors import StrategyError, TrialError
from bench.metering.flops import FlopCount, count_flops
from bench.metering.ledger import Ledger
from bench.models import build_model
from bench.records.schema import BaseCost, GivenModel
from bench.scenario import Scenario, TrainingPart
from bench.strategies.strategy import Entrant, running
from bench.streams import stream_seed, torch_stream
from bench.training.batching import BatchOrder
from bench.training.device import autocast
from bench.training.draws import LentGenerators
from bench.training.evaluate import measure
from bench.training.grid import scratch_steps, trial_steps


@dataclass(frozen=True)
class TrialSpec:
    """Identifies a trial. update: the stage that arrives; 0 trains a base model."""

    scenario: Scenario
    entrant: Entrant
    update: int
    seed: int

    @property
    def horizon(self) -> float:
        return self.entrant.strategy.horizon

    @property
    def stream_seed(self) -> int:
        """The seed of fresh weights, batches and augmentation; it differs between the updates of a chain."""
        return self.seed if self.update < 2 else stream_seed(self.seed, "update", self.update)

    @property
    def whole(self) -> bool:
        """Whether it trains on all old images even if only a share is available: true for the reference and base models."""
        return self.update == 0 or self.entrant.name == REFERENCE


@dataclass(frozen=True)
class Base:
    """The model that an update starts from: its state dict on the CPU, and each old image's learning speed.

    This is the base model or, in a chain, the model left behind by the strategy's own previous update.
    learning_speed: float32, of the first images of the update's pool. cost: what the base model cost.
    previous_sha256: the fingerprint of the weights that the previous update left; None for the base model.
    given: set if the base model is the user's own; its speeds and cost are then unknown.
    """

    weights: dict[str, Tensor]
    learning_speed: Tensor | None
    cost: BaseCost | None
    previous_sha256: str | None = None
    given: GivenModel | None = None


class Learner:
    """Trains a model on an update. Knows neither clock nor record, so that an audit can take the same steps.

    ledger: what it has cost so far. total_steps: to the end of the horizon. scratch_steps: scratch's whole budget.
    """

    def __init__(
        self, spec: TrialSpec, update: Update, base: Base | None, device: torch.device, compiled: bool
    ) -> None:
        strategy = spec.entrant.strategy
        self._strategy = strategy
        self._training = spec.scenario.training
        self._update = update
        self._base = base
        self._device = device
        channels, height, width = update.train.image_shape
        stream = "update" if spec.update else "base"
        model = build_model(spec.scenario.model.name, channels, update.head, spec.stream_seed, stream, height)
        self.flops: FlopCount = count_flops(model, (channels, height, width))
        self._model = model.to(device)
        # A full graph: a model that cannot be compiled as a whole is an error, rather than running partly uncompiled.
        self._forward = torch.compile(self._model, fullgraph=True) if compiled else self._model
        self._parameters = list(self._model.parameters())
        self._anchors: list[Tensor] = []
        self.ledger = Ledger(self.flops, sum(p.numel() for p in self._parameters))
        self.scratch_steps = scratch_steps(spec.scenario, update.reference_images)
        self.total_steps = trial_steps(self.scratch_steps, spec.horizon)
        self._rates = self._learning_rates()
        self._optimizer = self._new_optimizer(self._parameters)
        speed = base.learning_speed if base else None
        if speed is not None:
            speed = torch.cat([speed, torch.full((len(update.pool) - len(speed),), math.nan)])
        pool = Pool(update.pool.labels, update.pool.new, speed)
        self._order = BatchOrder(update.train, pool, strategy.selection, self._training.batch_size, spec.stream_seed)
        self._draws = LentGenerators(device, spec.stream_seed, "draws", stream)
        # Per image of the pool: how often the training passes saw it, and how often they predicted it correctly.
        self._seen = torch.zeros(2, len(pool), dtype=torch.float32, device=device)

    @property
    def learning_rate(self) -> float:
        """Return the learning rate of the last step."""
        return self._rates[self.ledger.steps - 1]

    def _learning_rates(self) -> list[float]:
        schedule = self._strategy.schedule
        with running(schedule):
            factors = list(schedule.factors(self.total_steps))
        if len(factors) != self.total_steps:
            raise StrategyError(
                f"{type(schedule).__name__}: returned {len(factors)} factors for {self.total_steps} steps, expected one per "
                "step. Fix it."
            )
        return [self._training.learning_rate * factor for factor in factors]

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

    def prepare(self) -> None:
        """Compile, and let libraries choose their kernels, on made-up images; then restore every weight and buffer."""
        before = {key: value.clone() for key, value in self._model.state_dict().items()}
        optimizer = self._new_optimizer(self._parameters)
        stream = torch_stream(0, "made-up images")
        shape = (self._training.batch_size, *self._update.train.image_shape)
        pixels = torch.randn(shape, generator=stream).to(self._device, memory_format=torch.channels_last)
        labels = torch.randint(self._update.classes, (shape[0],), generator=stream).to(self._device)
        with LentGenerators(self._device, 0, "made-up draws").lent():
            for _ in range(2):
                self._forward_backward(pixels, labels)
                optimizer.step()
        self._model.eval()
        with torch.inference_mode(), autocast(self._device, self._training.precision):
            self._model(pixels)
        self._model.train()
        self._model.load_state_dict(before)

    def start(self) -> None:
        """Load the strategy's starting weights into the model, and keep the weights that the regularizer pulls toward."""
        strategy = self._strategy
        fresh = {key: value.clone() for key, value in self._model.state_dict().items()}
        base = {key: value.to(self._device) for key, value in self._base.weights.items()} if self._base else {}
        names = frozenset(name for name, _ in self._model.named_parameters())
        with running(strategy.start):
            weights = dict(strategy.start.weights(base, fresh, names, self.ledger.charge_parameters))
            self._model.load_state_dict(weights)
        source = {"start": self._model.state_dict(), "fresh": fresh, None: None}[strategy.regularizer.anchor]
        if source is not None:
            self._anchors = [source[name].detach().clone() for name, _ in self._model.named_parameters()]

    def train(self, steps: int) -> float:
        """Take `steps` optimizer steps and return the sum of their losses. Waits for the device only at the end."""
        with self._draws.lent():
            return self._train(steps)

    def _train(self, steps: int) -> float:
        compiled = _compiled_graphs()
        regularizer = self._strategy.regularizer
        passes = _sgd_passes(self._training), regularizer.passes
        total = torch.zeros((), device=self._device)
        for _ in range(steps):
            pixels, labels, indices = self._order.next()
            self._optimizer.param_groups[0]["lr"] = self._rates[self.ledger.steps]
            loss, logits = self._forward_backward(pixels, labels)
            with running(regularizer):
                regularizer.apply(self._parameters, self._anchors)
            self._optimizer.step()
            total += loss
            hits = logits.argmax(1) == labels
            self._seen[0].index_add_(0, indices, torch.ones_like(hits, dtype=torch.float32))
            self._seen[1].index_add_(0, indices, hits.float())
            self.ledger.charge_step(len(labels), *passes)
            if _compiled_graphs() != compiled:
                raise TrialError(
                    f"a graph was compiled on the clock at step {self.ledger.steps}, expected none after prepare: the "
                    "seconds are invalid. Run it with --no-compile, or report it with the model."
                )
        return total.item()

    def _forward_backward(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Set every parameter's gradient, and return (loss, logits of the classes seen)."""
        with autocast(self._device, self._training.precision):
            logits = self._forward(pixels)
        logits = logits[:, : self._update.classes].float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self._training.label_smoothing)
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        return loss.detach(), logits.detach()

    def evaluate(self, with_test: bool) -> dict[str, float | None]:
        """Measure accuracy over all, old and new images, named as in a record's evaluation."""
        found: dict[str, float | None] = {}
        parts = {"validation": self._update.validation, **({"test": self._update.test} if with_test else {})}
        for part, images in parts.items():
            accuracy = measure(self._model, images, self._update.classes, self._training.precision, self._device)
            self.ledger.charge_evaluation(len(images))
            found[f"{part}_accuracy"] = accuracy.all
            apart = self._update.new_is_apart
            found[f"{part}_accuracy_old"] = accuracy.old if apart else None
            found[f"{part}_accuracy_new"] = accuracy.new if apart else None
        return found

    @property
    def selection_seconds(self) -> float:
        """Return the seconds spent choosing images; they are part of the training seconds."""
        return self._order.selection_seconds

    @property
    def epoch_steps(self) -> int:
        """Return the number of steps in the epoch begun last; it depends on the images selected."""
        return self._order.batches

    def seek(self, epoch: int) -> None:
        """Go to the first batch of an epoch, as if the earlier ones had been trained."""
        self._order.seek(epoch, 0)

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict on the CPU."""
        return {key: value.detach().cpu() for key, value in self._model.state_dict().items()}

    def learning_speed(self) -> Tensor:
        """Return float32 (images,), see Pool; NaN for an image never seen."""
        seen, right = self._seen.cpu()
        return right / seen

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs to resume bit-identically."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "anchors": self._anchors,
            "seen": self._seen,
            "order": (self._order.epoch, self._order.position),
            "selection_seconds": self._order.selection_seconds,
            "draws": self._draws.state(),
            "ledger": self.ledger.state(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go back to what `state` returned."""
        self._model.load_state_dict(saved["model"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._anchors = saved["anchors"]
        self._seen = saved["seen"]
        self._order.seek(*saved["order"])
        self._order.selection_seconds += saved["selection_seconds"]
        self._draws.restore(saved["draws"])
        self.ledger.restore(saved["ledger"])


def _sgd_passes(training: TrainingPart) -> int:
    """Return SGD's FLOPs per parameter and step: two each for the update, weight decay, momentum and Nesterov."""
    momentum = training.momentum > 0
    return 2 * (1 + (training.weight_decay > 0) + momentum + (momentum and training.nesterov))


def _compiled_graphs() -> int:
    """Return how many graphs torch.compile has made in this process, without importing its slow-loading modules."""
    compiler = sys.modules.get("torch._dynamo.utils")
    return compiler.counters["stats"]["unique_graphs"] if compiler else 0
