"""The data sets that bench knows by name: what each must look like, and where to find it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.data.files.folders import Use, list_annotated, list_class_folders
from bench.data.images import Arrays
from bench.data.sources import glyphs
from bench.data.sources.assemble import Tree
from bench.errors import DataError
from bench.extras import optional_package
from bench.streams import numpy_stream

# (the set's own folder, domains asked for, classes asked for) -> its trees
Layout = Callable[[Path, Sequence[str], Sequence[str] | None], list[Tree]]


@dataclass(frozen=True)
class Embedded:
    """A set that installed packages bring.

    load: returns its arrays. origin: returns what brings it, as text for records. needs: (name of a module, name of its
    package) where that package is optional.
    """

    load: Callable[[], Arrays]
    origin: Callable[[], str]
    needs: tuple[str, str] | None = None


@dataclass(frozen=True)
class SetFacts:
    """What a known set must look like, and where it may be, in search order.

    shape: (height, width, channels) of arrays; None for a set that comes as files only. If there is a shape,
    `<root>/<name>.npz` is always tried. torchvision: the name of its class in torchvision.datasets. system: a folder that
    an operating-system package fills. embedded: for a set that installed packages bring.
    domains: their names. joined: whether it is made of one set per domain, resized to shape.
    folders: where its trees may be, relative to the root. layout: lists them. size: pixels of its files; None: various.
    has_test: whether it comes with its own test part.
    """

    classes: int
    shape: tuple[int, int, int] | None
    torchvision: str | None = None
    system: Path | None = None
    embedded: Embedded | None = None
    remedy: str = ""
    domains: tuple[str, ...] = ()
    joined: bool = False
    folders: tuple[str, ...] = ()
    layout: Layout | None = None
    size: int | None = None
    has_test: bool = True
    licence: str = "none stated"

    @property
    def comes_in_parts(self) -> bool:
        """Whether it has to be assembled, from trees of files or from an archive's domains."""
        return self.layout is not None

    def tree_folder(self, root: Path) -> Path | None:
        """Return the folder of the set's trees under `root`, or None if there is none."""
        return next((root / name for name in self.folders if (root / name).is_dir()), None)


