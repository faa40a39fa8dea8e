"""Measuring accuracy without changing anything; in a trial, with batches recorded once and replayed, where its steps are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.data.feed.batches import HeldOutImages
from bench.training.device import autocast
from bench.training.ranks import ALONE, World
from bench.training.step import RecordedStep, Recorder

# Images of up to 32 x 32 pixels, by device type. Activations of more leave a CPU's cache: resnet8 at 28 px predicted 6,100 images
# per CPU second in batches of 250, and 3,700 in batches of 1,000, with the same logits, bit for bit.
_BATCH = {"cpu": 250, "cuda": 1000}
# Fewer of larger images, whose activations would take gigabytes. Device type -> pixels in a batch.
_BATCH_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 24}


@dataclass(frozen=True)
class Accuracy:
    """Fractions of images predicted correctly, over all images, the old ones and the new ones; None if there are none."""

    all: float
    old: float | None
    new: float | None


class Evaluation:
    """Measures one model's accuracy over the first `classes` of its head, as often as asked. Leaves weights, buffers and mode
    unchanged.

    heads: the layers that return logits. They compute in float32 whatever the precision: bfloat16 has 8 bits, so that the largest
    logits are often equal, and the first of them would be chosen, which favours old classes over new ones.
    """

    def __init__(
        self,
        model: nn.Module,
        heads: Sequence[nn.Module],
        classes: int,
        precision: str,
        device: torch.device,
        recorder: Recorder | None = None,
        world: World = ALONE,
    ) -> None:
        """recorder: records, in `prepare`, a batch of each size, to be replayed; None: batches run operator by operator.

        world: the ranks that measure together, batch by batch in turn.
        """
        self._model, self._heads, self._classes = model, heads, classes
        self._precision, self._device = precision, device
        self._recorder = recorder
        self._world = world
        self._right = torch.zeros(2, dtype=torch.int64, device=device)  # of the old images, and of the new ones
        self._recorded: dict[tuple[int, ...], RecordedStep] = {}

    def prepare(self, parts: Sequence[HeldOutImages]) -> None:
        """Let libraries choose their kernels, and record, on blank images, for each size of batch that these are measured in.

        Raises StepError if a batch is to be recorded and cannot be.
        """
        for batch in _blank(parts, self._device).values():
            # On a CPU, kernels are chosen without trying them, and a whole batch may take as long as some steps.
            first = slice(1 if self._device.type == "cpu" else None)
            with self._measuring():
                self._count(*(each[first] for each in batch))
            if self._recorder is not None:
                self._recorded[batch[0].shape] = RecordedStep(self._count_alone, batch, self._recorder)

    def __call__(self, parts: Sequence[HeldOutImages]) -> list[Accuracy]:
        """Return the accuracy over each part. Waits for the device only at the end, once."""
        found = []
        with torch.inference_mode() if self._recorded else self._measuring():
            for images in parts:
                self._right.zero_()
                for number, (pixels, labels, new) in enumerate(images.batches(_batch(images, self._device))):
                    if number % self._world.size != self._world.rank:
                        continue
                    count = self._recorded[pixels.shape] if self._recorded else self._count
                    count(pixels, labels, new.long())
                new = images.new.sum()
                found += [self._right.clone(), torch.stack([len(images) - new, new])]
        right, seen = torch.stack(found[::2]), torch.stack(found[1::2])
        self._world.sum([right])
        return [_accuracy(*counts) for counts in zip(*torch.stack([right, seen]).tolist(), strict=True)]

    def _measuring(self) -> AbstractContextManager[None]:
        return _measuring(self._model, self._heads, self._precision, self._device)

    def _count_alone(self, pixels: Tensor, labels: Tensor, groups: Tensor) -> None:
        with self._measuring():
            self._count(pixels, labels, groups)

    def _count(self, pixels: Tensor, labels: Tensor, groups: Tensor) -> None:
        """Count a batch's correct predictions. groups: int64 (batch,), 1 for new images and 0 for old ones."""
        self._right.index_add_(0, groups, _hits(self._model, pixels, labels, self._classes))


def measure(
    model: nn.Module,
    heads: Sequence[nn.Module],
    images: HeldOutImages,
    classes: int,
    precision: str,
    device: torch.device,
    world: World = ALONE,
) -> Accuracy:
    """Return the accuracy of `model`, once; see Evaluation."""
    return Evaluation(model, heads, classes, precision, device)([images])[0]


def measure_classes(
    model: nn.Module,
    heads: Sequence[nn.Module],
    images: HeldOutImages,
    classes: int,
    precision: str,
    device: torch.device,
) -> tuple[list[int], list[int]]:
    """Return, for each of the first `classes`, how many of its images are predicted correctly and how many there are.

    As `measure` does it.
    """
    counts = torch.zeros(2, classes, dtype=torch.int64, device=device)
    with _measuring(model, heads, precision, device):
        for pixels, labels, _ in images.batches(_batch(images, device)):
            counts[0].index_add_(0, labels, _hits(model, pixels, labels, classes))
            counts[1].index_add_(0, labels, torch.ones_like(labels))
    right, seen = counts.tolist()
    return right, seen


def _hits(model: nn.Module, pixels: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return which images are predicted correctly, int64 (batch,), 1 or 0."""
    return (model(pixels)[:, :classes].argmax(1) == labels).long()


def _accuracy(right: Sequence[int], seen: Sequence[int]) -> Accuracy:
    """right, seen: of the old images, and of the new ones."""
    return Accuracy(
        all=sum(right) / sum(seen),
        old=right[0] / seen[0] if seen[0] else None,
        new=right[1] / seen[1] if seen[1] else None,
    )


def _blank(
    parts: Sequence[HeldOutImages], device: torch.device
) -> dict[tuple[int, ...], tuple[Tensor, Tensor, Tensor]]:
    """Return a batch of black images for each shape that batches of these parts have: (pixels, labels, groups)."""
    found = {}
    for images in parts:
        most, (channels, height, width) = _batch(images, device), images.image_shape
        for size in {min(most, len(images)), len(images) % most} - {0}:
            raw = torch.zeros(size, height, width, channels, dtype=torch.uint8, device=device)
            pixels, labels = (
                images.normalize(raw.permute(0, 3, 1, 2)),
                torch.zeros(size, dtype=torch.int64, device=device),
            )
            found[pixels.shape] = pixels, labels, labels.clone()
    return found


@contextmanager
def _measuring(model: nn.Module, heads: Sequence[nn.Module], precision: str, device: torch.device) -> Iterator[None]:
    """Let a model predict, without gradients and its heads in float32; then restore the mode of each of its parts."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.inference_mode(), autocast(device, precision), _in_float32(heads, device):
        yield
    for module, training in modes:
        module.training = training


@contextmanager
def _in_float32(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Let these modules compute in float32, inside an autocast to something else."""
    with ExitStack() as stack:
        for module in modules:
            usual, own = module.forward, vars(module).get("forward")

            def exact(x: Tensor, usual: Callable[[Tensor], Tensor] = usual) -> Tensor:
                with torch.autocast(device.type, enabled=False):
                    return usual(x.float())

            module.forward = exact
            if own is None:
                stack.callback(delattr, module, "forward")
            else:
                stack.callback(setattr, module, "forward", own)
        yield


def _batch(images: HeldOutImages, device: torch.device) -> int:
    _, height, width = images.image_shape
    if height * width <= 32 * 32:
        return _BATCH[device.type]
    return max(1, min(_BATCH[device.type], _BATCH_PIXELS[device.type] // (height * width)))
