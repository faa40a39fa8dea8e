"""Image sets by name, and where on this machine they may lie."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from bench.errors import DataError
from bench.streams import numpy_stream

Arrays = dict[str, np.ndarray]
_KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class ImageSet:
    """A whole data set in memory.

    x_train, x_test: uint8 (images, height, width, channels). y_train, y_test: int64 (images,), 0..classes-1.
    source: where it was found, in words without a path.
    domains: their names; none where the set has none. domain_train, domain_test: int64 (images,), index into `domains`.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    source: str
    domains: tuple[str, ...] = ()
    domain_train: np.ndarray | None = None
    domain_test: np.ndarray | None = None

    def hash(self) -> str:
        """Return 16 hex digits over every pixel and label, and every domain where there are any."""
        running = hashlib.sha256()
        arrays = [self.x_train, self.y_train, self.x_test, self.y_test]
        if self.domain_train is not None and self.domain_test is not None:
            running.update("/".join(self.domains).encode())
            arrays += [self.domain_train, self.domain_test]
        for array in arrays:
            running.update(repr(array.shape).encode())
            running.update(np.ascontiguousarray(array).tobytes())
        return running.hexdigest()[:16]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        height, width, channels = self.x_train.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class SetFacts:
    """What a known set must look like, and where else than `<root>/<name>.npz` it may be.

    shape: (height, width, channels). torchvision: the name of its class in torchvision.datasets.
    system: a folder that the operating system's package fills. embedded: comes with a declared dependency.
    """

    classes: int
    shape: tuple[int, int, int]
    torchvision: str | None = None
    system: Path | None = None
    embedded: Callable[[], Arrays] | None = None
    remedy: str = ""


