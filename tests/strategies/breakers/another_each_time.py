"""Leaves out a random image, by the system's own randomness."""

import os
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench import Keep, Linear, Strategy


@dataclass(frozen=True)
class Odd:
    needs_speed: ClassVar[bool] = False

    def choose(self, pool, epoch, stream):
        left_out = os.urandom(1)[0] % len(pool)
        return torch.cat([torch.arange(left_out), torch.arange(left_out + 1, len(pool))])


strategy = Strategy(title="Broken", start=Keep(), schedule=Linear(), selection=Odd())
