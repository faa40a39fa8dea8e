"""Small made-up trees of image files, in the layouts of real sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.catalog import find_scenario
from bench.scenario import Scenario, load_scenario, parse_scenario

WNIDS = ("n01443537", "n01629819", "n01641577")


def write_image(path: Path, number: int, size: tuple[int, int] = (12, 10)) -> None:
    """Write noise that depends on `number`; the suffix sets the format. size: (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def class_folders(tree: Path, classes: Sequence[str], each: int = 5, ending: str = ".png", first: int = 0) -> Path:
    """Write an ImageFolder tree of `each` images per class, of different sizes."""
    for place, name in enumerate(classes):
        for number in range(each):
            write_image(tree / name / f"{number}{ending}", first + place * each + number, (12 + number, 10))
    return tree


def tiny_imagenet(root: Path, classes: Sequence[str] = WNIDS) -> Path:
    """Write tiny-imagenet-200/ with five training and two validation images per class."""
    folder = root / "tiny-imagenet-200"
    for place, name in enumerate(classes):
        for number in range(5):
            write_image(folder / "train" / name / "images" / f"{name}_{number}.JPEG", place * 5 + number, (64, 64))
        (folder / "train" / name / f"{name}_boxes.txt").write_text("boxes")
    lines = []
    for number in range(2 * len(classes)):
        write_image(folder / "val" / "images" / f"val_{number}.JPEG", 100 + number, (64, 64))
        lines.append(f"val_{number}.JPEG\t{classes[number % len(classes)]}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return folder


def scenario_of(kind: str, stages: list[dict], root: Path | None = None, **data: object) -> Scenario:
    """digits-7-3 with another kind, other stages and data. root: the folder that stages' folders are relative to."""
    content = load_scenario(find_scenario("digits-7-3")).model_dump(mode="json")
    content |= {"kind": kind, "stages": stages, "data": {"validation_share": 0.2, **data}}
    return parse_scenario(content, "test").model_copy(update={"root": root})


def own(kind: str, root: Path, folders: Sequence[str] = ("old", "new"), size: int = 8, **data: object) -> Scenario:
    """A scenario of a user's own folders under `root`."""
    stages = [{"folder": folder} for folder in folders]
    return scenario_of(kind, stages, root, **{"test_share": 0.2, "image_size": size, **data})
