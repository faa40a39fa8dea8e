"""Measuring accuracy without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.data.feed.batches import HeldOutImages
from bench.training.device import autocast
from bench.training.ranks import ALONE, World

_BATCH = 1000  # images of up to 32 x 32 pixels
# Fewer of larger images, whose activations would take gigabytes. Device type -> pixels in a batch.
_BATCH_PIXELS = {"cpu": 1 << 19, "cuda": 1 << 24}


@dataclass(frozen=True)
class Accuracy:
    """Fractions of images predicted correctly, over all images, the old ones and the new ones; None if there are none."""

    all: float
    old: float | None
    new: float | None


def measure(
    model: nn.Module,
    heads: Sequence[nn.Module],
    images: HeldOutImages,
    classes: int,
    precision: str,
    device: torch.device,
    world: World = ALONE,
) -> Accuracy:
    """Return the accuracy of `model` over the first `classes` of its head. Leaves weights, buffers and mode unchanged.

    heads: the layers that return logits. They compute in float32 whatever the precision: bfloat16 has 8 bits, so that the largest
    logits are often equal, and the first of them would be chosen, which favours old classes over new ones. world: the ranks that
    measure it together, batch by batch in turn.
    """
    counts = _counts(model, heads, images, images.new.long(), 2, classes, precision, device, world)
    (old_right, new_right), (old, new_) = counts
    return Accuracy(
        all=(old_right + new_right) / (old + new_),
        old=old_right / old if old else None,
        new=new_right / new_ if new_ else None,
    )


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
    right, seen = _counts(model, heads, images, images.labels, classes, classes, precision, device)
    return right, seen


def _counts(
    model: nn.Module,
    heads: Sequence[nn.Module],
    images: HeldOutImages,
    groups: Tensor,
    number: int,
    classes: int,
    precision: str,
    device: torch.device,
    world: World = ALONE,
) -> list[list[int]]:
    """Return, for each of `number` groups of images, how many are predicted correctly and how many there are.

    groups: int64 (images,), on the device. Waits for the device only at the end, once.
    """
    counts = torch.zeros(2, number, dtype=torch.int64, device=device)
    counts[1].index_add_(0, groups, torch.ones_like(groups))
    start = 0
    with _measuring(model, heads, precision, device):
        for number, (pixels, labels, _) in enumerate(images.batches(_batch(images, device))):
            if number % world.size == world.rank:
                hits = model(pixels)[:, :classes].argmax(1) == labels
                counts[0].index_add_(0, groups[start : start + len(labels)], hits.long())
            start += len(labels)
    world.sum([counts[0]])
    return counts.tolist()


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
        return _BATCH
    return max(1, min(_BATCH, _BATCH_PIXELS[device.type] // (height * width)))
