"""A user's own old model: reading its file without running code from it, and fitting it to a scenario's model."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import ScenarioError
from bench.models.build import build_model, head_keys

# What wrappers add to a module's path, wherever in the model they were put: DataParallel and AveragedModel, torch.compile, FSDP.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# A word of a name under which averages of the weights are saved.
_AVERAGED = frozenset({"ema", "swa", "averaged", "average", "avg", "shadow"})
_COUNTERS = (
    "num_batches_tracked",
    "n_averaged",
)  # of BatchNorm, of AveragedModel; neither changes what a model predicts
_DEEPEST = 6  # mappings within mappings
_SHOWN = 3


@dataclass(frozen=True)
class Fitted:
    """A state dict that fits a scenario's model. done: in words, what was done to the file's content; "" for nothing."""

    weights: dict[str, Tensor]
    done: str


@dataclass(frozen=True)
class _Found:
    """A model's weights in a file. where: the mappings' keys, and what stands before its keys. keys: the model's -> the file's.

    averaged: whether by their name they are a moving or another average of weights. done: what was taken off the keys.
    """

    where: str
    tensors: Mapping[str, Tensor]
    keys: Mapping[str, str]
    averaged: bool
    done: tuple[str, ...]


def checkpoint_sha256(path: Path) -> str:
    """Return the SHA-256 of a checkpoint file. Raises ScenarioError if it cannot be read."""
    if path.exists() and not path.is_file():
        raise ScenarioError(f"{path}: model.checkpoint: found a folder or a device, expected a file. Fix the path.")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise ScenarioError(
            f"{path}: model.checkpoint: cannot be read ({cause.strerror}). Fix the path; it is relative to the "
            "scenario file."
        ) from cause


def fit_checkpoint(
    path: Path,
    name: str,
    image_shape: tuple[int, int, int],
    old: int,
    classes: int,
    seed: int,
    choice: str | None = None,
) -> Fitted:
    """Return the state dict of an old model, its head grown to `classes` rows: the known ones first, the others fresh.

    Runs no code from the file, a .safetensors file or one written by torch.save. The model's keys are looked for in every mapping
    of it, after any prefix, with what wrappers such as DataParallel and torch.compile put between them taken out.
    name: of the model. image_shape: (channels, height, width). old: how many classes the old model knows. seed: of the
    fresh rows, which equal those of a base model before its training. choice: model.weights of the scenario, which of several
    models in the file: "ema" for the averaged one, "model" for the other, or where in the file it is.
    Raises ScenarioError, naming keys, if the file has another architecture or its head another width, if it cannot be read
    without running code, and if it holds several models and none or an unknown one is chosen.
    """
    content = _read(path)
    channels, height, _ = image_shape
    fresh = build_model(name, channels, classes, seed, "base", height).state_dict()
    heads = head_keys(name, channels, classes, height)
    chosen, done = _choose(path, name, content, fresh, heads, choice)
    given = {key: chosen.tensors[there] for key, there in chosen.keys.items()}
    _check_keys(path, name, given, fresh, heads)
    rows = {len(given[key]) for key in heads}
    if rows - {old, classes} or len(rows) != 1:
        expected = f"{old} (the old classes)" + (f" or {classes} (all)" if classes != old else "")
        raise ScenarioError(
            f"{path}: model.checkpoint: found a head of {min(rows)} rows ({', '.join(sorted(heads))}), expected {expected}. "
            "Its rows are the old folder's class names, sorted; fix the folder, or trim the head."
        )
    fitted = {}
    for key, value in fresh.items():
        if key not in given:  # num_batches_tracked
            fitted[key] = torch.zeros_like(value)
            continue
        if value.is_floating_point() and not given[key].is_floating_point():
            raise ScenarioError(
                f"{path}: model.checkpoint: {key} holds {given[key].dtype}, expected {value.dtype}. Save the model unquantized."
            )
        known = given[key].to(value.dtype)
        if not known.isfinite().all():
            raise ScenarioError(f"{path}: model.checkpoint: {key} holds non-finite values. Give another file.")
        fitted[key] = torch.cat([known, value[len(known) :]]) if key in heads else known
    if rows == {old} and classes > old:
        done.append(f"head grown from {old} to {classes} rows")
    return Fitted(fitted, "; ".join(done))


def _choose(
    path: Path, name: str, content: Any, fresh: Mapping[str, Tensor], heads: frozenset[str], choice: str | None
) -> tuple[_Found, list[str]]:
    """Return one model's weights in a file, and in words how they were taken from it."""
    held = list(_mappings(content))
    required = [key for key in fresh if not _is_counter(key)]
    found = [each for where, tensors in held for each in _models_in(where, tensors, fresh, required)]
    named = [each for each in found if all(key in each.keys for key in required)]
    if not named:
        if not found:
            raise ScenarioError(
                f"{path}: model.checkpoint: holds {_describe(content)}, expected a state dict of model.name {name!r}. "
                "Save it again: torch.save(model.state_dict(), path)."
            )
        nearest = max(found, key=lambda each: len(each.keys))
        given = {key: nearest.tensors[there] for key, there in nearest.keys.items()}
        given |= {key: nearest.tensors[key] for key in _beside(nearest, [nearest])}
        _check_keys(path, name, given, fresh, heads)
    chosen = _named(path, named, _averages(content, named), choice)
    within = [each for each in named if each.tensors is chosen.tensors]
    beside = _beside(chosen, within)
    if not chosen.averaged:  # a choice has been made, or it could not have been
        beside = [key for key in beside if not _is_averaged(key)]
    if beside:
        given = {key: chosen.tensors[there] for key, there in chosen.keys.items()}
        if any(given[key].shape[key in heads :] != fresh[key].shape[key in heads :] for key in given):
            _check_keys(path, name, given | {key: chosen.tensors[key] for key in beside}, fresh, heads)
        raise ScenarioError(
            f"{path}: model.checkpoint: holds {_some(beside)} beside the keys of model.name {name!r}, which could change "
            "what it predicts. Change model.name, or save the model's own state dict alone."
        )
    done = [f"weights of {chosen.where}" if len(named) > 1 or chosen.where else "", *chosen.done]
    averaging = [key for key in chosen.tensors if _last(key) == "n_averaged"]
    done.append(f"{_some(averaging)} left out" if averaging else "")
    missing = [key for key in fresh if key not in chosen.keys]
    done.append(f"{len(missing)} num_batches_tracked missing, set to 0" if missing else "")
    return chosen, [each for each in done if each]


