"""Saving and loading tensors so that a kill at any moment leaves the last checkpoint intact."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.files import write_atomically


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values and tensors, atomically."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Read what `save_checkpoint` wrote, or return None if there is no file. Runs no code from the file."""
    if not path.is_file():
        return None
    return torch.load(path, map_location=device, weights_only=True)


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over all names and tensors of a state dict, sorted by name."""
    running = hashlib.sha256()
    for name in sorted(weights):
        running.update(name.encode())
        running.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return running.hexdigest()
