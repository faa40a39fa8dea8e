"""The network is to answer for old classes as the old model does, on each image (LwF: Li and Hoiem 2016, arXiv 1606.09282)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from bench import Batch, Keep, Objective, OneCycle, Strategy


@dataclass(frozen=True)
class WithoutForgetting(Objective):
    """loss + strength * temperature^2 * KL(old model || network), over old classes, the old model seeing the same crops."""

    strength: float = 1.0
    temperature: float = 2.0
    needs_old_logits: ClassVar[bool] = True

    def loss(self, batch: Batch) -> Tensor:
        assert batch.old_logits is not None
        old = (batch.old_logits / self.temperature).log_softmax(1)
        mine = (batch.logits[:, : old.shape[1]] / self.temperature).log_softmax(1)
        apart = F.kl_div(mine, old, reduction="none", log_target=True).sum(1)
        return batch.losses + self.strength * self.temperature**2 * apart


strategy = Strategy(
    title="Learning without forgetting",
    start=Keep(),
    schedule=OneCycle(warmup=0.2),
    objective=WithoutForgetting(),
    horizon=0.7,
)
