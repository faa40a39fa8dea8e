"""Independent random streams: each is derived from a seed and a name, and nothing reseeds a global generator.

torch is imported only when one of its generators is requested, so commands that only look at data start quickly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream `names` of `seed`, the same on every machine."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_stream(seed: int, *names: str | int) -> torch.Generator:
    """Return a fresh CPU generator at the start of a stream."""
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, *names))


def place_name(domain: str) -> str:
    """Return what a domain is called where random numbers are drawn: its name or, of a folder, its last part, for it may move."""
    return PurePath(domain).name


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a fresh NumPy generator (PCG64) at the start of a stream."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, *names)))


@contextmanager
def borrowed_generator(seed: int, *names: str | int) -> Iterator[None]:
    """Run library code that uses torch's global CPU generator on a stream of ours, then restore the global state."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed(seed, *names))
        yield
