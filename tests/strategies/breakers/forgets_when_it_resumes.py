"""Weighs gradients by a count of its own, which no checkpoint holds."""

from dataclasses import dataclass
from typing import ClassVar

from bench import Keep, Linear, Strategy

calls = []


@dataclass(frozen=True)
class Odd:
    passes: ClassVar[int] = 0
    anchor: ClassVar[None] = None

    def apply(self, parameters, anchors):
        calls.append(1)
        for each in parameters:
            each.grad.mul_(1 / len(calls))


strategy = Strategy(title="Broken", start=Keep(), schedule=Linear(), regularizer=Odd())
