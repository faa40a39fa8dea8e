"""A piece that cannot be pickled."""

from dataclasses import dataclass

from bench import Keep, Strategy


@dataclass(frozen=True)
class Odd:
    level: float = 1.0

    def factors(self, steps):
        return [self.level] * steps

    def __reduce__(self):
        raise TypeError("holds a file")


strategy = Strategy(title="Broken", start=Keep(), schedule=Odd())
