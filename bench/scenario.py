"""A scenario: a data set cut into stages, a model, a training budget, and when accuracy is measured."""

from __future__ import annotations

import hashlib
import json
import tomllib
import unicodedata
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

from bench.catalog import LARGEST_SEED
from bench.errors import ScenarioError, first_fault
from bench.files import read_at_most
from bench.target import TargetPart, check_targets

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # a scenario's name is a folder's name
Kind = Literal["class-incremental", "domain-incremental", "data-incremental", "mixed"]
# Kind -> the field of a stage that says what arrives in it. A user's own folder works for every kind.
_ARRIVES: dict[str, str] = {
    "class-incremental": "classes",
    "domain-incremental": "domain",
    "data-incremental": "share",
    "mixed": "folder",
}
_ROUNDING = 1e-9
Use = Literal["validation", "test"]  # of images that are held out
HELD_OUT: tuple[Use, ...] = ("validation", "test")
# Limits on what a file asks for, far above what can be run: sizes beyond them would be allocated, or counted to.
LARGEST_FILE = 1 << 20  # bytes
_MOST_STAGES = 1000
_MOST_CLASSES = 1_000_000
_MOST_EPOCHS = 100_000
_LONGEST_BASE = 10  # times scratch's epochs, as a strategy's horizon
_LARGEST_BATCH = 1 << 20
_LARGEST_IMAGE = 8000  # pixels of a side: 64 megapixels, as of what is decoded
MOST_POINTS = 100_000
_LONGEST_NAME = 200  # a name is a folder's name, and file systems hold 255 bytes; an update's output adds to it
# model.preprocessing -> (mean, std) of each channel, of pixels in 0..1, as torchvision's and most of timm's weights expect them.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PRESETS = {"imagenet": _IMAGENET, "imagenet-224": _IMAGENET}
# model.preprocessing -> (resize, crop), as of torchvision's first weights of each model.
RESIZED_PRESETS = {"imagenet-224": (256, 224)}


class _Part(BaseModel):
    """A part of a scenario.

    unhashed_defaults: fields omitted from plain values, and so from hashes, at their default: results measured before
    these fields existed keep their hash.
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
    """Which images are used and how they are split. The split depends only on these fields, never on a trial's seed."""

    set: str | None = Field(default=None, pattern=r"^[a-z0-9_-]+$")  # None if the stages name folders
    classes: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)  # names of those used, in order
    class_order_seed: int | None = Field(
        default=None, ge=0, le=LARGEST_SEED
    )  # None keeps the order of `classes`, or the set's own
    validation_share: float | None = Field(default=None, gt=0, lt=0.5)  # of each class's training images
    test_share: float | None = Field(default=None, gt=0, lt=0.5)  # for images that come without a test part
    split_seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    image_size: int | None = Field(
        default=None, gt=0, le=_LARGEST_IMAGE
    )  # pixels, square; for images decoded from files
    max_megapixels: int = Field(default=64, gt=0)  # of an image file; larger ones are refused
    # The user's own training images that are held out too: left out of training, or an error.
    duplicates: Literal["drop", "refuse"] = "drop"
    # The user's own folders of held-out images of all stages; nothing is cut off the stages' folders for them then.
    validation: str | None = Field(default=None, min_length=1)
    test: str | None = Field(default=None, min_length=1)

    unhashed_defaults = frozenset(
        {
            "set",
            "classes",
            "validation_share",
            "test_share",
            "image_size",
            "max_megapixels",
            "duplicates",
            "validation",
            "test",
        }
    )

    @field_validator("classes")
    @classmethod
    def _plain(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Bring class names into the form that folders' names are compared in."""
        return names and tuple(unicodedata.normalize("NFC", name).strip() for name in names)

    @model_validator(mode="after")
    def _distinct(self) -> DataPart:
        twice = _first_repeated(self.classes or ())
        if twice is not None:
            raise ValueError(f"classes: {twice!r} is listed twice, expected distinct names. Remove one.")
        return self


class Stage(_Part):
    """A part of the data that arrives together: exactly one of the first four fields says what arrives.

    classes: how many, the next ones in the scenario's order. domain: all images of a domain. share: of each class's images.
    folder: a user's own folder or .npz archive, relative to the scenario file. layout: how to read a folder that could be
    two things: the folders inside are the classes, or splits that hold the classes. validation, test: folders of its held-out
    images, with one folder per class.
    old_share: the share of earlier stages' images still available when this one arrives, to every strategy but scratch.
    Discarded images stay discarded.
    """

    classes: int | None = Field(default=None, gt=0, le=_MOST_CLASSES)
    domain: str | None = Field(default=None, min_length=1)
    share: float | None = Field(default=None, gt=0, le=1)
    folder: str | None = Field(default=None, min_length=1)
    old_share: float = Field(default=1.0, gt=0, le=1)
    layout: Literal["classes", "splits"] | None = None
    validation: str | None = Field(default=None, min_length=1)
    test: str | None = Field(default=None, min_length=1)

    unhashed_defaults = frozenset({"classes", "domain", "share", "folder", "old_share", "layout", "validation", "test"})

    @model_validator(mode="after")
    def _one_source(self) -> Stage:
        given = [name for name in _ARRIVES.values() if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'none'} of classes, domain, share, folder, expected exactly one. Change it."
            )
        if self.layout is not None and (self.folder is None or self.folder.endswith(".npz")):
            raise ValueError("layout: found in a stage that is not a folder of images. Remove it.")
        for use in HELD_OUT:
            if getattr(self, use) is not None and self.folder is None:
                raise ValueError(f"{use}: found in a stage that is not a folder of your own. Remove it.")
        return self

    @property
    def source(self) -> str:
        """Which of "classes", "domain", "share" and "folder" is set."""
        return next(name for name in _ARRIVES.values() if getattr(self, name) is not None)


