"""A scenario: a data set cut into stages, a model, a training budget, and when accuracy is measured."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.errors import ScenarioError


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataPart(_Part):
    """Which images, and how they are cut. The cut depends on these fields alone, never on a trial's seed."""

    set: str = Field(min_length=1, pattern=r"^[a-z0-9_-]+$")
    class_order_seed: int | None = Field(default=None, ge=0)  # None keeps the set's own order of classes
    validation_share: float = Field(gt=0, lt=0.5)  # of every class' training images
    split_seed: int = Field(default=0, ge=0)


class Stage(_Part):
    """A part of the data that arrives together: the next `classes` classes in the scenario's order."""

    classes: int = Field(gt=0)


class ModelPart(_Part):
    """A model of the zoo, by name."""

    name: str = Field(min_length=1)


class TrainingPart(_Part):
    """What every strategy of the closed division shares."""

    epochs: int = Field(gt=0)  # scratch's budget: passes over all images of old + new
    batch_size: int = Field(gt=0)
    optimizer: Literal["sgd"] = "sgd"
    learning_rate: float = Field(gt=0)  # the peak; the strategy's schedule is a factor of it
    momentum: float = Field(ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(ge=0)
    label_smoothing: float = Field(ge=0, lt=1)
    precision: Literal["fp32", "bf16"]
    compile: bool = False  # by torch.compile: the same learning, other bits, for every strategy
    crop_padding: int = Field(ge=0)  # pixels, zeros
    flip: bool  # horizontal, half of the images


class EvaluationPart(_Part):
    """Where on scratch's budget accuracy is measured. A trial's own end is always on the grid."""

    points: int = Field(gt=0)  # evenly spaced over scratch's steps
    test_every: int = Field(gt=0)  # test accuracy is taken at every such point, and at the end


class Scenario(_Part):
    """One question asked of every strategy alike. Frozen; two scenarios with equal `hash()` ask the same."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = Field(min_length=1)
    kind: Literal["class-incremental"]
    data: DataPart
    stages: tuple[Stage, ...] = Field(min_length=2, strict=False)
    model: ModelPart
    training: TrainingPart
    evaluation: EvaluationPart

    @model_validator(mode="after")
    def _runnable(self) -> Scenario:
        if len(self.stages) > 2:
            raise ValueError(
                f"stages: {len(self.stages)} found, expected 2 (old, new). Chains are not run yet; merge some."
            )
        return self

    @property
    def classes(self) -> int:
        """Classes of all stages together: the width of the head."""
        return sum(stage.classes for stage in self.stages)

    def classes_seen(self, update: int) -> int:
        """Classes of stages 0..update. They come first in the scenario's class order, so they are a prefix."""
        return sum(stage.classes for stage in self.stages[: update + 1])

    def hash(self) -> str:
        """Return 16 hex digits over all that is asked; the title does not count."""
        return digest(self.model_dump(mode="json", exclude={"title"}))

    def base_hash(self) -> str:
        """Return 16 hex digits over what a base model depends on: all but title and evaluation."""
        return digest(self.model_dump(mode="json", exclude={"title", "evaluation"}))


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises ScenarioError with file, key, what was found and what was expected.
    """
    try:
        return parse_scenario(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError) as cause:
        raise ScenarioError(f"{path}: cannot be read ({cause}). Give a readable UTF-8 TOML file.") from cause
    except tomllib.TOMLDecodeError as cause:
        raise ScenarioError(f"{path}: not valid TOML: {cause}. Mend that place in the file.") from cause


def parse_scenario(content: dict[str, Any], where: str) -> Scenario:
    """Build a Scenario from plain values; `where` names their origin in errors. Raises ScenarioError."""
    try:
        return Scenario.model_validate(content)
    except ValidationError as cause:
        raise ScenarioError(_explain(cause, where)) from None


def _explain(cause: ValidationError, where: str) -> str:
    """Turn the first complaint into one line: file, key, found, expected, what to do."""
    complaint, count = cause.errors()[0], cause.error_count()
    rest = f" (and {count - 1} more)" if count > 1 else ""
    if not complaint["loc"]:
        return f"{where}: {complaint['msg'].removeprefix('Value error, ')}{rest}"
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in complaint["loc"]).lstrip(".")
    if complaint["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key. Remove it, or mend its spelling{rest}."
    if complaint["type"] == "missing":
        return f"{where}: {key}: missing. Add it{rest}."
    expected = complaint["msg"].removeprefix("Input should be ").removeprefix("Input ")
    return f"{where}: {key}: found {complaint['input']!r}, expected {expected}. Change it{rest}."


def canonical(value: Any) -> str:
    """Return the one JSON text of a plain value: sorted keys, no spaces. What hashes are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
