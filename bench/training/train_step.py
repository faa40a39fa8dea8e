"""One optimizer step in each phase of a trial: what it reads and writes, its warm-up, and its recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.sgd import sgd

from bench.data.feed.update import Update
from bench.metering.formulas import exact_counter
from bench.scenario import TrainingPart
from bench.strategies.strategy import Strategy, running
from bench.streams import torch_stream
from bench.training.device import autocast
from bench.training.draws import LentGenerators
from bench.training.losses import ImageLosses
from bench.training.objectives import Hooks
from bench.training.phases import Phase, set_modes
from bench.training.ranks import World, unchanged
from bench.training.step import RecordedStep, Recorder, StepError, is_compilers
from bench.training.teaching import OldPredictions

_WARM_UP_STEPS = 2


class TrainStep:
    """Takes optimizer steps. What a step reads and writes stays where it is in memory, so that a recorded one can be replayed.

    loss: (), the sum of the steps' losses. seen: float32 (2, images), per image of the pool how often the training passes saw it,
    and how often they predicted it correctly. names: of the parameters that each phase trains. momentum, anchors (of the
    regularizer): by parameter; empty where there is none.
    """

    def __init__(
        self,
        model: nn.Module,
        phases: Sequence[Phase],
        update: Update,
        strategy: Strategy,
        training: TrainingPart,
        device: torch.device,
        recorder: Recorder | None,
        world: World,
        *,
        losses: ImageLosses | None,
        old: OldPredictions | None,
        hooks: Hooks | None,
    ) -> None:
        """losses: of each image, if asked for. old: the old model, if it teaches. hooks: of an objective, if it has any."""
        self._model, self._phases, self._training = model, phases, training
        self._regularizer = strategy.regularizer
        self._classes, self._image_shape = update.classes, update.train.image_shape
        self._device, self._world = device, world
        share = world.share(training.batch_size)
        self._share = share.stop - share.start
        self._losses, self._old, self._hooks = losses, old, hooks
        parameters = dict(model.named_parameters())
        anchored = parameters if strategy.regularizer.anchor else {}
        self.anchors = {name: torch.zeros_like(parameter) for name, parameter in anchored.items()}
        self.seen = torch.zeros(2, len(update.pool), dtype=torch.float32, device=device)
        self.loss = torch.zeros((), device=device)
        self._shown, self._hits = self.seen
        self._once = torch.ones(self._share, device=device)
        on_device = device.type != "cpu" or recorder is not None
        # A number in a recorded step would stay what it was.
        self._rate = torch.tensor(training.learning_rate, device=device) if on_device else training.learning_rate
        with_momentum = parameters if training.momentum > 0 else {}
        self.momentum = {name: torch.zeros_like(parameter) for name, parameter in with_momentum.items()}
        self.names = [self._names_of(phase) for phase in phases]
        self._recorder = recorder
        self._recorded: dict[int, RecordedStep] = {}

    def __call__(self, number: int, inputs: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Take one step of a phase, as it was recorded if it was. Never waits for the device."""
        step = self._recorded.get(number) or partial(self._take, number)
        step(inputs, labels, indices)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(rate)
        else:
            self._rate = rate

    def prepare(self, number: int) -> None:
        """Compile, let libraries choose their kernels, and record a phase's step, on made-up images, inside `pretending`.

        Raises StepError if it is to be compiled or recorded and cannot be.
        """
        phase = self._phases[number]
        set_modes(phase, self._model)
        batch = self._made_up(phase.inputs)
        with unchanged(self._model, self._device) if self._world.size > 1 else nullcontext():
            self._warm_up(number, batch)
        if self._recorder is not None:
            self._recorded[number] = RecordedStep(partial(self._take, number), batch, self._recorder)

    @contextmanager
    def pretending(self) -> Iterator[None]:
        """Take steps on made-up images; then restore every weight and buffer, and all that steps add up."""
        before = {key: value.clone() for key, value in self._model.state_dict().items()}
        if self._hooks is not None and self._hooks.needs_images and self._hooks.images is None:
            self._hooks.images = self._made_up(self._image_shape)[0]
        with LentGenerators(self._device, 0, "made-up draws").lent():
            yield
        self._model.train()
        self._model.load_state_dict(before)
        for total in (self.loss, self.seen, *self.momentum.values()):
            total.zero_()
        if self._losses is not None:
            self._losses.forget()
        if self._hooks is not None:
            self._hooks.forget()

    def _warm_up(self, number: int, batch: tuple[Tensor, Tensor, Tensor]) -> None:
        try:
            for _ in range(_WARM_UP_STEPS):
                self._take(number, *batch)
        except RuntimeError as cause:
            if not is_compilers(cause):
                raise
            reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
            raise StepError(
                "compiled",
                reason,
                f"the model cannot be compiled ({reason}), expected one without control flow that depends on values. Run it "
                "with --step eager.",
            ) from cause

    def _made_up(self, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return made-up inputs of a batch, their labels and their indices, on the device. shape: of one image's input."""
        stream = torch_stream(0, "made-up images")
        shape = (self._share, *shape)
        inputs = torch.randn(shape, generator=stream).to(self._device)
        if inputs.dim() == 4:  # as the batches to come, also of one channel, where contiguous() would leave the strides
            inputs = inputs.to(memory_format=torch.channels_last)
        labels = torch.randint(self._classes, (shape[0],), generator=stream)
        return inputs, labels.to(self._device), (torch.arange(shape[0]) % self.seen.shape[1]).to(self._device)

    def count_hooks(self, hooks: Hooks) -> None:
        """Count what a step of each phase costs with the hooks of the objective and without them, on made-up images."""
        for number, phase in enumerate(self._phases):
            set_modes(phase, self._model)
            batch = self._made_up(phase.inputs)
            counted = []
            for each in (hooks, None):
                with exact_counter() as counter:
                    self._set_gradients(phase.eager, self.names[number], batch, each)
                counted.append(counter.get_total_flops())
            hooks.charge(number, counted[0], counted[1], len(batch[0]) * phase.step.image + phase.step.batch)

    def _take(self, number: int, inputs: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Take one optimizer step of a phase, and add up on the device what it finds out. Never waits for the device."""
        loss, logits = self._set_gradients(
            self._phases[number], self.names[number], (inputs, labels, indices), self._hooks
        )
        self._descend(number)
        self.loss += loss
        hits = logits.argmax(1) == labels
        self._shown.index_add_(0, indices, self._once)
        self._hits.index_add_(0, indices, hits.float())

    def _set_gradients(
        self, phase: Phase, names: Sequence[str], batch: tuple[Tensor, Tensor, Tensor], hooks: Hooks | None
    ) -> tuple[Tensor, Tensor]:
        """Set the gradient of every parameter that is trained, as the optimizer will see it, and return what a step finds out.

        names: of these parameters. batch: (inputs, labels, indices). Returns (loss, logits of the classes seen).
        """
        inputs, labels, indices = batch
        with autocast(self._device, self._training.precision):
            found = phase.forward(inputs)
        logits, features = found if phase.stages else (found, ())
        logits = (logits if logits.shape[1] == self._classes else logits[:, : self._classes]).float()
        smoothing = self._training.label_smoothing
        whole, shown = None, None
        if self._losses is None and hooks is None:
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        else:
            losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
            losses = losses if self._losses is None else self._losses.weighed(losses, indices)
            loss = losses.mean()
            if hooks is not None:
                named = dict(zip(phase.stages, features, strict=True))
                whole, shown = hooks.loss(phase, inputs, labels, indices, logits, losses, named)
        for parameter in phase.parameters:
            parameter.grad = None
        whole = loss if whole is None else whole
        taught = whole + self._old.loss(logits, indices) if self._old is not None else whole
        if (
            self._world.size > 1
        ):  # means over a share of the batch, weighed so that the ranks' sum is the mean over all of it
            share = len(labels) / self._training.batch_size
            loss, taught = share * loss, share * taught
            taught.backward()
            self._world.add_up(phase, share, self._training.batch_norm == "local")
        else:
            taught.backward()
        regularizer = self._regularizer
        with running(regularizer):
            anchors = [self.anchors[name] for name in names] if self.anchors else []
            regularizer.apply(phase.parameters, anchors)
        if hooks is not None and shown is not None:
            pairs = zip(names, phase.parameters, strict=True)
            hooks.adjust({name: each.grad for name, each in pairs if each.grad is not None}, shown)
        return loss.detach(), logits.detach()

    def _names_of(self, phase: Phase) -> list[str]:
        names = {id(parameter): name for name, parameter in self._model.named_parameters()}
        return [names[id(parameter)] for parameter in phase.parameters]

    @torch.no_grad()
    def _descend(self, number: int) -> None:
        """Take SGD's step, as torch.optim.SGD does after its hooks and lists, which show in the step of a small network."""
        pairs = zip(self.names[number], self._phases[number].parameters, strict=True)
        moved = [(name, parameter, parameter.grad) for name, parameter in pairs if parameter.grad is not None]
        training = self._training
        sgd(
            [parameter for _, parameter, _ in moved],
            [gradient for _, _, gradient in moved],
            [self.momentum.get(name) for name, _, _ in moved],
            fused=True,
            weight_decay=training.weight_decay,
            momentum=training.momentum,
            lr=self._rate,
            dampening=0.0,
            nesterov=training.nesterov and training.momentum > 0,
            maximize=False,
        )