def _digits() -> Arrays:
    """scikit-learn's digits: 1,797 images of 8 x 8, 17 grey levels; a quarter of every class is the test part."""
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    images = np.rint(np.asarray(pixels).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = np.asarray(target, dtype=np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        chosen = numpy_stream(0, "digits", "test", label).permutation(members)[: len(members) // 4]
        test[chosen] = True
    return {"x_train": images[~test], "y_train": labels[~test], "x_test": images[test], "y_test": labels[test]}


SETS: dict[str, SetFacts] = {
    "digits": SetFacts(10, (8, 8, 1), embedded=_digits),
    "fashion-mnist": SetFacts(
        10,
        (28, 28, 1),
        torchvision="FashionMNIST",
        system=Path("/usr/share/datasets/fashion-mnist"),
        remedy="or install Debian's package dataset-fashion-mnist",
    ),
    "cifar10": SetFacts(10, (32, 32, 3), torchvision="CIFAR10"),
    "cifar100": SetFacts(100, (32, 32, 3), torchvision="CIFAR100"),
}


def load_images(name: str, root: Path, *, download: bool = True) -> ImageSet:
    """Find and check a set: `<root>/<name>.npz`, torchvision's files under root, a system folder, a download.

    The .npz follows Keras: uint8 x_train, x_test of (images, height, width[, channels]), integer y_train, y_test,
    and optionally `classes`, their names.
    Raises DataError that says what to put where.
    """
    facts = SETS.get(name)
    packed = root / f"{name}.npz"
    if facts is None:
        raise DataError(f"data.set {name!r}: unknown, expected one of {', '.join(SETS)}. Mend the scenario's data.set.")
    if packed.is_file():
        return _checked(_read_npz(packed), facts, str(packed), f"{name}.npz")
    if facts.embedded is not None:
        return _checked(facts.embedded(), facts, name, "embedded (scikit-learn)")
    arrays, source = None, ""
    if facts.torchvision:
        arrays, source = _from_torchvision(facts.torchvision, root, download=False), "torchvision files"
    if arrays is None and facts.system is not None and facts.system.is_dir():
        arrays, source = _read_idx_folder(facts.system), "system package"
    reason = ""
    if arrays is None and facts.torchvision and download:
        try:
            arrays, source = _from_torchvision(facts.torchvision, root, download=True), "torchvision download"
        except Exception as cause:  # every mirror's own kind of failure; the reason goes into the one error below
            reason = f" (download failed: {type(cause).__name__})"
    if arrays is None:
        remedy = f", {facts.remedy}" if facts.remedy else ""
        raise DataError(
            f"{name}: not found under {root}{reason}. Put {name}.npz there (uint8 x_train, y_train, x_test, y_test), "
            f"or torchvision's files of {facts.torchvision}{remedy}, or name another folder with --data-root."
        )
    return _checked(arrays, facts, name, source)


def _read_npz(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in _KEYS if key not in archive.files]
            if missing:
                raise DataError(f"{path}: no array {missing[0]!r}, expected {', '.join(_KEYS)}. Pack the set again.")
            return {key: archive[key] for key in (*_KEYS, "classes") if key in archive.files}
    except (OSError, ValueError, BadZipFile, EOFError, zlib.error) as cause:
        raise DataError(f"{path}: not a readable .npz archive ({cause}). Pack or copy the set again.") from cause


def _read_idx_folder(folder: Path) -> Arrays:
    """Read the four gzip-packed idx files of the MNIST family. Source: yann.lecun.com/exdb/mnist."""
    names = {
        "x_train": "train-images-idx3-ubyte.gz",
        "y_train": "train-labels-idx1-ubyte.gz",
        "x_test": "t10k-images-idx3-ubyte.gz",
        "y_test": "t10k-labels-idx1-ubyte.gz",
    }
    return {key: _read_idx(folder / name) for key, name in names.items()}


def _read_idx(path: Path) -> np.ndarray:
    try:
        raw = gzip.decompress(path.read_bytes())
        dimensions = raw[3]
        shape = np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4)
        return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(tuple(int(n) for n in shape))
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as cause:
        raise DataError(f"{path}: not a readable idx file ({cause}). Install the package again.") from cause


def _from_torchvision(kind: str, root: Path, *, download: bool) -> Arrays | None:
    from torchvision import datasets

    build = getattr(datasets, kind)
    try:
        parts = {part: build(str(root), train=part == "train", download=download) for part in ("train", "test")}
    except RuntimeError:
        if download:
            raise
        return None  # torchvision's way to say that its files are not there
    arrays: Arrays = {}
    for part, dataset in parts.items():
        arrays[f"x_{part}"] = np.asarray(dataset.data)
        arrays[f"y_{part}"] = np.asarray(dataset.targets)
    return {**arrays, "classes": np.asarray(parts["train"].classes)}


def _checked(arrays: Arrays, facts: SetFacts, where: str, source: str) -> ImageSet:
    """Hold arrays against the set's facts. Raises DataError naming the array, what was found and expected."""
    images: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype != np.uint8:
            raise DataError(f"{where}: x_{part} is {x.dtype}, expected uint8 (0..255). Convert and pack again.")
        if x.ndim == 3:
            x = x[..., None]
        if x.shape[1:] != facts.shape:
            raise DataError(f"{where}: x_{part} holds images of {x.shape[1:]}, expected {facts.shape}. Pack again.")
        if y.dtype.kind not in "iu":
            raise DataError(f"{where}: y_{part} is {y.dtype}, expected integers. Convert and pack again.")
        y = y.reshape(-1).astype(np.int64)
        if len(y) != len(x):
            raise DataError(f"{where}: {len(x)} images but {len(y)} labels in the {part} part. Pack again.")
        if len(y) == 0 or y.min() < 0 or y.max() >= facts.classes:
            found = f"{y.min()}..{y.max()}" if len(y) else "none"
            raise DataError(f"{where}: y_{part} holds labels {found}, expected 0..{facts.classes - 1}. Pack again.")
        missing = sorted(set(range(facts.classes)) - set(np.unique(y).tolist()))
        if missing:
            raise DataError(f"{where}: no {part} image of class {missing[0]}. Pack the whole set.")
        images[f"x_{part}"], images[f"y_{part}"] = x, y
    names = tuple(str(n) for n in arrays["classes"]) if "classes" in arrays else tuple(map(str, range(facts.classes)))
    if len(names) != facts.classes:
        raise DataError(f"{where}: {len(names)} class names, expected {facts.classes}. Pack again.")
    return ImageSet(**images, class_names=names, source=source)
