"""A scenario: a data set cut into stages, a model, a training budget, and when accuracy is measured."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.errors import ScenarioError
from bench.target import TargetPart, check_targets

Kind = Literal["class-incremental", "domain-incremental", "data-incremental"]
# Kind -> the field of a stage that says what arrives in it. A folder of the user's own will do for every kind.
_ARRIVES: dict[str, str] = {
    "class-incremental": "classes",
    "domain-incremental": "domain",
    "data-incremental": "share",
}
_ROUNDING = 1e-9


class _Part(BaseModel):
    """A part of a scenario.

    unhashed_defaults: fields that are left out, of plain values and so of hashes, while they have their default: results
    measured before there were such fields keep their hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    unhashed_defaults: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        content: dict[str, Any] = handler(self)
        return {
            key: value
            for key, value in content.items()
            if key not in self.unhashed_defaults or value != fields[key].default
        }


class DataPart(_Part):
    """Which images, and how they are cut. The cut depends on these fields alone, never on a trial's seed."""

    set: str | None = Field(default=None, pattern=r"^[a-z0-9_-]+$")  # None where the stages name folders
    classes: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)  # names of those taken, in order
    class_order_seed: int | None = Field(default=None, ge=0)  # None keeps the order of `classes`, or the set's own
    validation_share: float = Field(gt=0, lt=0.5)  # of every class' training images
    test_share: float | None = Field(default=None, gt=0, lt=0.5)  # where images come without a test part of their own
    split_seed: int = Field(default=0, ge=0)
    image_size: int | None = Field(default=None, gt=0)  # pixels, square; of images decoded from files

    unhashed_defaults = frozenset({"set", "classes", "test_share", "image_size"})

    @model_validator(mode="after")
    def _distinct(self) -> DataPart:
        twice = _first_repeated(self.classes or ())
        if twice is not None:
            raise ValueError(f"classes: {twice!r} stands there twice, expected distinct names. Remove one.")
        return self


class Stage(_Part):
    """A part of the data that arrives together: exactly one of the first four fields says what.

    classes: the next so many in the scenario's order. domain: all images of a domain. share: of every class' images.
    folder: a folder, or .npz archive, of the user's own, relative to the scenario's file.
    old_share: of the images of the stages before this one, how much is still at hand when it arrives, to all but scratch.
    What is gone stays gone.
    """

    classes: int | None = Field(default=None, gt=0)
    domain: str | None = Field(default=None, min_length=1)
    share: float | None = Field(default=None, gt=0, le=1)
    folder: str | None = Field(default=None, min_length=1)
    old_share: float = Field(default=1.0, gt=0, le=1)

    unhashed_defaults = frozenset({"classes", "domain", "share", "folder", "old_share"})

    @model_validator(mode="after")
    def _one_source(self) -> Stage:
        given = [name for name in (*_ARRIVES.values(), "folder") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'none'} of classes, domain, share, folder, expected exactly one. Change it."
            )
        return self

    @property
    def source(self) -> str:
        """Which of "classes", "domain", "share" and "folder" it gives."""
        return next(name for name in (*_ARRIVES.values(), "folder") if getattr(self, name) is not None)


class ModelPart(_Part):
    """A model, by name, and optionally the old model that is there already.

    checkpoint: a file of the user's own, relative to the scenario's file; None trains the old model on stage 0.
    """

    name: str = Field(min_length=1)
    checkpoint: str | None = Field(default=None, min_length=1)

    unhashed_defaults = frozenset({"checkpoint"})


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
    crop_scale: float | None = Field(default=None, gt=0, le=1)  # of random resized crops: least share of the area

    unhashed_defaults = frozenset({"crop_scale"})

    @model_validator(mode="after")
    def _one_kind_of_crop(self) -> TrainingPart:
        if self.crop_scale is not None and self.crop_padding:
            raise ValueError(
                f"crop_padding: found {self.crop_padding} beside crop_scale, expected 0. Keep one kind of crop."
            )
        return self


class EvaluationPart(_Part):
    """Where on scratch's budget accuracy is measured. A trial's own end is always on the grid."""

    points: int = Field(gt=0)  # evenly spaced over scratch's steps
    test_every: int = Field(gt=0)  # test accuracy is taken at every such point, and at the end


