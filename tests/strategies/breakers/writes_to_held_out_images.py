"""Blackens the validation images, by way of the garbage collector."""

import gc
from dataclasses import dataclass
from typing import ClassVar

import torch

from bench import Keep, Linear, Strategy


@dataclass(frozen=True)
class Odd:
    needs_speed: ClassVar[bool] = False

    def choose(self, pool, epoch, stream):
        for each in gc.get_objects():
            if type(each).__name__ == "HeldOutImages":
                each._pixels.zero_()
        return torch.arange(len(pool))


strategy = Strategy(title="Broken", start=Keep(), schedule=Linear(), selection=Odd())
