"""A trained model as two files that plain PyTorch and torchvision can use: the weights, and what must be known to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from bench.files import write_atomically

WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Card:
    """What a model must be given, and where it comes from.

    architecture: its name, as in a scenario. classes: names, in the order of the head's rows. image_size: pixels, square: the
    centre square is resampled to it, bilinear with antialiasing, as PIL.ImageOps.fit does; None for images that come as arrays.
    mean, std: of each channel, of pixels between 0 and 1, subtracted and divided by. precision: of training. strategy, horizon,
    seed: of the trial. flops, device_seconds: what it cost. data_hash, old_model_sha256: of the images, and of the model file
    that was continued, None for a model trained from scratch or continued from a base model that bench trained.
    """

    architecture: str
    classes: tuple[str, ...]
    channels: int
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: str
    strategy: str
    horizon: float
    seed: int
    validation_accuracy: float
    test_accuracy: float | None
    flops: int
    device_seconds: float
    scenario_hash: str
    data_hash: str
    weights_sha256: str
    old_model_sha256: str | None
    bench: str


def write_model(folder: Path, weights: Mapping[str, Tensor], card: Card) -> None:
    """Write <folder>/model.safetensors and model.json, each atomically. weights: a state dict on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.contiguous() for name, tensor in weights.items()}
    write_atomically(folder / WEIGHTS, save(plain, {"format": "pt"}))
    write_json(folder / CARD, asdict(card))


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
