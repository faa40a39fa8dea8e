"""What learns in a trial: model, optimizer, the order of images, and the ledger that adds up what they cost."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.data.feed.batches import Pool
from bench.data.feed.features import KeptFeatures
from bench.data.feed.update import Update
from bench.errors import StrategyError, TrialError
from bench.interrupts import asked
from bench.metering.flops import FlopCount, StepFlops
from bench.metering.ledger import Ledger
from bench.models import build_model
from bench.models.build import head_keys
from bench.models.stages import Parts, find_stages
from bench.strategies.objective import CrossEntropy, Setting
from bench.strategies.start import BeforeDecay, GradientStart
from bench.strategies.strategy import running
from bench.streams import torch_stream
from bench.training.average import Average
from bench.training.batching import BatchOrder
from bench.training.counted import count_built, made_of, sgd_passes
from bench.training.draws import LentGenerators
from bench.training.evaluate import Evaluation
from bench.training.gradients import mean_gradient
from bench.training.grid import scratch_steps, trial_steps
from bench.training.heads import body_before_head, fit_head
from bench.training.holdout import holdout_steps, image_losses, irreducible_losses
from bench.training.losses import ImageLosses
from bench.training.objectives import Hooks
from bench.training.phases import Inputs, Phase, keep_features, plan_phases, set_modes
from bench.training.ranks import ALONE, World, on_every_rank, synchronize_norms
from bench.training.spec import Base, TrialSpec
from bench.training.step import Recorder
from bench.training.teaching import OldPredictions
from bench.training.train_step import TrainStep

_WARM_UP_STEPS = 2


class Learner:
    """Trains a model on an update. Knows neither clock nor record, so that an audit can take the same steps.

    ledger: what it has cost so far. total_steps: to the end of the horizon. scratch_steps: scratch's whole budget.
    """

    def __init__(
        self,
        spec: TrialSpec,
        update: Update,
        base: Base | None,
        device: torch.device,
        compiled: bool,
        folder: Path | None = None,
        recorder: Recorder | None = None,
        world: World = ALONE,
    ) -> None:
        """folder: for a memory-mapped file of kept features, where they do not fit in memory; None: the system's own.

        recorder: records each phase's step in `prepare`, to be replayed; None: steps run operator by operator.
        world: the ranks that train together, each with a learner, of which this is one.
        """
        strategy = spec.entrant.strategy
        self._strategy = strategy
        self._training = spec.scenario.training
        self._update = update
        self._base = base
        self._device = device
        self._world = world
        self._folder = folder
        channels, height, width = update.train.image_shape
        stream = "update" if spec.update else "base"
        name = spec.scenario.model.name
        model = build_model(name, channels, update.head, spec.stream_seed, stream, height)
        self.flops: FlopCount = count_built(model, name, (channels, height, width), update.head)
        self._model = model.to(device)
        self.ledger = Ledger(self.flops, sum(p.numel() for p in self._model.parameters()))
        self.scratch_steps = scratch_steps(spec.scenario, update.reference_images)
        self.total_steps = trial_steps(self.scratch_steps, spec.horizon)
        self._rates = self._learning_rates()
        self._average = Average(strategy.averaging, self._model, self.total_steps)
        stages = find_stages(self._model, head_keys(name, channels, update.head, height))
        self._parts = Parts(self._model, stages, made_of(name, (channels, height, width), update.head))
        self._heads = [self._model.get_submodule(module) for module in self._parts.stages[-1].modules]
        self.phases = plan_phases(
            strategy.freezing,
            self.total_steps,
            self._parts,
            update.train,
            StepFlops(self.flops.step, self.flops.batch),
            compiled,
            strategy.objective.stages,
        )
        self._body = body_before_head(self._parts, self.phases[0]) if strategy.head.images else None
        self._stores: list[KeptFeatures] = []  # of the present phase, each computed from the one before
        self.feature_bytes = 0  # the most that were kept at once
        speed = base.learning_speed if base else None
        if speed is not None:
            speed = torch.cat([speed, torch.full((len(update.pool) - len(speed),), math.nan)])
        pool = Pool(update.pool.labels, update.pool.new, speed)
        self._teaching = self._teacher_strengths()
        temperature = strategy.teacher.temperature
        self._old = (
            OldPredictions(pool, update.old_classes, temperature, device) if strategy.needs_predictions else None
        )
        self._pool = pool
        asks = getattr(strategy.selection, "needs_loss", False)
        self._losses = ImageLosses(len(pool), device) if asks else None
        self._hooks = self._made_hooks(compiled) if strategy.objective != CrossEntropy() else None
        self._done_before = 0  # steps that a replay takes as trained
        self._order = BatchOrder(
            update.train,
            pool,
            strategy.selection,
            self._training.batch_size,
            spec.stream_seed,
            self._losses,
            lambda: self._progress,
            world.share(self._training.batch_size),
        )
        self._decays_at = _first_fall(self._rates) if spec.keeps_before_decay else None
        self._before_decay: dict[str, Tensor] | None = None
        self._draws = LentGenerators(device, spec.stream_seed, "draws", stream)
        self._at = 0
        self._step = TrainStep(
            self._model,
            self.phases,
            update,
            strategy,
            self._training,
            device,
            recorder,
            world,
            losses=self._losses,
            old=self._old if any(self._teaching) else None,
            hooks=self._hooks,
        )
        self._evaluation = Evaluation(
            self._model, self._heads, update.classes, self._training.precision, device, recorder, world
        )
        self._stream = lambda *names: torch_stream(spec.stream_seed, "strategy", *names)
        self._holdout_epochs: int = getattr(strategy.selection, "holdout_epochs", 0)
        self._fresh = lambda number: build_model(
            spec.scenario.model.name, channels, update.head, spec.stream_seed, f"holdout {number}", height
        ).to(device)
        self._seed = spec.stream_seed
        if self._hooks is not None:
            with self._step.pretending():
                self._step.count_hooks(self._hooks)
        if world.size > 1 and self._training.batch_norm == "synchronized":
            synchronize_norms(self._model, world)

    @property
    def _progress(self) -> float:
        """Return the share of the trial's steps that are done."""
        return min(1.0, (self._done_before + self.ledger.steps) / self.total_steps)

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
        for step, factor in enumerate(factors):
            if not isinstance(factor, numbers.Real) or not 0 <= factor < math.inf:
                raise StrategyError(
                    f"{type(schedule).__name__}: factor {factor!r} at step {step}, expected a finite number of 0 or more. Fix it."
                )
        return [self._training.learning_rate * float(factor) for factor in factors]

    def _teacher_strengths(self) -> list[float]:
        teacher = self._strategy.teacher
        with running(teacher):
            strengths = list(teacher.strengths(self.total_steps))
            fine = len(strengths) == self.total_steps and all(0 <= strength < math.inf for strength in strengths)
        if not fine:
            raise StrategyError(
                f"{type(teacher).__name__}: strengths returned {len(strengths)} numbers for {self.total_steps} steps, "
                "expected one for each, 0 or more. Fix it."
            )
        return strengths

    def _made_hooks(self, compiled: bool) -> Hooks:
        update = self._update
        setting = Setting(
            Pool(update.pool.labels, update.pool.new, None),
            update.classes,
            update.old_classes,
            self._training.batch_size,
            self.total_steps,
            {name: value.shape for name, value in self._model.named_parameters()},
        )
        old = self._base.weights if self._base else None
        precision = self._training.precision
        return Hooks(self._strategy.objective, self._model, update, old, setting, precision, compiled)

    @on_every_rank
    def prepare(self) -> None:
        """Compile, let libraries choose their kernels, and record, on made-up images; then restore every weight and buffer.

        Raises StepError if a step is to be compiled or recorded and cannot be.
        """
        with self._step.pretending():
            for number in range(len(self.phases)):
                self._step.prepare(number)
            self._evaluation.prepare([self._update.validation, self._update.test])

    @on_every_rank
    def start(self) -> None:
        """Load the strategy's starting weights, begin the first phase, fit the head, and keep the regularizer's anchors."""
        strategy = self._strategy
        fresh = {key: value.clone() for key, value in self._model.state_dict().items()}
        base = {key: value.to(self._device) for key, value in self._old_weights().items()}
        names = frozenset(name for name, _ in self._model.named_parameters())
        if self._old is not None:
            old_weights = (
                {key: value.to(self._device) for key, value in self._base.weights.items()} if self._base else {}
            )
            images, precision = self._update.train, self._training.precision
            self._old.predict(self._model, images, old_weights, precision, self.ledger.charge_scoring)
            self._tell_old_losses()
        if self._holdout_epochs:
            self._measure_irreducible_losses()
        with running(strategy.start):
            weights = dict(strategy.start.weights(base, fresh, names, self.ledger.charge_parameters))
            self._model.load_state_dict(weights)
        if isinstance(strategy.start, GradientStart):
            old, new = (self._mean_gradient(arrived) for arrived in (False, True))
            with running(strategy.start):
                shrunk = strategy.start.by_gradients(weights, old, new, names, self.ledger.charge_parameters)
                self._model.load_state_dict(dict(shrunk))
        self.enter(0)
        if strategy.head.images:
            assert self._body is not None
            fit_head(strategy.head, self._body, self._inputs, self._update, self.ledger, self._stream)
        self._world.spread(
            list(self._model.state_dict().values())
        )  # each rank has made them by itself, perhaps on its own GPU
        sources = {"start": self._model.state_dict(), "fresh": fresh}
        for name, anchor in self._step.anchors.items():
            anchor.copy_(sources[str(strategy.regularizer.anchor)][name])
        if self._hooks is not None:
            self._hooks.begin(sources)

    def _tell_old_losses(self) -> None:
        if self._old is not None and getattr(self._strategy.selection, "needs_old_loss", False):
            self._pool = replace(self._pool, old_loss=self._old.losses())
            self._order.tell(self._pool)

    def _measure_irreducible_losses(self) -> None:
        images, classes, asker = self._update.train, self._update.classes, type(self._strategy.selection).__name__
        length, ledger = self._holdout_epochs, self.ledger
        with self._draws.lent():
            found = irreducible_losses(self._fresh, images, classes, self._training, length, self._seed, ledger, asker)
        self._tell_irreducible(found)

    def _tell_irreducible(self, losses: Tensor) -> None:
        self._pool = replace(self._pool, irreducible_loss=losses, present_loss=self._present_loss)
        self._order.tell(self._pool)

    def _present_loss(self, chosen: Tensor) -> Tensor:
        """Return the network's loss on each chosen image, float32 (count,), on the CPU, and charge the passes."""
        update, precision = self._update, self._training.precision
        found = image_losses(self._model, update.train, chosen, update.classes, precision, self.ledger)
        set_modes(self.phases[self._at], self._model)
        return found

    def _old_weights(self) -> Mapping[str, Tensor]:
        """Return the weights of the old model that the start is given; none if there is no old model."""
        if self._base is None:
            return {}
        if not isinstance(self._strategy.start, BeforeDecay):
            return self._base.weights
        if self._base.before_decay is None:
            raise StrategyError("BeforeDecay: the old model has no weights from before its decay. Choose Keep().")
        return self._base.before_decay

    def _mean_gradient(self, new: bool) -> Mapping[str, Tensor]:
        """Return the mean gradient over the old or the new images."""
        chosen = (self._update.pool.new == new).nonzero()[:, 0]
        with self._draws.lent():
            return mean_gradient(
                self._model, self._update.train, chosen, self._update.classes, self._training, self.ledger
            )

    @property
    def _inputs(self) -> Inputs:
        return self._stores[-1] if self._stores else self._update.train

    def enter(self, number: int) -> None:
        """Begin a phase: its features, and the parameters that it trains, with the momentum that they have."""
        phase, last, before = self.phases[number], self.phases[self._at], self._step.names[self._at]
        self._at = number
        if not (phase.kept and self._stores and phase.frozen > last.frozen):
            self._stores = []
        if phase.kept:
            charge = self.ledger.charge_features
            self._stores.append(keep_features(phase, self._inputs, self._training.precision, charge, self._folder))
            self.feature_bytes = max(self.feature_bytes, sum(store.bytes for store in self._stores))
        self._order.switch(self._inputs)
        for name, momentum in self._step.momentum.items():
            if name not in before:
                momentum.zero_()
        self.ledger.step = phase.step
        self.ledger.trained = sum(parameter.numel() for parameter in phase.parameters)

    def expected_share(self) -> float:
        """Return the FLOPs of model and head of the whole trial, as a share of what as many steps on the whole network cost.

        Assumes that the features of every image and mirror image are needed, or of one in each step if those are fewer, and that
        a head is fitted in all of its iterations.
        """
        return (self._expected_model_flops() + self._expected_fit_flops()) / (
            self.total_steps * (self._training.batch_size * self.flops.step + self.flops.batch)
        )

    def expected_flops(self) -> int:
        """Return the FLOPs of the whole trial: of the model, the optimizer, the regularizer and the averaging of weights.

        Assumes what expected_share does. Not in it: what the start and the fit of a head charge, once, besides their passes.
        """
        passes = sgd_passes(self._training) + self._passes
        trained = [(steps, sum(each.numel() for each in phase.parameters)) for phase, steps in self._phase_steps()]
        averaging = self._average.steps * self._average.flops
        return self._expected_model_flops() + averaging + passes * sum(steps * count for steps, count in trained)

    def _expected_model_flops(self) -> int:
        size = self._training.batch_size
        total = self._body.flops * min(self._strategy.head.images, len(self._update.pool)) if self._body else 0
        if isinstance(self._strategy.start, GradientStart):
            total += len(self._update.pool) * self.flops.step
        if self._old is not None:
            total += int((~self._update.pool.new).sum()) * self.flops.forward
        if self._holdout_epochs:
            steps = holdout_steps(len(self._update.pool), self._training, self._holdout_epochs)
            total += steps * (size * self.flops.step + self.flops.batch)
            scored = len(self._update.pool) + self.total_steps * size * getattr(self._strategy.selection, "scored", 0)
            total += round(scored * self.flops.forward)
        variants = 2 if self._training.flip else 1
        for number, (phase, steps) in enumerate(self._phase_steps()):
            total += steps * (size * phase.step.image + phase.step.batch + self.hook_flops(number))
            total += phase.pass_flops * min(variants * len(self._update.train), steps * size)
        return total

    def _expected_fit_flops(self) -> int:
        """Return what fitting the head is expected to cost, besides the passes of its images; 0 for a head that does not say."""
        expected = getattr(self._strategy.head, "expected_flops", None)
        if self._body is None or expected is None:
            return 0
        images = min(self._strategy.head.images, len(self._update.pool))
        return expected(images, self._body.head.in_features, self._update.classes)

    def hook_flops(self, number: int) -> int:
        """Return what the hooks of the objective run on networks in a step of a phase."""
        return self._hooks.flops[number] if self._hooks is not None else 0

    @property
    def _passes(self) -> int:
        """Return the strategy's FLOPs per trained parameter and step."""
        return self._strategy.regularizer.passes + self._strategy.objective.passes

    def _phase_end(self) -> int:
        """Return the step at which the present phase ends."""
        return self.phases[self._at + 1].begin if self._at + 1 < len(self.phases) else self.total_steps

    def _phase_steps(self) -> list[tuple[Phase, int]]:
        """Return each phase and how many steps it has."""
        ends = [*(phase.begin for phase in self.phases[1:]), self.total_steps]
        return [(phase, end - phase.begin) for phase, end in zip(self.phases, ends, strict=True)]

    @on_every_rank
    def train(self, steps: int) -> float:
        """Take `steps` optimizer steps, or fewer if a signal arrives, and return the sum of their losses.

        After fewer, the rest of them adds to the same sum. Waits for the device only at the end.
        """
        with self._draws.lent():
            return self._train(steps)

    def _train(self, steps: int) -> float:
        compiled, left = _compiled_graphs(), 0
        set_modes(self.phases[self._at], self._model)
        for left in reversed(range(steps)):
            self._take_step()
            if _compiled_graphs() != compiled:
                raise TrialError(
                    f"a graph was compiled on the clock at step {self.ledger.steps}, expected none after prepare: the "
                    "seconds are invalid. Run it with --no-compile, or report it with the model."
                )
            if left and self._world.any(asked()):
                break
        if self._hooks is not None:
            self._hooks.check(self.ledger.steps)
        self._world.collect([self._step.loss, self._step.seen])
        loss = self._step.loss.item()
        if not left:
            self._step.loss.zero_()
        return loss

    def _take_step(self) -> None:
        """Take the next step of the trial, which may begin a phase. Except then, and between epochs, it never waits."""
        if self.ledger.steps == self._decays_at:
            self._before_decay = {key: value.detach().clone() for key, value in self._model.state_dict().items()}
        while self._at + 1 < len(self.phases) and self.phases[self._at + 1].begin <= self.ledger.steps:
            self.enter(self._at + 1)
            set_modes(self.phases[self._at], self._model)
        inputs, labels, indices = self._order.next(self._phase_end() - self.ledger.steps)
        self._step.set_rate(self._rates[self.ledger.steps])
        if self._old is not None:
            self._old.strength.fill_(self._teaching[self.ledger.steps])
        if self._hooks is not None:
            self._hooks.progress.fill_(self._progress)
            if self._hooks.images is not None and self.phases[self._at].kept:
                self._hooks.images.copy_(self._order.again(self._update.train))
        self._step(self._at, inputs, labels, indices)
        self.ledger.charge_averaging(self._average.update(self.ledger.steps))
        self.ledger.charge_step(
            self._training.batch_size, sgd_passes(self._training), self._strategy.regularizer.passes
        )
        self.ledger.charge_objective(self.hook_flops(self._at), self._strategy.objective.passes)

    @on_every_rank
    def evaluate(self, with_test: bool) -> dict[str, float | None]:
        """Measure accuracy over all, old and new images, named as in a record's evaluation."""
        found: dict[str, float | None] = {}
        self._world.require_same_weights(self._model, self.ledger.steps)
        parts = {"validation": self._update.validation, **({"test": self._update.test} if with_test else {})}
        with self._average.in_place():
            measured = self._evaluation(list(parts.values()))
        for (part, images), accuracy in zip(parts.items(), measured, strict=True):
            self.ledger.charge_evaluation(len(images))
            found[f"{part}_accuracy"] = accuracy.all
            apart = self._update.new_is_apart
            found[f"{part}_accuracy_old"] = accuracy.old if apart else None
            found[f"{part}_accuracy_new"] = accuracy.new if apart else None
        return found

    def weights_are_finite(self) -> bool:
        """Return whether every parameter is finite. Waits for the device once."""
        return bool(torch.stack([each.detach().isfinite().all() for each in self._model.parameters()]).all())

    @property
    def selection_seconds(self) -> float:
        """Return the seconds spent choosing images; they are part of the training seconds."""
        return self._order.selection_seconds

    @property
    def epoch_steps(self) -> int:
        """Return the number of steps in the epoch begun last; it depends on the images selected."""
        return self._order.batches

    def seek(self, epoch: int) -> None:
        """Go to the first batch of an epoch, as if the earlier ones had been trained, each as long as the one begun last."""
        self.skip_to(epoch * self.epoch_steps)
        self._order.seek(epoch, 0)

    def skip_to(self, step: int) -> None:
        """Tell the strategy's pieces from here on that `step` steps are done."""
        self._done_before = min(step, self.total_steps) - self.ledger.steps

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict that is evaluated, on the CPU: a copy, also there."""
        with self._average.in_place():
            return {key: value.detach().cpu().clone() for key, value in self._model.state_dict().items()}

    def before_decay(self) -> dict[str, Tensor] | None:
        """Return the weights from before the learning rate began to fall, on the CPU; None unless they are kept.

        Those of the end, if it never fell.
        """
        if self._decays_at is None:
            return None
        kept = self._before_decay or self._model.state_dict()
        return {key: value.detach().cpu().clone() for key, value in kept.items()}

    def learning_speed(self) -> Tensor:
        """Return float32 (images,), see Pool; NaN for an image never seen."""
        seen, right = self._step.seen.cpu()
        return right / seen

    def state(self) -> dict[str, Any]:
        """Return everything that `restore` needs to resume bit-identically."""
        return {
            "model": self._model.state_dict(),
            "momentum": self._step.momentum,
            "anchors": self._step.anchors,
            "average": self._average.state(),
            "losses": self._losses.state() if self._losses else {},
            "before_decay": self._before_decay,
            "old": self._old.state() if self._old else {},
            "irreducible": self._pool.irreducible_loss,
            "objective": self._hooks.state() if self._hooks else {},
            "seen": self._step.seen,
            "loss": self._step.loss,
            "order": (self._order.epoch, self._order.position),
            "selection_seconds": self._order.selection_seconds,
            "draws": self._draws.state(),
            "phase": self._at,
            "charged": [store.passes() for store in self._stores],
            "ledger": self.ledger.state(),
        }

    @on_every_rank
    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go back to what `state` returned."""
        self._model.load_state_dict(saved["model"])
        for number in range(saved["phase"] + 1):
            self.enter(number)
        for mine, theirs in ((self._step.momentum, saved["momentum"]), (self._step.anchors, saved["anchors"])):
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])
        self._average.restore(saved.get("average", {}))  # not in checkpoints older than averaging
        self._step.seen.copy_(saved["seen"])
        self._step.loss.copy_(saved.get("loss", torch.zeros(())))  # older checkpoints were made at evaluations only
        if self._losses is not None:
            self._losses.restore(saved["losses"])
        self._before_decay = saved.get("before_decay")
        if self._old is not None:
            self._old.restore(saved["old"])
            self._tell_old_losses()
        if self._holdout_epochs:
            self._tell_irreducible(saved["irreducible"].cpu())
        if self._hooks is not None:
            self._hooks.restore(saved["objective"])
        self._order.resume(*saved["order"])
        self._order.selection_seconds += saved["selection_seconds"]
        self._draws.restore(saved["draws"])
        self.ledger.restore(saved["ledger"])
        for store, charged in zip(self._stores, saved["charged"], strict=True):
            store.restore(charged)
        self._world.keep_on_first([self._step.loss, self._step.seen])


def _first_fall(rates: Sequence[float]) -> int:
    """Return the first step whose learning rate is below the one before; their number if there is none."""
    return next((step for step in range(1, len(rates)) if rates[step] < rates[step - 1]), len(rates))


def _compiled_graphs() -> int:
    """Return how many graphs torch.compile has made in this process, without importing its slow-loading modules."""
    compiler = sys.modules.get("torch._dynamo.utils")
    return compiler.counters["stats"]["unique_graphs"] if compiler else 0
