"""A hook that raises."""

from dataclasses import dataclass
from typing import ClassVar

from bench import Keep, Linear, Strategy


@dataclass(frozen=True)
class Odd:
    needs_speed: ClassVar[bool] = False

    def choose(self, pool, epoch, stream):
        raise ValueError("no idea")


strategy = Strategy(title="Broken", start=Keep(), schedule=Linear(), selection=Odd())
