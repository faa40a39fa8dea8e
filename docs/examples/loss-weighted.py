"""Images count by their loss: those that are learned well hardly count any more."""

from dataclasses import dataclass

from torch import Tensor

from bench import Batch, Keep, Objective, OneCycle, Strategy


@dataclass(frozen=True)
class ByLoss(Objective):
    """An image's weight is its loss to the power `power`, over the mean of these in the batch."""

    power: float = 0.5

    def loss(self, batch: Batch) -> Tensor:
        weights = batch.losses.detach() ** self.power
        return weights / weights.mean().clamp(min=1e-12) * batch.losses


strategy = Strategy(
    title="Images weighted by their loss",
    start=Keep(),
    schedule=OneCycle(warmup=0.2),
    objective=ByLoss(),
    horizon=0.7,
)
