"""Models by name; finding and growing a head; loading an old model that is there already."""

from bench.models.build import build_model
from bench.models.zoo import ZOO, Shortcut

__all__ = ["ZOO", "Shortcut", "build_model"]