class ModelPart(_Part):
    """A model, by name, and optionally an existing old model.

    checkpoint: a user's own file, relative to the scenario file; None trains the old model on stage 0. weights: which of several
    models in it: "ema", "model", or where it is in the file. untrained_is_fine: use it even if it knows no old class.
    trained_on: a text file that lists the old images that it was trained on; held-out images are then not cut from these.
    mean, std: of each channel, of pixels in 0..1, that every model of the scenario expects; preprocessing: the same by name.
    None: those of the old training images. resize, crop: pixels that every image file's shorter side is resized to, and of the
    square that is then cut from its centre, as torchvision's Resize and CenterCrop do; None: the whole centre square.
    """

    name: str = Field(min_length=1)
    checkpoint: str | None = Field(default=None, min_length=1)
    weights: str | None = Field(default=None, min_length=1)
    untrained_is_fine: bool = False
    trained_on: str | None = Field(default=None, min_length=1)
    mean: tuple[float, ...] | None = Field(default=None, min_length=1, strict=False)
    std: tuple[float, ...] | None = Field(default=None, min_length=1, strict=False)
    resize: int | None = Field(default=None, gt=0, le=_LARGEST_IMAGE)
    crop: int | None = Field(default=None, gt=0, le=_LARGEST_IMAGE)
    preprocessing: Literal["imagenet", "imagenet-224"] | None = None

    unhashed_defaults = frozenset(
        {"checkpoint", "weights", "untrained_is_fine", "trained_on", "mean", "std", "resize", "crop", "preprocessing"}
    )

    @model_validator(mode="after")
    def _holds_together(self) -> ModelPart:
        for name in ("weights", "untrained_is_fine", "trained_on"):
            if self.checkpoint is None and getattr(self, name):
                raise ValueError(
                    f"{name}: found without a checkpoint, which it is about. Remove it, or add checkpoint."
                )
        if self.preprocessing and (self.mean or self.std):
            raise ValueError("preprocessing: found together with mean or std, expected one of them. Remove one.")
        if (self.resize is None) != (self.crop is None):
            raise ValueError("resize and crop: found one of them, expected both or none. Add the other.")
        if self.resize is not None and self.crop is not None:
            if self.preprocessing in RESIZED_PRESETS:
                raise ValueError(
                    f"preprocessing: found {self.preprocessing!r} together with resize and crop. Remove one."
                )
            if self.crop > self.resize:
                raise ValueError(
                    f"crop: found {self.crop}, expected at most resize, {self.resize}. Change one of them."
                )
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std: found one of them, expected both or none. Add the other.")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise ValueError(
                    f"std: found {len(self.std)} numbers and a mean of {len(self.mean)}, expected one of each per channel. "
                    "Change one."
                )
            wrong = next((value for value in self.mean if not 0 <= value <= 1), None)
            if wrong is not None:
                raise ValueError(
                    f"mean: found {wrong:g}, expected 0 to 1, as of pixels in 0..1. Divide mean and std by 255."
                )
            wrong = next((value for value in self.std if not 0 < value <= 1), None)
            if wrong is not None:
                raise ValueError(
                    f"std: found {wrong:g}, expected above 0 and at most 1, as of pixels in 0..1. "
                    f"{'Divide mean and std by 255' if wrong > 1 else 'Change it'}."
                )
        return self

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The named mean and standard deviation of each channel, of pixels in 0..1; None for the old training images' own."""
        if self.preprocessing is not None:
            return PRESETS[self.preprocessing]
        return (self.mean, self.std) if self.mean is not None and self.std is not None else None

    @property
    def resizing(self) -> tuple[int, int] | None:
        """(resize, crop), named or of the preset; None for the whole centre square."""
        if self.preprocessing in RESIZED_PRESETS:
            return RESIZED_PRESETS[self.preprocessing]
        return (self.resize, self.crop) if self.resize is not None and self.crop is not None else None


