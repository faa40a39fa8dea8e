"""The loops that bench speed times: ours, a bare one and the one that people write.

bare: hand-written, on normalized float32 images that lie on the device; each batch is gathered in the order of a permutation, and
nothing else is done: no crop or flip, no schedule, no count of hits, no loss that is kept.
usual: a torchvision dataset of arrays, PIL transforms with the same crop and flip, a DataLoader with worker processes, and
`.item()` at every step, operator by operator.
Model, batch, precision, learning settings and device are the same in all three; in the first two, so is how steps run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from bench.data.feed.batches import HeldOutImages, Normalization, Pool, TrainingImages, pixel_statistics
from bench.data.feed.update import Update, augmentation
from bench.models import build_model, lay
from bench.records.speed import OperatorShare, ProfileFacts
from bench.scenario import DataPart, EvaluationPart, ModelPart, Scenario, Stage, TrainingPart
from bench.streams import numpy_stream
from bench.training.base import BASE
from bench.training.checkpoint import copied
from bench.training.device import autocast, choose_device, fix_threads
from bench.training.learner import Learner
from bench.training.spec import TrialSpec
from bench.training.step import CudaRecorder, RecordedStep, StepWay

WARM_UP_STEPS = 3
_HELD_OUT = 2_000
_EPOCHS = 50
_USUAL_WARM_UP_STEPS = 8  # until the workers are ahead, as they are most of an epoch
_OPERATORS = 8


@dataclass(frozen=True)
class Case:
    """A model and its images. image: (channels, height, width)."""

    model: str
    image: tuple[int, int, int]
    batch_size: int
    classes: int = 10

    @property
    def padding(self) -> int:
        """Pixels of padding for random crops: 4 of 32, as is usual, and as large a share of others."""
        return self.image[1] // 8


CASES: dict[str, Case] = {
    "mlp": Case("mlp", (1, 28, 28), 128),
    "resnet8-12": Case("resnet8", (1, 12, 12), 128),
    "resnet8-28": Case("resnet8", (1, 28, 28), 128),
    "resnet8-32": Case("resnet8", (3, 32, 32), 128),
    "resnet18-32": Case("resnet18-cifar", (3, 32, 32), 256),
    "vit-tiny-32": Case("vit-tiny", (3, 32, 32), 128),
}


class Loop(Protocol):
    """A way to train."""

    def run(self, steps: int) -> Spent:
        """Take steps, and return what they took, the device's time included."""
        ...


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and CPU seconds of all threads, and of processes that were started for it and have ended."""

    seconds: float
    cpu_seconds: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


class Watch:
    """Measures from when it is made; waits for the device then and when it is read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wait()
        self._begun, self._cpu = time.perf_counter(), cpu_so_far()

    def read(self) -> Spent:
        self._wait()
        return Spent(time.perf_counter() - self._begun, cpu_so_far() - self._cpu)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def cpu_so_far() -> float:
    """Return the CPU seconds of this process and of those that it started and that have ended."""
    times = os.times()  # in hundredths of a second, which is enough for processes
    return time.process_time() + times.children_user + times.children_system


def ready(device: str, threads: int | None) -> torch.device:
    """Choose the device and settle threads and kernels, as a trial does. Raises DeviceError."""
    fix_threads(threads)
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False
    return chosen


def scenario_of(case: Case, precision: Literal["fp32", "bf16"]) -> Scenario:
    """Return a scenario of this model. Its set does not exist: its images are made up."""
    training = TrainingPart(
        epochs=_EPOCHS,
        batch_size=case.batch_size,
        learning_rate=1e-3,  # on noise: nothing is learned, and nothing diverges
        momentum=0.9,
        weight_decay=5e-4,
        label_smoothing=0.1,
        precision=precision,
        crop_padding=case.padding,
        flip=True,
    )
    return Scenario(
        name="speed",
        title="Made-up images",
        kind="data-incremental",
        data=DataPart(set="made-up", validation_share=0.1),
        stages=(Stage(share=0.5), Stage(share=0.5)),
        model=ModelPart(name=case.model),
        training=training,
        evaluation=EvaluationPart(points=1, test_every=1),
    )


