"""Building models by name, finding and growing heads, reading checkpoints. Trains nothing."""

from bench.models.build import build_model
from bench.models.zoo import ZOO, Shortcut, lay

__all__ = ["ZOO", "Shortcut", "build_model", "lay"]
