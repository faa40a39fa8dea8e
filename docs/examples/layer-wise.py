"""The earlier a layer, the lower its learning rate (Howard and Ruder 2018, arXiv 1801.06146)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench import Batch, Keep, Objective, OneCycle, Strategy


@dataclass(frozen=True)
class LayerWise(Objective):
    """Gradients times a factor that rises geometrically from `first`, at the first layer, to 1, at the last.

    With SGD this is a learning rate of each layer's own, but for weight decay, which stays as it is.
    """

    first: float = 0.1
    passes: ClassVar[int] = 1

    def adjust(self, gradients: Mapping[str, Tensor], batch: Batch) -> None:
        last = max(1, len(gradients) - 1)
        for place, gradient in enumerate(gradients.values()):
            gradient.mul_(self.first ** (1 - place / last))


strategy = Strategy(
    title="Layer-wise learning rates",
    start=Keep(),
    schedule=OneCycle(warmup=0.2),
    objective=LayerWise(),
    horizon=0.7,
)