def made_up_update(
    case: Case, scenario: Scenario, images: int, device: torch.device
) -> tuple[Update, np.ndarray, np.ndarray]:
    """Return an update of noise on the device, and its training images, uint8 (images, height, width, channels), and labels."""
    channels, height, width = case.image
    stream = numpy_stream(0, "speed")
    held_out = min(images, _HELD_OUT)
    pixels = stream.integers(256, size=(images, height, width, channels), dtype=np.uint8)
    labels = stream.integers(case.classes, size=images)
    normalize = Normalization(*pixel_statistics(torch.from_numpy(pixels)), device)
    raw, truth = torch.from_numpy(pixels).to(device), torch.from_numpy(labels)
    held = HeldOutImages(raw[:held_out], truth[:held_out], torch.zeros(held_out, dtype=torch.bool), normalize, device)
    update = Update(
        number=1,
        classes=case.classes,
        old_classes=case.classes,
        head=case.classes,
        train=TrainingImages(raw, truth, normalize, augmentation(scenario.training), device),
        pool=Pool(truth, torch.zeros(images, dtype=torch.bool), None),
        indices=np.arange(images),
        reference_images=images,
        old_share=1.0,
        validation=held,
        test=held,
        new_is_apart=False,
    )
    return update, pixels, labels


class Ours:
    """The step of a trial, from the order of images to the counts of hits."""

    def __init__(self, scenario: Scenario, update: Update, way: StepWay, device: torch.device) -> None:
        """Raises StepError if steps cannot run this way."""
        recorder = CudaRecorder(device) if way.mode == "graph" else None
        self._device = device
        spec = TrialSpec(scenario, BASE, 1, 0)
        self.learner = Learner(spec, update, None, device, way.compiled, recorder=recorder)
        self.learner.prepare()
        self.learner.start()
        self._beginning = copied(self.learner.state())

    def run(self, steps: int) -> Spent:
        learner, spent = self.learner, Spent(0.0, 0.0)
        while steps:
            left = learner.total_steps - learner.ledger.steps
            if not left:
                learner.restore(self._beginning)
                continue
            part = min(steps, left)
            watch = Watch(self._device)
            learner.train(part)
            spent += watch.read()
            steps -= part
        return spent

    def evaluate(self) -> float:
        """Return the seconds of an evaluation on the validation images."""
        watch = Watch(self._device)
        self.learner.evaluate(with_test=False)
        return watch.read().seconds

    def profile(self, steps: int) -> ProfileFacts:
        """Profile some steps."""
        on_gpu = self._device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        self.run(WARM_UP_STEPS)
        with profile(activities=activities) as found:
            wall = self.run(steps).seconds
        times = {event.key: (event.self_cpu_time_total, event.self_device_time_total) for event in found.key_averages()}
        host, device = (sum(each[place] for each in times.values()) / 1e6 for place in (0, 1))
        total = sum(each[on_gpu] for each in times.values())
        most = sorted(times, key=lambda key: -times[key][on_gpu])[:_OPERATORS]
        return ProfileFacts(
            steps=steps,
            wall_seconds=wall / steps,
            host_seconds=host / steps,
            device_seconds=device / steps if on_gpu else None,
            operators=tuple(OperatorShare(name=key[:80], share=times[key][on_gpu] / total) for key in most if total),
        )


def _new_model(case: Case, device: torch.device) -> nn.Module:
    channels, height, _ = case.image
    return build_model(case.model, channels, case.classes, 0, "speed", height).to(device)


def _sgd(scenario: Scenario, model: nn.Module, *, fused: bool | None) -> torch.optim.SGD:
    training = scenario.training
    return torch.optim.SGD(
        model.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        nesterov=training.nesterov,
        weight_decay=training.weight_decay,
        fused=fused,
    )


