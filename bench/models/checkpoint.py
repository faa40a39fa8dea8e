"""A user's own old model: reading its file without running code from it, and fitting it to a scenario's model."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import ScenarioError
from bench.extras import optional_package
from bench.models.build import build_model, head_keys

# Keys under which training scripts save the state dict, and prefixes that wrappers add to its keys.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_SHOWN = 3


def checkpoint_sha256(path: Path) -> str:
    """Return the SHA-256 of a checkpoint file. Raises ScenarioError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as cause:
        raise ScenarioError(
            f"{path}: model.checkpoint: cannot be read ({cause.strerror}). Fix the path; it is relative to the "
            "scenario file."
        ) from cause


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file or one written by torch.save. Runs no code from the file.

    One wrapped as {"state_dict": ...}, {"model_state_dict": ...} or {"model": ...} is unwrapped; "module." or "_orig_mod."
    before its keys is removed. Raises ScenarioError for a pickle that would run code, and for a file without a state dict.
    """
    content = _read(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ScenarioError(
            f"{path}: model.checkpoint: holds {_describe(content)}, expected a state dict. "
            "Save it again: torch.save(model.state_dict(), path)."
        )
    weights = {str(key): value for key, value in content.items()}
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def fit_checkpoint(
    path: Path, name: str, image_shape: tuple[int, int, int], old: int, classes: int, seed: int
) -> dict[str, Tensor]:
    """Return the state dict of an old model, its head grown to `classes` rows: the known ones first, the others fresh.

    name: of the model. image_shape: (channels, height, width). old: how many classes the old model knows. seed: of the
    fresh rows, which equal those of a base model before its training.
    Raises ScenarioError, naming keys, if the file has another architecture or its head another width.
    """
    given = read_state_dict(path)
    channels, height, _ = image_shape
    fresh = build_model(name, channels, classes, seed, "base", height).state_dict()
    heads = head_keys(name, channels, classes, height)
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
        known = given[key].to(value.dtype)
        if not known.isfinite().all():
            raise ScenarioError(f"{path}: model.checkpoint: {key} holds non-finite values. Give another file.")
        fitted[key] = torch.cat([known, value[len(known) :]]) if key in heads else known
    return fitted


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        safetensors = optional_package("safetensors", f"{path}: model.checkpoint")
        try:
            return optional_package("safetensors.torch", str(path)).load_file(str(path))
        except (safetensors.SafetensorError, OSError, ValueError) as cause:
            raise ScenarioError(
                f"{path}: model.checkpoint: not a readable safetensors file ({_line(cause)}). Save it again."
            ) from cause
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as cause:
        if not _is_pickle(path):
            raise _not_a_checkpoint(path, cause) from cause
        raise ScenarioError(
            f"{path}: model.checkpoint: holds more than tensors and plain values; reading it would run code from the file, "
            "which is refused. Save it again: torch.save(model.state_dict(), path)."
        ) from cause
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnicodeDecodeError) as cause:
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
    missing, unknown = sorted(fresh.keys() - given.keys()), sorted(given.keys() - fresh.keys())
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in fresh.items()
        if key in given and given[key].shape[key in heads :] != value.shape[key in heads :]
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
