"""A trained model as two files that plain PyTorch and torchvision can use: the weights, and what must be known to use them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from bench.errors import ScenarioError
from bench.files import make_folder, write_atomically

WEIGHTS, CARD = "model.safetensors", "model.json"


@dataclass(frozen=True)
class Card:
    """What a model must be given, and where it comes from.

    architecture: its name, as in a scenario. classes: names, in the order of the head's rows: sorted, in the file.
    image_size: pixels, square: the centre square is resampled to it, bilinear with antialiasing, as PIL.ImageOps.fit does; None
    for images that come as arrays. resize, crop: where they are not None, the images were instead resized and cropped, as
    torchvision's Resize and CenterCrop do. mean, std: of each channel, of pixels between 0 and 1, subtracted and divided by.
    precision: of training. strategy, horizon, seed: of the trial. flops, device_seconds: what it cost. data_hash,
    old_model_sha256: of the images, and of the model file that was continued, None for a model trained from scratch or
    continued from a base model that bench trained.
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
    resize: int | None = None
    crop: int | None = None


def write_model(folder: Path, weights: Mapping[str, Tensor], heads: Collection[str], card: Card) -> None:
    """Write <folder>/model.safetensors and model.json, each atomically, with the head's rows by class name.

    So rows are where torchvision's ImageFolder, and the next update, expect them. weights: a state dict on the CPU, with rows in
    the order of the card's classes. heads: its keys with a row per class.
    """
    order = sorted(range(len(card.classes)), key=card.classes.__getitem__)
    sorted_rows = {name: weights[name][order] for name in heads}
    plain = {name: tensor.contiguous() for name, tensor in {**weights, **sorted_rows}.items()}
    make_folder(folder)
    write_atomically(folder / WEIGHTS, save(plain, {"format": "pt"}))
    write_json(folder / CARD, asdict(replace(card, classes=tuple(sorted(card.classes)))))


def read_card(weights: Path) -> dict[str, Any] | None:
    """Return the card of a model that write_model wrote; None if there is no model.json beside the weights.

    Raises ScenarioError for a model.json that is not such a card.
    """
    path = weights.parent / CARD
    if weights.name != WEIGHTS or not path.is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return {
            "architecture": str(card["architecture"]),
            "classes": tuple(str(name) for name in card["classes"]),
            **{name: [float(v) for v in card[name]] for name in ("mean", "std")},
            **{name: int(card[name]) for name in ("resize", "crop") if card.get(name) is not None},
        }
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ScenarioError(
            f"{path}: not a card as bench update writes it ({type(cause).__name__}: {cause}). Move it away, or restore it."
        ) from None


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
