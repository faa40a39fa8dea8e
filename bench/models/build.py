"""Building a model by name: from bench's own zoo, torchvision's classifiers, timm, or code of the user's own."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from torch import nn

from bench.catalog import installed_names
from bench.errors import ScenarioError
from bench.extras import optional_package
from bench.models.own import OwnModel, own_model
from bench.models.zoo import OWN, SIZED, ZOO, lay
from bench.streams import borrowed_generator

# (channels, classes) -> a model on the current default device
Make = Callable[[int, int], nn.Module]
_HEAD_KEYS: dict[Hashable, frozenset[str]] = {}


def build_model(
    name: str, channels: int, classes: int, seed: int, stream: str, image_size: int | None = None
) -> nn.Module:
    """Build a newly initialized model on the CPU, in float32 and channels_last, from the stream (seed, stream).

    name: a model of bench's zoo, a torchvision classifier ("resnet50", or "torchvision:resnet50" if both have it),
    "timm:<name>", or one of the user's own, see bench.models.own. channels: of the images. classes: width of the head.
    image_size: pixels, for those that are built for one size. The global generator is left unchanged.
    Raises ScenarioError for an unknown name, and for a number of channels that the model does not accept.
    """
    make = find_model(name, image_size)
    with borrowed_generator(seed, "initialization", stream):
        model = make(channels, classes)
    return lay(model, torch.channels_last)


def head_keys(name: str, channels: int, classes: int, image_size: int | None = None) -> frozenset[str]:
    """Return the keys of a model's state dict that have one row per class.

    Found by building the model twice, on the meta device, with heads of two widths; once in a process.
    """
    key = (recipe(name, image_size), channels, classes)
    if key not in _HEAD_KEYS:
        _HEAD_KEYS[key] = _head_keys(find_model(name, image_size), channels, classes)
    return _HEAD_KEYS[key]


def _head_keys(make: Make, channels: int, classes: int) -> frozenset[str]:
    def both(device: str) -> tuple[dict[str, Any], dict[str, Any]]:
        with torch.device(device), borrowed_generator(0, "head keys"):
            return make(channels, classes).state_dict(), make(channels, classes + 1).state_dict()

    try:
        narrow, wide = both("meta")
    except NotImplementedError:  # a model that reads values while it is built, as RegNet does
        narrow, wide = both("cpu")
    return frozenset(key for key, value in narrow.items() if value.shape != wide[key].shape)


def find_model(name: str, image_size: int | None = None) -> Make:
    """Return a function that builds the named model. Raises ScenarioError for an unknown name."""
    if own := find_own_model(name):
        return own.make
    if name in ZOO:
        return ZOO[name]
    if name in SIZED:
        if image_size is None:
            raise ScenarioError(f"model.name {name!r}: is built for one size of images, which is not known here.")
        return partial(_sized, name, image_size)
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), image_size)
    from torchvision import models

    plain = name.removeprefix("torchvision:")
    known = models.list_models(module=models)
    if plain not in known:
        near = difflib.get_close_matches(plain, [*OWN, *known, *installed_names("models")], 3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "Fix the scenario."
        raise ScenarioError(
            f"model.name {name!r}: unknown, expected one of {', '.join(OWN)}, a torchvision classifier like resnet50, "
            f"timm:<name>, or FILE.py:FUNCTION. {hint}"
        )
    options: dict[str, Any] = {"weights": None}
    if plain.startswith("vit_") and image_size is not None:
        options["image_size"] = image_size
    if plain in ("googlenet", "inception_v3"):  # without auxiliary heads, which would be trained too
        options |= {"aux_logits": False, "init_weights": True}
    return partial(_torchvision, plain, options)


def recipe(name: str, image_size: int | None = None) -> Hashable:
    """Return what find_model's function is made of: equal where two names and sizes build the same models."""
    make = find_model(name, image_size)
    if isinstance(make, partial):
        return (make.func, SIZED.get(name), repr(make.args))
    return make


def find_own_model(name: str) -> OwnModel | None:
    """Return a model of the user's own, by its file or as an installed package offers it; None if the name is another's.

    Raises ScenarioError if it cannot be loaded, or if a package offers a model by the name of one of bench's or torchvision's.
    """
    return own_model(name, _taken)


def _taken() -> list[str]:
    from torchvision import models

    return [*OWN, *models.list_models(module=models)]


def _sized(name: str, image_size: int, channels: int, classes: int) -> nn.Module:
    return SIZED[name](channels, classes, image_size)


def _torchvision(name: str, options: dict[str, Any], channels: int, classes: int) -> nn.Module:
    from torchvision import models

    if channels != 3:
        raise ScenarioError(
            f"model.name {name!r}: found {channels}-channel images, expected 3 channels. "
            f"Choose one of {', '.join(OWN)}, or a timm model."
        )
    try:
        return models.get_model(name, num_classes=classes, **options)
    except ValueError as cause:
        raise ScenarioError(
            f"model.name {name!r}: cannot be built ({cause}). Change data.image_size, or the model."
        ) from cause


def _timm(name: str, image_size: int | None) -> Make:
    timm = optional_package("timm", f"model.name 'timm:{name}'")
    try:
        configuration = timm.get_pretrained_cfg(name)
    except RuntimeError:
        configuration = None
    if name not in timm.list_models() and configuration is None:
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "See timm.list_models()."
        raise ScenarioError(f"model.name 'timm:{name}': unknown to the installed timm. {hint}")
    options: dict[str, Any] = {"pretrained": False}
    if image_size is not None and getattr(configuration, "fixed_input_size", False):
        options["img_size"] = image_size
    return partial(_by_timm, name, options)


def _by_timm(name: str, options: dict[str, Any], channels: int, classes: int) -> nn.Module:
    timm = optional_package("timm", f"model.name 'timm:{name}'")
    return timm.create_model(name, num_classes=classes, in_chans=channels, **options)