def _digits() -> Arrays:
    """scikit-learn's digits: 1,797 images of 8 x 8, 17 grey levels; a quarter of every class is the test part."""
    load_digits = optional_package("sklearn.datasets", "data.set 'digits'", package="scikit-learn").load_digits
    pixels, target = load_digits(return_X_y=True)
    images = np.rint(np.asarray(pixels).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = np.asarray(target, dtype=np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        chosen = numpy_stream(0, "digits", "test", label).permutation(members)[: len(members) // 4]
        test[chosen] = True
    return {"x_train": images[~test], "y_train": labels[~test], "x_test": images[test], "y_test": labels[test]}


def _tiny_imagenet(folder: Path, domains: Sequence[str], classes: Sequence[str] | None) -> list[Tree]:
    """train/<wordnet id>/images/*.JPEG, and val/ with its annotations as the test part."""
    return _train_and_test(
        folder,
        [
            Tree(list_class_folders(folder / "train", classes, inner="images"), "train"),
            Tree(list_annotated(folder / "val", classes), "test"),
        ],
    )


def _imagenet(folder: Path, domains: Sequence[str], classes: Sequence[str] | None) -> list[Tree]:
    """train/<wordnet id>/*.JPEG, and val/<wordnet id>/*.JPEG as the test part."""
    parts: tuple[tuple[str, Use], ...] = (("train", "train"), ("val", "test"))
    return _train_and_test(folder, [Tree(list_class_folders(folder / name, classes), use) for name, use in parts])


def _train_and_test(folder: Path, trees: list[Tree]) -> list[Tree]:
    apart = sorted(set(trees[0].listing.class_names) ^ set(trees[1].listing.class_names))
    if apart:
        raise DataError(
            f"{folder}: class {apart[0]!r} in only one of train/ and val/, expected in both. Unpack it again."
        )
    return trees


def _one_folder_a_domain(folder: Path, domains: Sequence[str], classes: Sequence[str] | None) -> list[Tree]:
    """<domain>/<class>/*, without a test part."""
    trees = [Tree(list_class_folders(folder / domain, classes), "cut", domain) for domain in domains]
    for tree in trees[1:]:
        apart = sorted(set(tree.listing.class_names) ^ set(trees[0].listing.class_names))
        if apart:
            raise DataError(
                f"{folder}: class {apart[0]!r} in only one of {domains[0]}/ and {tree.domain}/, expected in both. "
                "Unpack the set again."
            )
    return trees


def _drawn() -> str:
    return f"embedded (drawn with {glyphs.versions()})"


def _glyphs(load: Callable[[], Arrays]) -> SetFacts:
    count, size = len(glyphs.CHARACTERS), glyphs.SIZE
    return SetFacts(count, (size, size, 1), embedded=Embedded(load, _drawn), licence=_FONTS)


_FONTS = "the fonts' own, shipped with matplotlib: DejaVu, STIX, BaKoMa (Computer Modern)"
_RESEARCH = "images of various owners, for non-commercial research"

SETS: dict[str, SetFacts] = {
    "digits": SetFacts(
        10,
        (8, 8, 1),
        embedded=Embedded(_digits, lambda: "embedded (scikit-learn)", ("sklearn", "scikit-learn")),
        licence="CC BY 4.0 (UCI), shipped with scikit-learn",
    ),
    "glyphs": _glyphs(glyphs.glyphs),
    "glyphs-sans": _glyphs(partial(glyphs.family, "sans")),
    "glyphs-serif": _glyphs(partial(glyphs.family, "serif")),
    "glyphs-sans-serif": SetFacts(
        len(glyphs.CHARACTERS),
        (glyphs.SIZE, glyphs.SIZE, 1),
        domains=("glyphs-sans", "glyphs-serif"),
        joined=True,
        licence="those of glyphs-sans and glyphs-serif",
    ),
    "fashion-mnist": SetFacts(
        10,
        (28, 28, 1),
        torchvision="FashionMNIST",
        system=Path("/usr/share/datasets/fashion-mnist"),
        remedy="or install Debian's package dataset-fashion-mnist",
        licence="MIT",
    ),
    "cifar10": SetFacts(10, (32, 32, 3), torchvision="CIFAR10", licence="none stated; cite Krizhevsky 2009"),
    "cifar100": SetFacts(100, (32, 32, 3), torchvision="CIFAR100", licence="none stated; cite Krizhevsky 2009"),
    "mnist": SetFacts(10, (28, 28, 1), torchvision="MNIST", licence="CC BY-SA 3.0 (LeCun and Cortes)"),
    "usps": SetFacts(10, (16, 16, 1), torchvision="USPS", licence="none stated; cite Hull 1994"),
    "mnist-usps": SetFacts(10, (28, 28, 1), domains=("mnist", "usps"), joined=True, licence="those of mnist and usps"),
    "pacs": SetFacts(
        7,
        None,
        domains=("photo", "art_painting", "cartoon", "sketch"),
        folders=("pacs/kfold", "PACS/kfold", "pacs", "PACS", "kfold"),
        layout=_one_folder_a_domain,
        has_test=False,
        remedy="pacs.npz (uint8 x_DOMAIN, y_DOMAIN), or pacs/kfold/<domain>/<class>/*.jpg from domaingeneralization.github.io",
        licence="none stated; cite Li et al. 2017",
    ),
    "adaptiope": SetFacts(
        123,
        None,
        domains=("product_images", "real_life", "synthetic"),
        folders=("adaptiope", "Adaptiope"),
        layout=_one_folder_a_domain,
        has_test=False,
        remedy="adaptiope/<domain>/<class>/*.jpg from gitlab.com/tringwald/adaptiope",
        licence="see its authors' page; cite Ringwald and Stiefelhagen 2021",
    ),
    "tiny-imagenet": SetFacts(
        200,
        None,
        folders=("tiny-imagenet-200",),
        layout=_tiny_imagenet,
        size=64,
        remedy="tiny-imagenet-200/ unpacked from cs231n.stanford.edu/tiny-imagenet-200.zip",
        licence=_RESEARCH,
    ),
    "imagenet": SetFacts(
        1000,
        None,
        folders=("imagenet", "ImageNet", "ILSVRC2012"),
        layout=_imagenet,
        remedy="imagenet/train/<wordnet id>/*.JPEG and imagenet/val/<wordnet id>/*.JPEG from image-net.org",
        licence=_RESEARCH,
    ),
}

# A file that exists when torchvision has the set, relative to the root.
TORCHVISION_FILES = {
    "FashionMNIST": "FashionMNIST/raw/t10k-images-idx3-ubyte",
    "CIFAR10": "cifar-10-batches-py/test_batch",
    "CIFAR100": "cifar-100-python/test",
    "MNIST": "MNIST/raw/t10k-images-idx3-ubyte",
    "USPS": "usps.t.bz2",
}
