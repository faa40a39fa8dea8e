"""The mean gradient over images, for starts that ask for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data.feed.batches import TrainingImages
from bench.metering.ledger import Ledger
from bench.scenario import TrainingPart
from bench.training.device import autocast


def mean_gradient(
    model: nn.Module, images: TrainingImages, chosen: Tensor, classes: int, training: TrainingPart, ledger: Ledger
) -> Mapping[str, Tensor]:
    """Return the mean over images of the loss's gradient, by parameter.

    chosen: int64 indices, on the CPU; not empty. Images are not augmented; batch norm uses each batch's own statistics, as in
    training. Leaves weights, buffers and mode as they were. Charges a forward and backward pass of each image, and two FLOPs a
    parameter and batch.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    parameters = dict(model.named_parameters())
    mean = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    mode = model.training
    model.train()
    for part in chosen.split(training.batch_size):
        indices = part.to(images.device)
        with autocast(images.device, training.precision):
            logits = model(images.plain(indices))
        loss = F.cross_entropy(
            logits[:, :classes].float(), images.labels[indices], label_smoothing=training.label_smoothing
        )
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(mean.values(), found, strict=True):
            if gradient is not None:
                total.add_(gradient, alpha=len(part) / len(chosen))
        ledger.charge_pass(len(part))
        ledger.charge_parameters(2)
    model.train(mode)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return mean
