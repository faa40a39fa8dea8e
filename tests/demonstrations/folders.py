"""From folders on disk and a checkpoint of plain torchvision to an answer and a model, as a transcript.

    python -m tests.demonstrations.folders photo-art --each 150 --data FOLDER > docs/demonstrations/photo-art.md

Writes images of real sets (pacs.npz, or tiny-imagenet-200 with its validation half) as files into a temporary folder, trains an
old model there without bench (elsewhere.py), runs the two commands of the README, then its code on one new image, and its lines
on every validation image (everywhere.py). The transcript holds every command and what it printed, but for progress. --each takes
fewer images of each class. With very few, the old model is refused: it does not stand out from guessing on a handful of
validation images.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.sources.find import load_images
from bench.data.stages.splits import cut
from bench.errors import DataError
from bench.scenario import load_scenario

_ROOT = Path(__file__).resolve().parents[2]
_SIZE, _MODEL = 32, "shufflenet_v2_x0_5"


Write = Callable[[Path, Path, int], None]


def _write(pixels: np.ndarray, folder: Path, begin: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{begin + number:04d}.png")


def photo_art(data: Path, folder: Path, each: int) -> None:
    """Photos of seven classes, then art paintings of the same."""
    pacs = np.load(data / "pacs.npz")
    for domain, place in (("photo", "photo"), ("art_painting", "art")):
        pixels, labels = pacs[f"x_{domain}"], pacs[f"y_{domain}"]
        for number, name in enumerate(pacs["classes"]):
            _write(pixels[labels == number][:each], folder / place / str(name))


def photo_mixed(data: Path, folder: Path, each: int) -> None:
    """Most photos of five classes; then the other photos of these, and art paintings of the other two."""
    pacs = np.load(data / "pacs.npz")
    for number, name in enumerate(map(str, pacs["classes"])):
        photos, art = (
            pacs[f"x_{domain}"][pacs[f"y_{domain}"] == number][:each] for domain in ("photo", "art_painting")
        )
        if number < 5:
            kept = 3 * len(photos) // 4
            _write(photos[:kept], folder / "old" / name)
            _write(photos[kept:], folder / "new" / name, kept)
        else:
            _write(art, folder / "new" / name)


def tiny_imagenet(data: Path, folder: Path, each: int) -> None:
    """A hundred classes of Tiny-ImageNet's validation half, in their JPEG files, then the other hundred."""
    half = data / "tiny-imagenet-200" / "val"
    rows = [line.split("\t")[:2] for line in (half / "val_annotations.txt").read_text().splitlines()]
    names = sorted({name for _, name in rows})
    for file, name in (row for name in names for row in [row for row in rows if row[1] == name][:each]):
        place = folder / ("old" if names.index(name) < 100 else "new") / name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(half / "images" / file, place / file)


# What to write, the folders of old and new images, epochs of the old model and of scratch.
DEMONSTRATIONS: dict[str, tuple[Write, str, str, int, int]] = {
    "photo-art": (photo_art, "photo", "art", 10, 12),
    "photo-mixed": (photo_mixed, "old", "new", 20, 20),
    "tiny-imagenet": (tiny_imagenet, "old", "new", 6, 5),
}


def told(words: list[str], folder: Path) -> None:
    """Run a command in a folder, and print it as a transcript does. Progress is left out."""
    own = _ROOT / "tests" / "demonstrations"
    known = {sys.executable: "python"} | {str(own / name): name for name in ("elsewhere.py", "everywhere.py")}
    shown = [known.get(word, word) for word in words]
    print(f"$ {shlex.join(shown[2:] if shown[:2] == ['python', '-m'] else shown)}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "COLUMNS": "100"}
    done = subprocess.run(words, cwd=folder, env=environment, text=True, capture_output=True)
    print(done.stdout.replace(f"{folder}{os.sep}", "").rstrip(), flush=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def demonstrate(name: str, data: Path, folder: Path, each: int) -> None:
    """Print one transcript. Raises DataError where the set is not in `data`."""
    write, old, new, before, epochs = DEMONSTRATIONS[name]
    try:
        write(data, folder, each)
    except FileNotFoundError as cause:
        raise DataError(f"{cause.filename}: not found, expected the set of {name}. Put it there.") from cause
    command = f"python -m tests.demonstrations.folders {name} --each {each} --data FOLDER"
    print(f"# {(write.__doc__ or '').rstrip('.')}\n\nMade by `{command}`. {_reduced(each, before, epochs)}\n\n```text")
    elsewhere = Path(__file__).with_name("elsewhere.py")
    told([sys.executable, str(elsewhere), old, _MODEL, str(_SIZE), str(before), "model.pt"], folder)
    given = ["--old", old, "--new", new, "--model", "model.pt", "--architecture", _MODEL, "--preprocessing", "imagenet"]
    words = [sys.executable, "-m", "bench", "update", *given, "--image-size", str(_SIZE), "--epochs", str(epochs)]
    words += ["--batch-size", "32"]
    places = ["--output", "updated", "--cache", "cache", "--data-root", "data", "--device", "cpu", "--threads", "1"]
    told([*words, *places, "--dry-run"], folder)
    told([*words, *places], folder)
    told(["cat", "updated/verdict.json"], folder)
    told(["cat", "updated/model.json"], folder)
    told(["ls", "updated"], folder)
    one = sorted((folder / new).rglob("*.*"))[-1]
    print(f"$ cp {one.relative_to(folder)} cat.jpg")
    shutil.copy(one, folder / "cat.jpg")
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    code = next(part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "load_file" in part)
    (folder / "predict.py").write_text(code, encoding="utf-8")
    told(["cat", "predict.py"], folder)
    told([sys.executable, "predict.py"], folder)
    listed = validation_files(folder / "updated" / "scenario.toml", folder / "data")
    places = [f"{Path(file).relative_to(folder)}\t{label}\n" for file, label in listed]
    (folder / "validation.txt").write_text("".join(places), encoding="utf-8")
    everywhere = Path(__file__).with_name("everywhere.py")
    told(["cat", str(everywhere)], folder)
    told([sys.executable, str(everywhere)], folder)
    print("```")


def _reduced(each: int, before: int, epochs: int) -> str:
    """Say what keeps it short: it shows the way, and its answer is about this little training alone."""
    return (
        f"Reduced, so that it takes minutes on one core: at most {each} images of each class and folder, {_SIZE} x {_SIZE} "
        f"pixels, {before} epochs of the old model and {epochs} of scratch, and a small model."
    )


def validation_files(scenario: Path, data: Path) -> list[tuple[str, str]]:
    """Return each validation image's file and class, of all stages, as a scenario file's run evaluates them."""
    known = load_scenario(scenario)
    images = load_images(known, data)
    chosen = np.concatenate(cut(known, images).validation)
    return [(images.names_train[place], images.class_names[images.y_train[place]]) for place in chosen.tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=DEMONSTRATIONS)
    parser.add_argument("--each", type=int, default=1000, help="images of each class and folder, at most")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        demonstrate(arguments.name, arguments.data, Path(folder), arguments.each)


if __name__ == "__main__":
    main()
