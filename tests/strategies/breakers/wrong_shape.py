"""Indices as a matrix."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bench import Keep, Linear, Strategy


@dataclass(frozen=True)
class Odd:
    needs_speed: ClassVar[bool] = False

    def choose(self, pool, epoch, stream):
        return torch.arange(len(pool))[:, None]


strategy = Strategy(title="Broken", start=Keep(), schedule=Linear(), selection=Odd())
