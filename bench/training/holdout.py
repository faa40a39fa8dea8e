"""Irreducible losses: what networks that have not seen an image make of it, for selections that ask for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.feed.batches import TrainingImages
from bench.errors import StrategyError
from bench.metering.ledger import Ledger
from bench.scenario import TrainingPart
from bench.strategies.schedule import OneCycle
from bench.streams import torch_stream
from bench.training.counted import sgd_passes
from bench.training.device import autocast

_BATCH = 500  # images


def image_losses(
    model: nn.Module, images: TrainingImages, chosen: Tensor, classes: int, precision: str, ledger: Ledger
) -> Tensor:
    """Return the cross-entropy of each chosen image, without augmentation or smoothing: float32 (count,), on the CPU.

    chosen: int64 (count,), on the CPU. Charges a forward pass of each. Leaves the network in evaluation mode.
    """
    model.eval()
    images.expect(())
    found = []
    with torch.no_grad():
        for part in chosen.split(_BATCH):
            indices = part.to(images.device)
            with autocast(images.device, precision):
                logits = model(images.plain(indices))
            losses = F.cross_entropy(logits[:, :classes].float(), images.labels[indices], reduction="none")
            found.append(losses.cpu())
            ledger.charge_scoring(len(part))
    return torch.cat(found)


def holdout_steps(images: int, training: TrainingPart, epochs: int) -> int:
    """Return the optimizer steps of both networks together: whole batches of each half, `epochs` times."""
    halves = images // 2, images - images // 2
    return epochs * sum(half // training.batch_size for half in halves)


def irreducible_losses(
    fresh: Callable[[int], nn.Module],
    images: TrainingImages,
    classes: int,
    training: TrainingPart,
    epochs: int,
    seed: int,
    ledger: Ledger,
    asker: str,
) -> Tensor:
    """Return each image's loss by a network that was trained on the other half of the images: float32 (images,), on the CPU.

    fresh: builds a network by number, 0 and 1, on the device. Each trains as scratch does, with the scenario's settings and a
    one-cycle schedule, for `epochs` passes over its half, and is then thrown away. Charges their steps and the passes that score.
    asker: what asks for them, in words. Raises StrategyError if a half has no whole batch, or if a loss is
    not finite.
    """
    size, count = training.batch_size, len(images)
    if count // 2 < size:
        raise StrategyError(
            f"{asker}: half of {count} images is no batch of {size}, expected one at least. Choose another selection."
        )
    found = torch.empty(count)
    order = torch.randperm(count, generator=torch_stream(seed, "holdout halves"))
    halves = order[: count // 2], order[count // 2 :]
    for number, (seen, unseen) in enumerate((halves, halves[::-1])):
        model = fresh(number)
        _train(model, images, seen, classes, training, epochs, seed, number, ledger)
        found[unseen] = image_losses(model, images, unseen, classes, training.precision, ledger)
    if not bool(found.isfinite().all()):
        raise StrategyError(
            f"{asker}: a network trained on half of the images diverged, expected finite losses. Lower training.learning_rate."
        )
    return found


def _train(
    model: nn.Module,
    images: TrainingImages,
    seen: Tensor,
    classes: int,
    training: TrainingPart,
    epochs: int,
    seed: int,
    number: int,
    ledger: Ledger,
) -> None:
    """Train a network on its half of the images."""
    batches = len(seen) // training.batch_size
    factors = OneCycle(warmup=0.2).factors(epochs * batches)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        nesterov=training.nesterov and training.momentum > 0,
        weight_decay=training.weight_decay,
    )
    model.train()
    images.expect(())
    for epoch in range(epochs):
        generator = torch_stream(seed, "holdout order", number, epoch)
        indices = seen[torch.randperm(len(seen), generator=generator)][: batches * training.batch_size]
        # Draws of the trial's own epochs are numbered from 0 on.
        drawn = images.draw(len(indices), seed, -1 - number * epochs - epoch)
        for step, rows in enumerate(torch.arange(len(indices), device=images.device).split(training.batch_size)):
            optimizer.param_groups[0]["lr"] = training.learning_rate * factors[epoch * batches + step]
            part = indices[rows.cpu()].to(images.device)
            with autocast(images.device, training.precision):
                logits = model(images.batch(part, *(values[rows] for values in drawn)))
            loss = F.cross_entropy(
                logits[:, :classes].float(), images.labels[part], label_smoothing=training.label_smoothing
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            ledger.charge_pass(len(part))
            ledger.charge_parameters(sgd_passes(training))
