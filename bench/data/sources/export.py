"""Writing a set as folders of PNG files, laid out like a user's own data, to try things out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.images import ImageSet
from bench.errors import DataError
from bench.files import make_folder, replacing


def export_folders(images: ImageSet, folder: Path, old_classes: int) -> list[Path]:
    """Write <folder>/old and <folder>/new, each with train/ and test/ of one folder per class; return these two.

    old_classes: how many of the set's classes, in its own order, go to old. Grey images stay grey.
    Raises DataError if old_classes is out of range or the folder is not empty.
    """
    names = images.class_names
    if not 0 < old_classes < len(names):
        raise DataError(
            f"--old-classes {old_classes}: expected 1..{len(names) - 1}, the set has {len(names)} classes. Change it."
        )
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: not empty; nothing is overwritten. Name another folder with --to.")
    width = len(str(max(len(images.x_train), len(images.x_test)) - 1))
    for part, pixels, labels in (("train", images.x_train, images.y_train), ("test", images.x_test, images.y_test)):
        for label, name in enumerate(names):
            target = folder / ("old" if label < old_classes else "new") / part / name.replace("/", "-")
            make_folder(target)
            for place in np.flatnonzero(labels == label):
                image = pixels[np.array([place])][0]
                with replacing(target / f"{place:0{width}}.png") as unfinished:
                    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(unfinished)
    return [folder / "old", folder / "new"]