class Scenario(_Part):
    """One question asked of every strategy alike. Frozen; two scenarios with equal `hash()` ask the same.

    target: the published one of each update, in order; in a file [target], or [[target]] for each update of a chain.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = Field(min_length=1)
    kind: Kind
    data: DataPart
    stages: tuple[Stage, ...] = Field(min_length=2, strict=False)
    model: ModelPart
    training: TrainingPart
    evaluation: EvaluationPart
    target: tuple[TargetPart, ...] | None = Field(default=None, strict=False)  # None: provisional, from a run itself
    # The folder of the file it was read from; what `folder` and `checkpoint` are relative to. No part of what is asked.
    root: Path | None = Field(default=None, exclude=True, repr=False)

    unhashed_defaults = frozenset({"target"})

    @field_validator("target", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _holds_together(self) -> Scenario:
        expected = _ARRIVES[self.kind]
        for place, stage in enumerate(self.stages):
            if stage.source not in (expected, "folder"):
                raise ValueError(
                    f"stages[{place}]: found {stage.source} in a {self.kind} scenario, expected {expected} or folder. "
                    "Change one of them."
                )
        sources = sorted({stage.source for stage in self.stages})
        if len(sources) > 1:
            raise ValueError(f"stages: {' and '.join(sources)} mixed, expected one kind of source. Change some.")
        twice = _first_repeated([stage.domain or stage.folder for stage in self.stages if stage.domain or stage.folder])
        if twice is not None:
            raise ValueError(f"stages: {twice!r} stands there twice, expected distinct ones. Change one.")
        if self.stages[0].old_share != 1:
            raise ValueError("stages[0].old_share: found in the first stage, before which nothing is old. Remove it.")
        shares = sum(stage.share or 0 for stage in self.stages)
        if shares > 1 + _ROUNDING:
            raise ValueError(f"stages: shares sum to {shares:g}, expected at most 1. Lower one of them.")
        self._check_data(own_folders=sources == ["folder"])
        if self.target is not None:
            check_targets(self.target, self.updates)
        return self

    def _check_data(self, *, own_folders: bool) -> None:
        data, asked = self.data, sum(stage.classes or 0 for stage in self.stages)
        if not own_folders:
            if data.set is None:
                raise ValueError("data.set: missing. Add it, or name a folder in every stage.")
            if data.classes is not None and asked > len(data.classes):
                raise ValueError(
                    f"data.classes: {len(data.classes)} names found, the stages ask for {asked}. Name more, or ask for fewer."
                )
            return
        if data.set is not None:
            raise ValueError(f"data.set: found {data.set!r} beside stages of folders. Remove it.")
        for name in ("test_share", "image_size"):
            if getattr(data, name) is None:
                raise ValueError(f"data.{name}: missing; stages of folders need it. Add it.")
        if self.kind == "class-incremental":
            for name in ("classes", "class_order_seed"):
                if getattr(data, name) is not None:
                    raise ValueError(f"data.{name}: found, but the stages' folders order the classes. Remove it.")

    @property
    def own_folders(self) -> bool:
        """Whether the stages name folders of the user's own, rather than parts of a known set."""
        return self.data.set is None

    @property
    def updates(self) -> int:
        """How many updates follow on stage 0: 1, or more in a chain."""
        return len(self.stages) - 1

    def hash(self) -> str:
        """Return 16 hex digits over all that is asked; title and target, which change no trial, do not count."""
        return digest(self.model_dump(mode="json", exclude={"title", "target"}))

    def base_hash(self) -> str:
        """Return 16 hex digits over what a base model depends on: all but title, target and evaluation."""
        return digest(self.model_dump(mode="json", exclude={"title", "target", "evaluation"}))


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises ScenarioError with file, key, what was found and what was expected.
    """
    try:
        scenario = parse_scenario(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
        return scenario.model_copy(update={"root": path.parent})
    except (OSError, UnicodeDecodeError) as cause:
        raise ScenarioError(f"{path}: cannot be read ({cause}). Give a readable UTF-8 TOML file.") from cause
    except tomllib.TOMLDecodeError as cause:
        raise ScenarioError(f"{path}: not valid TOML: {cause}. Mend that place in the file.") from cause


def parse_scenario(content: dict[str, Any], where: str) -> Scenario:
    """Build a Scenario from plain values; `where` names their origin in errors. Raises ScenarioError."""
    if "root" in content:  # a field, but none of the file's
        raise ScenarioError(f"{where}: root: unknown key. Remove it.")
    try:
        return Scenario.model_validate(content)
    except ValidationError as cause:
        raise ScenarioError(_explain(cause, where)) from None


def _explain(cause: ValidationError, where: str) -> str:
    """Turn the first complaint into one line: file, key, found, expected, what to do."""
    complaint, count = cause.errors()[0], cause.error_count()
    rest = f" (and {count - 1} more)" if count > 1 else ""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in complaint["loc"]).lstrip(".")
    if complaint["type"] == "value_error":
        said = complaint["msg"].removeprefix("Value error, ")
        nested = ": " if said.startswith("found") else "."  # some begin with a field's name
        return f"{where}: {key}{nested if key else ''}{said}{rest}"
    if complaint["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key. Remove it, or mend its spelling{rest}."
    if complaint["type"] == "missing":
        return f"{where}: {key}: missing. Add it{rest}."
    expected = complaint["msg"].removeprefix("Input should be ").removeprefix("Input ")
    return f"{where}: {key}: found {complaint['input']!r}, expected {expected}. Change it{rest}."


def _first_repeated(values: Sequence[str | None]) -> str | None:
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def canonical(value: Any) -> str:
    """Return the one JSON text of a plain value: sorted keys, no spaces. What hashes are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