def _named(path: Path, found: list[_Found], others: list[str], choice: str | None) -> _Found:
    """Return the one that model.weights names, or the only one. others: averages that lack some of the model's keys."""
    labels = " and ".join([each.where or "the file's own keys" for each in found] + others)
    if choice is None:
        if len(found) == 1 and (found[0].averaged or not others):
            return found[0]
        raise ScenarioError(
            f"{path}: model.checkpoint: holds several models ({labels}), expected a choice. Set model.weights, or --weights, to "
            '"ema" for the averaged weights, "model" for the others, or one of these names.'
        )
    exact = [each for each in found if each.where == choice]
    kinds = [each for each in found if choice == ("ema" if each.averaged else "model")]
    if len(exact or kinds) == 1:
        return (exact or kinds)[0]
    raise ScenarioError(
        f"{path}: model.weights: found {choice!r}, which names {len(exact or kinds)} of the whole models there; the file holds "
        f"{labels}. Set it to one of these names."
    )


def _mappings(content: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield (keys, tensors) of every mapping that holds tensors by name; optimizers' states are by number."""
    if not isinstance(content, Mapping) or len(where) > _DEEPEST:
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield where, tensors
    for key, value in content.items():
        if isinstance(key, str):
            yield from _mappings(value, (*where, key))


def _models_in(
    where: tuple[str, ...], tensors: Mapping[str, Tensor], fresh: Mapping[str, Tensor], required: list[str]
) -> list[_Found]:
    """Return the models, whole or in part, whose keys stand in one mapping, each after a prefix of its own."""
    own = {part for key in fresh for part in key.split(".")}
    wrappers = [wrapper for wrapper in _WRAPPERS if wrapper not in own]
    plain: dict[str, str] = {}  # without wrappers -> as in the file
    for key in tensors:
        plain[".".join(part for part in key.split(".") if part not in wrappers)] = key
    if len(plain) < len(tensors):  # the same model with and without them
        plain = {key: key for key in tensors}
    prefixes = {
        key[: -len(wanted)] for key in plain for wanted in required if key == wanted or key.endswith(f".{wanted}")
    }
    complete = [before for before in prefixes if all(before + key in plain for key in required)]
    found = []
    for before in sorted(complete or prefixes):
        keys = {key: plain[before + key] for key in fresh if before + key in plain}
        removed = [each for each in wrappers if any(each in there.split(".") for there in keys.values())]
        averaged = f"{before}n_averaged" in plain or _is_averaged(".".join((*where, before)))
        taken = [each for each in (before, *(f"{wrapper}." for wrapper in removed)) if each]
        done = (f"{' and '.join(taken)} removed from keys",) if taken else ()
        found.append(_Found(".".join((*where, before)).strip("."), tensors, keys, averaged, done))
    return found


def _beside(one: _Found, models: list[_Found]) -> list[str]:
    """Return the keys in a model's mapping that belong to none of `models` and may matter."""
    taken = {key for each in models for key in each.keys.values()}
    return sorted(key for key in one.tensors if key not in taken and not _is_counter(key))


def _averages(content: Any, found: list[_Found]) -> list[str]:
    """Return where a file holds averages of weights that are not a whole model: among a model's keys, or elsewhere."""
    beside = {key for each in found for key in _beside(each, [one for one in found if one.tensors is each.tensors])}
    known = [f"{each.where}." for each in found]
    elsewhere = [where for where in _averaged_parts(content) if not any(each.startswith(f"{where}.") for each in known)]
    return sorted(filter(_is_averaged, beside))[:_SHOWN] + elsewhere


def _averaged_parts(content: Any, where: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield where, under the name of an average, there is a mapping or list of tensors of at least one dimension."""
    if not isinstance(content, Mapping) or len(where) > _DEEPEST:
        return
    for key, value in content.items():
        if isinstance(key, str):
            inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
            name = ".".join((*where, key))
            if _is_averaged(name) and any(isinstance(each, Tensor) and each.ndim for each in inside):
                yield name
            yield from _averaged_parts(value, (*where, key))


def _is_averaged(name: str) -> bool:
    """Whether a name says that it holds an average of weights."""
    return not _AVERAGED.isdisjoint(re.split(r"[._\-]+", name.lower()))


def _is_counter(key: str) -> bool:
    return _last(key) in _COUNTERS


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as cause:
            raise ScenarioError(
                f"{path}: model.checkpoint: not a readable safetensors file ({_line(cause)}). Save it again."
            ) from cause
    try:
        # Training scripts save their arguments with the weights: plain values, and no code is run to read them.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as cause:
        if not _is_pickle(path):
            raise _not_a_checkpoint(path, cause) from cause
        raise ScenarioError(
            f"{path}: model.checkpoint: holds more than tensors and plain values; reading it would run code from the file, "
            "which is refused. Save it again: torch.save(model.state_dict(), path)."
        ) from cause
    except Exception as cause:  # bytes that are no checkpoint fail in any way
        raise _not_a_checkpoint(path, cause) from cause


def _is_pickle(path: Path) -> bool:
    """Whether a file's first bytes are those of a pickle, or of torch's zip archive, which holds one."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"\x80", b"PK"))


def _not_a_checkpoint(path: Path, cause: Exception) -> ScenarioError:
    return ScenarioError(
        f"{path}: model.checkpoint: not written by torch.save ({_line(cause)}). Give a .pt state dict or a .safetensors file."
    )


def _check_keys(
    path: Path, name: str, given: Mapping[str, Tensor], fresh: Mapping[str, Tensor], heads: frozenset[str]
) -> None:
    missing = sorted(key for key in fresh.keys() - given.keys() if not _is_counter(key))
    unknown = sorted(given.keys() - fresh.keys())
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in fresh.items()
        if key in given
        and (given[key].ndim != value.ndim or given[key].shape[key in heads :] != value.shape[key in heads :])
    ]
    complaints = (("missing", missing), ("unknown", unknown), ("wrong shape", shapes))
    said = "; ".join(f"{what}: {_some(keys)}" for what, keys in complaints if keys)
    if said:
        raise ScenarioError(
            f"{path}: model.checkpoint: architecture differs from model.name {name!r} ({said}). Change one of them."
        )


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a mapping of {_some(sorted(map(str, content)))}" if content else "an empty mapping"
    return f"a {type(content).__name__}"


def _line(cause: Exception) -> str:
    return (str(cause).splitlines() or [type(cause).__name__])[0][:120]