class TrainingPart(_Part):
    """The settings that all strategies of the closed division share."""

    epochs: int = Field(gt=0, le=_MOST_EPOCHS)  # scratch's budget: passes over all images of old + new
    batch_size: int = Field(gt=0, le=_LARGEST_BATCH)
    optimizer: Literal["sgd"] = "sgd"
    learning_rate: float = Field(gt=0)  # the peak; the strategy's schedule scales it
    momentum: float = Field(ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(ge=0)
    label_smoothing: float = Field(ge=0, lt=1)
    precision: Literal["fp32", "bf16"]
    compile: bool = False  # with torch.compile, for every strategy: the same learning, but not bit for bit
    crop_padding: int = Field(ge=0, le=_LARGEST_IMAGE)  # pixels of zeros
    flip: bool  # mirror half of the images horizontally
    crop_scale: float | None = Field(
        default=None, gt=0, le=1
    )  # for random resized crops: the smallest share of the area

    # The old model's rate stays at the peak until this last share of its steps, and falls then; None: it falls after the warm-up.
    base_decay: float | None = Field(default=None, gt=0, le=0.5)

    # The old model's passes over the old images; None: as many as scratch's, `epochs`.
    base_epochs: int | None = Field(default=None, gt=0, le=_MOST_EPOCHS)

    # On several devices: statistics of each one's share of a batch, or of the whole. On one device, both are the same.
    batch_norm: Literal["local", "synchronized"] = "local"

    unhashed_defaults = frozenset({"crop_scale", "base_decay", "base_epochs", "batch_norm"})

    @model_validator(mode="after")
    def _a_length_that_can_be_trained(self) -> TrainingPart:
        if self.base_epochs is not None and self.base_epochs > _LONGEST_BASE * self.epochs:
            raise ValueError(
                f"base_epochs: found {self.base_epochs}, expected at most {_LONGEST_BASE} times epochs. Lower it."
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_crop(self) -> TrainingPart:
        if self.crop_scale is not None and self.crop_padding:
            raise ValueError(
                f"crop_padding: found {self.crop_padding} together with crop_scale, expected 0. Keep one kind of crop."
            )
        return self


class EvaluationPart(_Part):
    """When accuracy is measured, relative to scratch's budget. A trial's own end is always on the grid."""

    points: int = Field(gt=0, le=MOST_POINTS)  # evenly spaced over scratch's steps
    test_every: int = Field(gt=0, le=MOST_POINTS)  # test accuracy is measured at every n-th point, and at the end


class PilotPart(_Part):
    """That a scenario is a pilot of another: Scenario.as_pilot writes it.

    of: the other's name. share: of each stage's training images, class by class. passes: of scratch's passes over them. held_out:
    the most validation images, and the most test images, as a share of the images that scratch trains on, each time counted.
    """

    of: str = Field(min_length=1)
    share: float = Field(gt=0, lt=1)
    passes: float = Field(gt=0, le=1)
    held_out: float = Field(gt=0)


# What as_pilot sets: with it, scratch, naive at half and optimized cost 0.9 of the share in training and 0.25 in evaluating.
_PILOT = {"passes": 0.5, "held_out": 0.1}
_PILOT_POINTS = 6


class Scenario(_Part):
    """One question, the same for every strategy. Frozen; two scenarios with equal `hash()` ask the same question.

    target: each update's published target, in order; in a file, [target], or one [[target]] per update of a chain.
    """

    name: str = Field(pattern=NAME, max_length=_LONGEST_NAME)
    title: str = Field(min_length=1)
    kind: Kind
    data: DataPart
    stages: tuple[Stage, ...] = Field(min_length=2, max_length=_MOST_STAGES, strict=False)
    model: ModelPart
    training: TrainingPart
    evaluation: EvaluationPart
    target: tuple[TargetPart, ...] | None = Field(default=None, strict=False)  # None: provisional, from a run itself
    pilot: PilotPart | None = None
    # The scenario file's folder, which `folder` and `checkpoint` are relative to. Not part of the hash.
    root: Path | None = Field(default=None, exclude=True, repr=False)

    unhashed_defaults = frozenset({"target", "pilot"})

    @field_validator("target", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _holds_together(self) -> Scenario:
        for field in ("base_decay", "base_epochs"):
            if getattr(self.training, field) is not None and self.model.checkpoint is not None:
                raise ValueError(
                    f"training.{field}: found together with model.checkpoint, but then no old model is trained. Remove one."
                )
        expected = _ARRIVES[self.kind]
        for place, stage in enumerate(self.stages):
            if stage.source not in (expected, "folder"):
                either = expected if expected == "folder" else f"{expected} or folder"
                raise ValueError(
                    f"stages[{place}]: found {stage.source} in a {self.kind} scenario, expected {either}. Change one of them."
                )
        sources = sorted({stage.source for stage in self.stages})
        if len(sources) > 1:
            raise ValueError(f"stages: {' and '.join(sources)} are mixed, expected one kind of source. Change some.")
        twice = _first_repeated([stage.domain or stage.folder for stage in self.stages if stage.domain or stage.folder])
        if twice is not None:
            raise ValueError(f"stages: {twice!r} is listed twice, expected each once. Change one.")
        if self.stages[0].old_share != 1:
            raise ValueError("stages[0].old_share: found in the first stage, which has no old data. Remove it.")
        shares = sum(stage.share or 0 for stage in self.stages)
        if shares > 1 + _ROUNDING:
            raise ValueError(f"stages: shares sum to {shares:g}, expected at most 1. Lower one of them.")
        self._check_data(own_folders=sources == ["folder"])
        for use in HELD_OUT:
            self._check_held_out(use, own_folders=sources == ["folder"])
        if self.target is not None:
            check_targets(self.target, self.updates)
        return self

    def _check_data(self, *, own_folders: bool) -> None:
        data, asked = self.data, sum(stage.classes or 0 for stage in self.stages)
        if self.model.resizing is not None and data.image_size != self.model.resizing[1]:
            key = "preprocessing" if self.model.preprocessing in RESIZED_PRESETS else "crop"
            raise ValueError(
                f"data.image_size: found {data.image_size}, but model.{key} cuts {self.model.resizing[1]} pixels, expected "
                "the same. Change one of them."
            )
        if not own_folders:
            if data.set is None:
                raise ValueError("data.set: missing. Add it, or name a folder in every stage.")
            if data.duplicates != "drop":
                raise ValueError("data.duplicates: found, but the stages name no folders of your own. Remove it.")
            if self.model.trained_on is not None:
                raise ValueError("model.trained_on: found, but the stages name no folders of your own. Remove it.")
            if data.classes is not None and asked > len(data.classes):
                raise ValueError(
                    f"data.classes: found {len(data.classes)} names, but the stages ask for {asked}. List more, or ask for fewer."
                )
            return
        if self.model.trained_on is not None and (self.stages[0].folder or "").endswith(".npz"):
            raise ValueError(
                "model.trained_on: found, but the first stage is an archive, whose images have no names. Remove it."
            )
        if data.set is not None:
            raise ValueError(f"data.set: found {data.set!r}, but the stages name folders. Remove it.")
        if data.image_size is None:
            raise ValueError("data.image_size: missing, but required when stages name folders. Add it.")
        if self.kind in ("class-incremental", "mixed"):
            for name in ("classes", "class_order_seed"):
                if getattr(data, name) is not None:
                    raise ValueError(f"data.{name}: found, but the folders determine the class order. Remove it.")

    def _check_held_out(self, use: str, *, own_folders: bool) -> None:
        """Raise ValueError unless the held-out images of a use are named once, or a share of each class is cut off."""
        whole, share = getattr(self.data, use), getattr(self.data, f"{use}_share")
        apart = [place for place, stage in enumerate(self.stages) if getattr(stage, use) is not None]
        if whole is not None and not own_folders:
            raise ValueError(f"data.{use}: found, but the stages name no folders of your own. Remove it.")
        if whole is not None and apart:
            raise ValueError(f"data.{use}: found together with stages[{apart[0]}].{use}, expected one. Remove one.")
        if whole is not None and self.kind == "domain-incremental":
            raise ValueError(
                f"data.{use}: found in a domain-incremental scenario, expected a folder for each domain. Name {use} in each "
                "stage instead."
            )
        named = whole is not None or len(apart) == len(self.stages)
        if named and share is not None:
            key = f"data.{use}" if whole is not None else f"every stage's {use}"
            raise ValueError(f"data.{use}_share: found, but {key} names these images. Remove one.")
        if not named and share is None and (own_folders or use == "validation"):
            why = ", but required when stages name folders" if own_folders else ""
            raise ValueError(f"data.{use}_share: missing{why}. Add it{f', or {use}' if own_folders else ''}.")

    def held_out(self, use: str, place: int) -> str | None:
        """Return the folder that a stage's held-out images of a use, validation or test, are in; None if they are cut off."""
        return getattr(self.data, use) or getattr(self.stages[place], use)

    @property
    def own_folders(self) -> bool:
        """Whether the stages name the user's own folders rather than parts of a known set."""
        return self.data.set is None

    @property
    def updates(self) -> int:
        """How many updates follow stage 0: 1, or more in a chain."""
        return len(self.stages) - 1

    @property
    def whole(self) -> Scenario:
        """The scenario that a pilot is of; of any other, itself. Its title and evaluations remain the pilot's."""
        return self.model_copy(update={"name": self.pilot.of, "pilot": None}) if self.pilot else self

    def as_pilot(self, share: float) -> Scenario:
        """Return a pilot of this scenario: the same comparison on a share of its training images and of its steps.

        The old model stays that of the whole scenario. Its results are those of another scenario, with another name and hash.
        Raises ScenarioError for a chain, for a pilot, and for a share that is not between 0 and 1.
        """
        if self.updates > 1 or self.pilot:
            what = "a pilot itself" if self.pilot else f"a chain of {self.updates} updates"
            raise ScenarioError(
                f"{self.name}: {what}, expected a whole scenario of one update for a pilot. Run it whole."
            )
        if not isinstance(share, int | float) or not 0 < share < 1:
            raise ScenarioError(
                f"{self.name}: pilot {share!r}: expected a share between 0 and 1, such as 0.1. Change it."
            )
        changes = {
            "name": f"{self.name}-pilot-{share:g}",
            "title": f"A pilot of {share:g}: {self.title}",
            "evaluation": EvaluationPart(points=_PILOT_POINTS, test_every=_PILOT_POINTS),
            "target": None,
            "pilot": PilotPart(of=self.name, share=float(share), **_PILOT),
        }
        return self.model_copy(update=changes)

    def hash(self) -> str:
        """Return 16 hex digits over all fields but title and target, which change no trial."""
        return digest(self.model_dump(mode="json", exclude={"title", "target"}))

    def base_hash(self) -> str:
        """Return 16 hex digits over what a base model depends on: all fields but title, target and evaluation."""
        return digest(self.model_dump(mode="json", exclude={"title", "target", "evaluation"}))


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises ScenarioError with file, key, what was found and what was expected.
    """
    try:
        # With or without a byte order mark, and with any line ends.
        content = tomllib.loads(read_at_most(path, LARGEST_FILE).decode("utf-8-sig"))
    except OSError as cause:
        raise ScenarioError(f"{path}: cannot be read ({cause.strerror}). Give a readable UTF-8 TOML file.") from cause
    except UnicodeDecodeError as cause:
        raise ScenarioError(f"{path}: cannot be read ({cause}). Give a readable UTF-8 TOML file.") from cause
    except (ValueError, RecursionError) as cause:  # of TOML's grammar, or too many digits, or too many brackets
        reason = "nested too deeply" if isinstance(cause, RecursionError) else cause
        raise ScenarioError(f"{path}: not valid TOML: {reason}. Fix the syntax there.") from cause
    return parse_scenario(content, str(path)).model_copy(update={"root": path.parent})


def parse_scenario(content: dict[str, Any], where: str) -> Scenario:
    """Build a Scenario from plain values; `where` names their origin in errors. Raises ScenarioError."""
    if "root" in content:  # a field, but not a key of the file
        raise ScenarioError(f"{where}: root: unknown key. Remove it.")
    try:
        return Scenario.model_validate(content)
    except ValidationError as cause:
        raise ScenarioError(_explain(cause, where)) from None


def _explain(cause: ValidationError, where: str) -> str:
    """Turn the first complaint into one line: file, key, found, expected, what to do."""
    key, kind, said, more = first_fault(cause)
    rest = f" (and {more} more)" if more else ""
    if kind == "value_error":
        nested = ": " if said.startswith("found") else "."  # some begin with a field's name
        return f"{where}: {key}{nested if key else ''}{said}{rest}"
    remedy = {"extra_forbidden": "Remove it, or fix its spelling", "missing": "Add it"}.get(kind, "Change it")
    return f"{where}: {key}: {said}. {remedy}{rest}."


def _first_repeated(values: Sequence[str | None]) -> str | None:
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def canonical(value: Any) -> str:
    """Return the canonical JSON text of a plain value: sorted keys, no spaces. Hashes are taken over it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]