class Bare:
    """The least that trains: gather, forward, backward, step."""

    def __init__(
        self,
        case: Case,
        scenario: Scenario,
        update: Update,
        pixels: np.ndarray,
        labels: np.ndarray,
        way: StepWay,
        device: torch.device,
    ) -> None:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
        self._images = torch.cat([update.train.normalize(part) for part in images.split(1000)])
        self._labels = torch.from_numpy(labels).to(device)
        self._size, self._device = case.batch_size, device
        model = _new_model(case, device).train()
        optimizer = _sgd(scenario, model, fused=True)
        # Compiled as in a trial: a whole graph.
        forward = torch.compile(model, fullgraph=True) if way.compiled else model
        precision, smoothing = scenario.training.precision, scenario.training.label_smoothing

        def step(inputs: Tensor, labels: Tensor, _: Tensor) -> None:
            optimizer.zero_grad()
            with autocast(device, precision):
                logits = forward(inputs)
            F.cross_entropy(logits.float(), labels, label_smoothing=smoothing).backward()
            optimizer.step()

        self._step = step
        if way.mode == "graph":
            first = torch.arange(self._size, device=device)
            batch = self._images[first], self._labels[first], first
            for _ in range(WARM_UP_STEPS):
                step(*batch)
            self._step = RecordedStep(step, batch, CudaRecorder(device))
        self._order = iter(self._batches())

    def _batches(self) -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(self._images), device=self._device)
            for begin in range(0, len(order) - self._size + 1, self._size):
                yield order[begin : begin + self._size]

    def run(self, steps: int) -> Spent:
        watch = Watch(self._device)
        for _ in range(steps):
            chosen = next(self._order)
            self._step(self._images[chosen], self._labels[chosen], chosen)
        return watch.read()


class Usual:
    """The loop that people write."""

    def __init__(
        self,
        case: Case,
        scenario: Scenario,
        update: Update,
        pixels: np.ndarray,
        labels: np.ndarray,
        workers: int,
        device: torch.device,
    ) -> None:
        from torchvision import transforms

        normalize = update.train.normalize
        transform = transforms.Compose(
            [
                transforms.RandomCrop(case.image[1], padding=case.padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(normalize.unit_mean, normalize.unit_std),
            ]
        )
        self._dataset = partial(_as_dataset, pixels, labels, transform)
        self._size, self._workers, self._device = case.batch_size, workers, device
        self._model = lay(_new_model(case, device), torch.contiguous_format).train()
        self._optimizer = _sgd(scenario, self._model, fused=None)
        self._precision, self._smoothing = scenario.training.precision, scenario.training.label_smoothing

    def run(self, steps: int) -> Spent:
        # A loader of this round's batches: between rounds its workers are gone, so that they disturb no one.
        whole = watch = Watch(self._device)
        loader = torch.utils.data.DataLoader(
            self._dataset((steps + _USUAL_WARM_UP_STEPS) * self._size),
            batch_size=self._size,
            shuffle=True,
            drop_last=True,
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        total = 0.0
        criterion = nn.CrossEntropyLoss(label_smoothing=self._smoothing)
        for number, (inputs, labels) in enumerate(loader):
            if number == _USUAL_WARM_UP_STEPS:
                watch = Watch(self._device)
            inputs, labels = inputs.to(self._device), labels.to(self._device)
            self._optimizer.zero_grad()
            with autocast(self._device, self._precision):
                loss = criterion(self._model(inputs), labels)
            loss.backward()
            self._optimizer.step()
            total += loss.item()
        seconds = watch.read().seconds
        # The workers have ended, and only now is their CPU time known: that of all steps, those before the clock included.
        return Spent(seconds, whole.read().cpu_seconds * steps / (steps + _USUAL_WARM_UP_STEPS))


def _as_dataset(pixels: np.ndarray, labels: Sequence[int] | np.ndarray, transform: Any, length: int) -> Any:
    """Return arrays as torchvision's CIFAR10 gives them, begun again after their end: PIL images, transformed, and labels."""
    from PIL import Image
    from torchvision.datasets import VisionDataset

    class Arrays(VisionDataset):
        def __len__(self) -> int:
            return length

        def __getitem__(self, index: int) -> tuple[Any, int]:
            image = Image.fromarray(pixels[index % len(pixels)].squeeze())
            return transform(image), int(labels[index % len(pixels)])

    return Arrays("")
