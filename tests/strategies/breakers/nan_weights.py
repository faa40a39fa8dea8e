"""Gradients that are not numbers."""

from dataclasses import dataclass
from typing import ClassVar

from bench import Keep, Linear, Strategy


@dataclass(frozen=True)
class Odd:
    passes: ClassVar[int] = 0
    anchor: ClassVar[None] = None

    def apply(self, parameters, anchors):
        for each in parameters:
            each.grad.fill_(float("nan"))


strategy = Strategy(title="Broken", start=Keep(), schedule=Linear(), regularizer=Odd())
