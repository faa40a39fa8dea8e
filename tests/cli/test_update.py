"""bench update: from two folders and a checkpoint to an answer and a model that plain PyTorch loads."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

from bench.api.updates import update_scenario, write_scenario
from bench.data.stages.splits import cut
from bench.models.build import build_model
from bench.scenario import load_scenario, parse_scenario
from tests.cli.test_main import bench, refused


def paint(folder: Path, classes: str, number: int) -> Path:
    """Write 30 images of each class, in colours that tell the classes apart. number: of the folder, for other noise."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for place in range(30):
            random = np.random.default_rng([ord(name), place, number])
            colour = 40 * (ord(name) - ord("a")) + random.integers(60, size=(20, 24, 3))
            Image.fromarray(colour.astype(np.uint8)).save(folder / name / f"{place}.png")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Old and new images: two old classes arrive again, and two are new."""
    return ["--old", str(paint(tmp_path / "old", "abc", 0)), "--new", str(paint(tmp_path / "new", "bcde", 1))]


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    places = {"--output": "up", "--cache": "cache", "--data-root": "data"}
    options = [text for option, name in places.items() for text in (option, str(tmp_path / name))]
    return [*options, "--device", "cpu", "--threads", "1"]


SMALL = ["--image-size", "16", "--epochs", "2", "--batch-size", "32", "--architecture", "resnet8-narrow"]


def test_the_preflight_shows_the_classes_and_trains_nothing(folders: list[str], where: list[str], tmp_path: Path):
    done = bench("update", *folders, *SMALL, *where, "--dry-run")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    # Of 30 images 6 are tests and 4 of the others for validation, in each folder.
    assert ["a", "20", "0", "4", "6"] in lines
    assert ["b", "20", "20", "8", "12", "more", "of", "it"] in lines
    assert ["d", "0", "20", "4", "6", "new"] in lines
    assert "2 new classes (40 images) and 40 more images of 2 known classes" in " ".join(done.stdout.split())
    assert not (tmp_path / "up").exists() or not list((tmp_path / "up").rglob("*.json"))


def test_the_preflight_shows_what_was_recognised_and_skipped(where: list[str], tmp_path: Path):
    for part, classes in (("train", "abc"), ("Test", "abc")):
        paint(tmp_path / "old" / "export" / part, classes, ord(part[0]))
    paint(tmp_path / "new", "d", 1)
    (tmp_path / "new" / "d" / "Thumbs.db").write_text("")
    (tmp_path / "new" / "d" / "notes.txt").write_text("")
    Image.new("L", (400, 300)).save(tmp_path / "new" / "d" / "0.png")
    done = bench("update", "--old", tmp_path / "old", "--new", tmp_path / "new", *SMALL, *where, "--dry-run")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    for part in ("train", "Test"):
        assert f"old/export/{part}: 90 images of 3 classes ready at 16 pixels; 24 x 20 px; RGB 90 of 90 files" in text
    assert "1 files of other endings left out (d/notes.txt), 1 hidden, system or unlabelled ones passed over" in text
    assert "from 24 x 20 to 400 x 300 px; RGB 29, L 1 of 30 files looked at." in text
    assert "test: cut off" in text or "validation and test are held out of both" in text
    paint(tmp_path / "more" / "train", "d", 2)
    paint(tmp_path / "more" / "test", "d", 3)
    done = bench("update", "--old", tmp_path / "old", "--new", tmp_path / "more", *SMALL, *where, "--dry-run")
    assert "validation: cut off; test: parts of the folders' own." in " ".join(done.stdout.split())


def test_a_folder_that_could_be_two_things_is_read_as_it_is_told(where: list[str], tmp_path: Path):
    paint(tmp_path / "old", "ab", 0)
    paint(tmp_path / "new" / "train", "ab", 1)
    paint(tmp_path / "new" / "test", "ab", 2)
    paint(tmp_path / "new", "c", 3)
    options = ["--old", tmp_path / "old", "--new", tmp_path / "new", *SMALL, *where, "--dry-run"]
    refused = bench("update", *options)
    assert refused.exit_code == 2
    assert (
        "(of bench update: as --old-layout or --new-layout), give layout = 'classes' or layout = 'splits'"
        in refused.stderr
    )
    read = bench("update", *options, "--new-layout", "splits")
    assert read.exit_code == 0, read.output
    # Of 30 images to train on 6 are for validation; class c is none.
    assert "48 more images of 2 known classes" in " ".join(read.stdout.split())
    other = bench("update", *options, "--new-layout", "splits", "--old-layout", "splits")
    assert other.exit_code == 2
    assert "old: layout = 'splits', but no folder inside is named like one" in other.stderr


def test_the_answer_and_a_model_that_plain_pytorch_loads(folders: list[str], where: list[str], tmp_path: Path):
    options = [*folders, *SMALL, *where, "--seeds", "0-1", "--strategy", "optimized"]
    done = bench("update", *options, "--keep-model", "scratch, optimized")
    assert done.exit_code == 0, done.output
    assert {line.split()[2] for line in done.stdout.splitlines() if line.startswith("model of")} == {
        "scratch:",
        "optimized:",
    }
    verdict = json.loads((tmp_path / "up" / "verdict.json").read_text())
    assert verdict["answer"] in ("continue", "retrain", "undecided")
    assert verdict["sentence"] in done.stdout
    assert [each["strategy"] for each in verdict["candidates"]] == ["optimized"]
    kept = tmp_path / "up" if verdict["use"] == "optimized" else tmp_path / "up" / "models" / "optimized"
    card = json.loads((kept / "model.json").read_text())
    assert card["classes"] == ["a", "b", "c", "d", "e"]
    model = build_model(card["architecture"], card["channels"], len(card["classes"]), 0, "test", card["image_size"])
    model.load_state_dict(load_file(kept / "model.safetensors"))
    right, images = validation_hits(model, card, tmp_path / "up" / "scenario.toml", tmp_path / "data")
    assert right / images == card["validation_accuracy"]
    again = bench(
        "update", "--scenario", tmp_path / "up" / "scenario.toml", *where, "--seeds", "0-1", "--strategy", "optimized"
    )
    assert again.exit_code == 0, again.output
    assert "4 trials: 0 to run, 4 finished already" in again.stderr


def validation_hits(model: torch.nn.Module, card: dict, scenario: Path, data: Path) -> tuple[int, int]:
    """Count hits on validation files, opened and prepared with Pillow and torchvision alone; the split is bench's."""
    from bench.data.sources.find import load_images, trees_of

    read = load_scenario(scenario)
    split = cut(read, load_images(read, data))
    files = [
        (tree.listing.folder / name, tree.listing.class_names[label])
        for tree in trees_of(read, data)
        for name, label in zip(tree.listing.files, tree.listing.labels, strict=True)
    ]
    images = load_images(read, data)
    pixels_of = {np.asarray(square(path, card)).tobytes(): (path, name) for path, name in files}
    right, model = 0, model.eval()
    held = np.concatenate(split.validation)
    for place in held:
        path, name = pixels_of[np.ascontiguousarray(images.x_train[np.array([place])][0]).tobytes()]
        with torch.inference_mode():
            pixels = transforms.functional.to_tensor(square(path, card))
            logits = model(transforms.functional.normalize(pixels, card["mean"], card["std"])[None])
        right += card["classes"][int(logits.argmax())] == name
    return right, len(held)


def square(path: Path, card: dict) -> Image.Image:
    """Return a file's centre square at the model's size, as docs/own-data.md says."""
    image = Image.open(path).convert("RGB")
    return ImageOps.fit(image, (card["image_size"], card["image_size"]), Image.Resampling.BILINEAR)


def trained_elsewhere(folder: Path, path: Path) -> None:
    """Train a torchvision model on class folders with plain PyTorch, and save its weights."""
    torch.manual_seed(0)
    ready = transforms.Compose(
        [transforms.Resize((32, 32)), transforms.ToTensor(), transforms.Normalize((0.27,) * 3, (0.14,) * 3)]
    )
    data = ImageFolder(str(folder), ready)
    pixels, labels = torch.stack([data[place][0] for place in range(len(data))]), torch.tensor(data.targets)
    model = models.resnet18(num_classes=len(data.classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(12):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixels), labels).backward()
        optimizer.step()
    torch.save(model.state_dict(), path)


def test_only_one_strategy_continues_a_torchvision_model_without_scratch(
    folders: list[str],
    where: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    trained_elsewhere(tmp_path / "old", tmp_path / "old.pt")
    size = ["--image-size", "32", "--epochs", "1", "--batch-size", "32", "--learning-rate", "0.01"]
    options = [*size, "--architecture", "resnet18", "--model", tmp_path / "old.pt"]
    done = bench("update", *folders, *options, *where, "--only", "naive[horizon=0.5]")
    assert done.exit_code == 0, done.output
    assert "validation images of the old classes" in " ".join(done.stdout.split())
    assert "1 trial: 1 to run" in done.stderr
    assert not (tmp_path / "up" / "verdict.json").exists()
    card = json.loads((tmp_path / "up" / "model.json").read_text())
    assert card["old_model_sha256"] is not None
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "load_file" in part]
    (tmp_path / "updated").symlink_to(tmp_path / "up")
    (tmp_path / "cat.jpg").symlink_to(tmp_path / "new" / "d" / "0.png")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip() in card["classes"]


def test_the_readmes_lines_open_a_large_turned_photo_as_bench_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from bench.data.files.decode import decode_image

    noise = np.random.default_rng(0).integers(256, size=(700, 1000, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(tmp_path / "cat.jpg", exif=exif)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "load_file" in part]
    lines = [line for line in code.splitlines() if line.startswith("image")]
    assert len(lines) == 4
    known = {"Image": Image, "ImageOps": ImageOps, "card": {"image_size": 64}}
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), known)
    np.testing.assert_array_equal(np.asarray(known["image"]), decode_image(tmp_path / "cat.jpg", 64))


def test_resize_and_crop_are_shown_used_and_written_on_the_card_for_the_next_update(
    folders: list[str], where: list[str], tmp_path: Path
):
    old, new = folders[1], folders[3]
    scenario = update_scenario(old, new, image_size=16, epochs=1, batch_size=32, architecture="resnet8-narrow")
    made = scenario.model_dump(mode="json")
    made["model"] |= {"resize": 20, "crop": 16, "preprocessing": "imagenet"}
    write_scenario(parse_scenario(made, "made"), tmp_path / "mine.toml")
    done = bench("update", "--scenario", tmp_path / "mine.toml", *where, "--only", "scratch")
    assert done.exit_code == 0, done.output
    assert "16 x 16 px, RGB: the shorter side resized to 20, 16 cut from the centre" in " ".join(done.stdout.split())
    card = json.loads((tmp_path / "up" / "model.json").read_text())
    assert (card["resize"], card["crop"], card["image_size"]) == (20, 16, 16)
    read = load_scenario(tmp_path / "mine.toml")
    from bench.data.sources.find import load_images, trees_of

    images = load_images(read, tmp_path / "data")
    steps = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(16)])
    files = [tree.listing.folder / name for tree in trees_of(read, tmp_path / "data") for name in tree.listing.files]
    expected = {np.asarray(steps(Image.open(path))).tobytes() for path in files}
    found = {np.asarray(image).tobytes() for part in (images.x_train, images.x_test) for image in part[:]}
    assert found == expected
    again = update_scenario(old, new, model=tmp_path / "up" / "model.safetensors")
    assert again.model.resizing == (20, 16)
    assert again.data.image_size == 16
    assert update_scenario(old, new, preprocessing="imagenet-224").data.image_size == 224


def test_images_above_the_limit_are_refused_with_the_option_that_allows_them(where: list[str], tmp_path: Path):
    old, new = paint(tmp_path / "old", "ab", 0), paint(tmp_path / "new", "c", 1)
    Image.new("L", (1001, 1000)).save(new / "c" / "0.png")
    options = ["--old", old, "--new", new, *SMALL, *where, "--dry-run", "--max-megapixels"]
    line = refused(bench("update", *options, "1"))
    assert (
        "c/0.png: 1,001 x 1,000 pixels, expected at most 1 megapixels; data.max_megapixels or --max-megapixels" in line
    )
    assert bench("update", *options, "2").exit_code == 0
    assert update_scenario(old, new, max_megapixels=2).data.max_megapixels == 2
    prepare = ["data", "prepare", "--folder", new, "--size", "8", "--data-root", tmp_path / "data", "--max-megapixels"]
    assert "expected at most 1 megapixels" in refused(bench(*prepare, "1"))
    assert bench(*prepare, "2").exit_code == 0


def test_an_earlier_comparison_in_the_same_folder_does_not_decide(folders: list[str], where: list[str], tmp_path: Path):
    options = [*folders, *SMALL, *where, "--seeds", "0", "--strategy"]
    for strategy in ("naive[horizon=0.3]", "naive[horizon=0.6]"):
        assert bench("update", *options, strategy).exit_code == 0
    verdict = json.loads((tmp_path / "up" / "verdict.json").read_text())
    assert [each["horizon"] for each in verdict["candidates"]] == [0.6]


def test_a_scenario_of_any_name_is_written_as_it_reads(tmp_path: Path):
    folder = tmp_path / 'caf\u00e9 "\U0001f600" \\ x'
    made = update_scenario(paint(folder, "ab", 0), paint(tmp_path / "new", "c", 1))
    write_scenario(made, tmp_path / "scenario.toml")
    assert load_scenario(tmp_path / "scenario.toml").hash() == made.hash()


def test_the_new_model_can_be_updated_again_and_brings_its_pixels(where: list[str], tmp_path: Path):
    """Its head's rows are sorted by class name, as a folder that holds all classes is, whatever came first."""
    old, new = paint(tmp_path / "old", "cde", 0), paint(tmp_path / "new", "ab", 1)
    longer = [*SMALL, "--epochs", "8", *where, "--only", "naive[horizon=1]"]
    assert bench("update", "--old", old, "--new", new, *longer).exit_code == 0
    model = tmp_path / "up" / "model.safetensors"
    card = json.loads(model.with_name("model.json").read_text())
    assert card["classes"] == ["a", "b", "c", "d", "e"]
    assert card["validation_accuracy"] > 0.7
    again = ["--old", paint(tmp_path / "all", "abcde", 2), "--new", paint(tmp_path / "more", "f", 3), "--model", model]
    where[1] = str(tmp_path / "next")
    done = bench("update", *again, "--image-size", "16", *where, "--dry-run")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "model.mean and model.std" in text
    assert float(text.split("accuracy ")[1].split()[0]) > 0.7  # in another order of rows: 0.2 at most
    line = refused(bench("update", *again, "--architecture", "resnet8", *where, "--dry-run"))
    assert "its model.json says resnet8-narrow" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--old", "a"], "--old and --new: expected two folders of images, or --scenario instead"),
        (["--old", "a", "--new", "b", "--scenario", "digits-7-3"], "--new: given together with --scenario"),
        (["--old", "real", "--new", "real"], "listed twice, expected each once"),
        (["--old", "real", "--new", "real/../real"], "are the same, expected separate images"),
        (["--old", "none", "--new", "nowhere"], "none: neither a folder of images nor an .npz archive"),
        (["--scenario", "digits-4-2-2-2"], "digits-4-2-2-2: a chain of 3 updates, expected one update"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    options: list[str], message: str, where: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "real", "ab", 0)
    assert message in refused(bench("update", *options, *where))
    assert not (tmp_path / "up").exists()


def spoil_empty(root: Path) -> None:
    shutil.rmtree(root / "old")
    (root / "old").mkdir()


def spoil_one_image(root: Path) -> None:
    for name in "abc":
        shutil.rmtree(root / "old" / name)
    Image.new("RGB", (20, 20)).save(root / "old" / "a.png")


def spoil_one_image_of_a_class(root: Path) -> None:
    for place in range(1, 30):
        (root / "old" / "a" / f"{place}.png").unlink()


def spoil_one_class(root: Path) -> None:
    for name in "bc":
        shutil.rmtree(root / "old" / name)


def spoil_width(root: Path) -> None:
    shutil.copytree(root / "old" / "c", root / "old" / "f")


def spoil_pickled(root: Path) -> None:
    torch.save(models.resnet18(num_classes=3), root / "model.pt")


def spoil_truncated(root: Path) -> None:
    content = (root / "model.pt").read_bytes()
    (root / "model.pt").write_bytes(content[: len(content) // 2])


def spoil_architecture(root: Path) -> None:
    torch.save(models.shufflenet_v2_x0_5(num_classes=3).state_dict(), root / "model.pt")


def spoil_same(root: Path) -> None:
    shutil.rmtree(root / "new")
    (root / "new").symlink_to(root / "old")


def spoil_inside(root: Path) -> None:
    shutil.rmtree(root / "new")
    (root / "new").symlink_to(root / "old" / "more")
    paint(root / "old" / "more", "de", 1)


def spoil_permission(root: Path) -> None:
    (root / "old" / "locked").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_empty, "old: no class folders, expected one per class with its images"),
        (spoil_one_image, "a.png: an image outside the class folders"),
        (spoil_one_image_of_a_class, "class 'a' has 1 images, too few for a test share of 0.2"),
        (spoil_one_class, "found only class a, expected two or more in the first stage"),
        (spoil_width, "found a head of 3 rows (fc.bias, fc.weight), expected 4 (the old classes) or 6 (all)"),
        (spoil_pickled, "reading it would run code from the file, which is refused. Save it again"),
        (spoil_truncated, "model.pt: model.checkpoint: not written by torch.save"),
        (spoil_architecture, "model.pt: model.checkpoint:"),
        (spoil_same, "new are the same, expected separate images"),
        (spoil_inside, "new lie one inside the other, expected separate images"),
        (spoil_permission, "old/locked: cannot be read (Permission denied)"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    spoil: Callable[[Path], None],
    message: str,
    folders: list[str],
    where: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    torch.save(models.resnet18(num_classes=3).state_dict(), tmp_path / "model.pt")
    spoil(tmp_path)
    plain = os.scandir

    def scandir(path: Any = "."):  # the superuser, who may run the tests, can read every folder
        if isinstance(path, str | Path) and Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    before = sorted(tmp_path.rglob("*"))
    options = ["--model", tmp_path / "model.pt", "--architecture", "resnet18", "--image-size", "16"]
    assert message in refused(bench("update", *folders, *options, *where))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("bcdef", "g", "class 'a' in only one of it and the old folder"),
        (
            "bcd",
            "ae",
            "class 'a' in only one of it and the old folder",
        ),  # as many rows as all classes, in another order
        ("ae", "bcd", "class 'b' in only one of it and the old folder"),
    ],
)
def test_a_model_of_other_classes_is_refused_by_its_card(
    old: str, new: str, found: str, where: list[str], tmp_path: Path
):
    """Five classes, a to e, as `bench update` wrote them. A head's rows say nothing about which classes they are."""
    card = {"architecture": "resnet8-narrow", "classes": list("abcde"), "mean": [0.5] * 3, "std": [0.2] * 3}
    (tmp_path / "was").mkdir()
    (tmp_path / "was" / "model.json").write_text(json.dumps(card))
    weights = {
        key: value.contiguous() for key, value in build_model("resnet8-narrow", 3, 5, 0, "", 16).state_dict().items()
    }
    save_file(weights, tmp_path / "was" / "model.safetensors")
    folders = ["--old", paint(tmp_path / "old", old, 0), "--new", paint(tmp_path / "new", new, 1)]
    before = sorted(tmp_path.rglob("*"))
    options = [
        "--image-size",
        "16",
        "--model",
        tmp_path / "was" / "model.safetensors",
        "--untrained-is-fine",
        "--dry-run",
    ]
    assert found in refused(bench("update", *folders, *options, *where))
    assert sorted(tmp_path.rglob("*")) == before
    folders = ["--old", paint(tmp_path / "whole", "abcde", 0), "--new", paint(tmp_path / "more", "g", 1)]
    assert bench("update", *folders, *options, *where).exit_code == 0


def test_which_of_weights_and_their_average_can_be_named(folders: list[str], where: list[str], tmp_path: Path):
    known, other = (build_model("resnet8-narrow", 3, 3, seed, "test", 16).state_dict() for seed in (0, 1))
    torch.save({"model": other, "model_ema": known}, tmp_path / "both.pt")
    options = [*SMALL, "--model", tmp_path / "both.pt", "--untrained-is-fine", "--dry-run"]
    line = refused(bench("update", *folders, *options, *where))
    assert "holds several models (model and model_ema), expected a choice. Set model.weights, or --weights, to" in line
    done = bench("update", *folders, *options, *where, "--weights", "ema")
    assert done.exit_code == 0, done.output
    assert "Old model: both.pt: weights of model_ema" in " ".join(done.stdout.split())


def test_a_training_that_diverged_leaves_no_model_and_says_what_to_lower(
    folders: list[str], where: list[str], tmp_path: Path
):
    options = [*folders, *SMALL, *where, "--only", "scratch", "--learning-rate", "1e9"]
    done = bench("update", *options)
    assert done.exit_code == 1
    assert "scratch, seed 0: diverged" in done.stderr.splitlines()[-1]
    assert "Lower the learning rate" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "up" / "model.safetensors").exists()


def test_finished_trials_without_their_weights_are_named(folders: list[str], where: list[str], tmp_path: Path):
    options = [*folders, *SMALL, *where, "--only", "naive[horizon=0.5]"]
    assert bench("update", *options).exit_code == 0
    for file in (tmp_path / "up" / "weights").rglob("*.pt"):
        file.unlink()
    done = bench("update", *options)
    assert done.exit_code == 2
    assert "no weights of naive, seed 0, though its record is finished" in done.stderr.splitlines()[-1]
    assert bench("update", *options, "--fresh").exit_code == 0


def test_held_out_folders_of_ones_own_are_all_that_is_held_out(folders: list[str], where: list[str], tmp_path: Path):
    """Also where an update brings known classes alone, none of which the whole folder gives to the new images."""
    validation, test = paint(tmp_path / "val", "abcde", 2), paint(tmp_path / "tst", "abcde", 3)
    options = ["--validation", validation, "--test", test]
    done = bench("update", *folders, *options, *SMALL, *where, "--dry-run")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["a", "30", "0", "30", "30"] in lines
    assert ["b", "30", "30", "30", "30", "more", "of", "it"] in lines
    assert f"validation: {validation}; test: {test}." in " ".join(done.stdout.split())
    shutil.copy(validation / "a" / "0.png", test / "a" / "copy.png")
    said = bench("update", *folders, *options, *SMALL, *where, "--dry-run").stdout
    assert "1 validation images are test images too" in " ".join(said.split())
    line = refused(bench("update", *folders, *options, *SMALL, *where, "--duplicates", "refuse", "--dry-run"))
    assert "1 validation images are test images too, such as" in line
    for name in "de":
        shutil.rmtree(tmp_path / "new" / name)
        shutil.rmtree(validation / name)
        shutil.rmtree(test / name)
    done = bench("update", *folders, *options, *SMALL, *where, "--only", "naive[horizon=0.5]")
    assert done.exit_code == 0, done.output
    (found,) = (tmp_path / "up" / "runs").rglob("evals.jsonl")
    row = json.loads(found.read_text().splitlines()[-1])
    assert row["validation_accuracy"] == row["validation_accuracy_old"]
    assert row["validation_accuracy_new"] is None
    assert load_scenario(tmp_path / "up" / "scenario.toml").data.validation == str(validation)


def test_what_a_strategy_runs_without_is_printed(folders: list[str], where: list[str]):
    asked = "optimized[freezing.through=(stage1,stage9)]"
    done = bench("update", *folders, *SMALL, *where, "--only", asked, "--dry-run")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{asked} cannot run as it is; optimized[freezing.through=")
    assert lines[1] == (
        "  freezing: the model has no stage 'stage9' before its head, expected one of stem, stage1, stage2, stage3"
    )


def test_a_pilot_points_somewhere_and_leaves_no_model(folders: list[str], where: list[str], tmp_path: Path):
    size = [*SMALL[:2], "--epochs", "6", "--batch-size", "16", *SMALL[-2:]]
    done = bench("update", *folders, *size, *where, "--strategy", "naive[horizon=0.5]", "--pilot", "0.5")
    assert done.exit_code == 0, done.output
    assert "2 trials: 2 to run" in done.stderr  # one seed, unless it is told otherwise
    folder = tmp_path / "up"
    verdict = json.loads((folder / "pilot" / "verdict.json").read_text())
    assert verdict["sentence"] in done.stdout
    assert (verdict["answer"], verdict["share"], verdict["seeds"]) == ("pilot", 0.5, [0])
    assert f"{verdict['cost_percent']:.1f} % of one full retraining's FLOPs" in verdict["sentence"]
    assert verdict["points_to"] in ("continue", "retrain")
    assert sorted(path.name for path in folder.iterdir()) == ["pilot", "scenario.toml"]
    assert not list(folder.rglob("*.safetensors"))
    # The whole comparison takes the pilot's old model, and none of its records.
    whole = bench("update", *folders, *size, *where, "--strategy", "naive[horizon=0.5]", "--seeds", "0")
    assert whole.exit_code == 0, whole.output
    assert "2 trials: 2 to run" in whole.stderr
    assert "base seed 0" not in whole.stderr
    assert json.loads((folder / "verdict.json").read_text())["scenario_hash"] != verdict["scenario_hash"]


@pytest.mark.parametrize("option", [["--only", "naive"], ["--keep-model", "naive"]])
def test_a_pilot_leaves_no_model_to_ask_for(option: list[str], folders: list[str], where: list[str], tmp_path: Path):
    line = refused(bench("update", *folders, *SMALL, *where, "--pilot", *option))
    assert f"--pilot: given together with {option[0]}" in line
    assert not (tmp_path / "up").exists()


def test_the_folders_are_listed_once_to_prepare_and_once_to_run(
    folders: list[str], where: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of 100,000 small files, each listing takes seconds."""
    from bench.data.sources import own

    listed, list_tree = [], own.list_tree
    monkeypatch.setattr(
        own, "list_tree", lambda folder, *how, **more: (listed.append(folder.name), list_tree(folder, *how, **more))[1]
    )
    (tmp_path / "new" / "d" / "copy.png").write_bytes((tmp_path / "old" / "a" / "0.png").read_bytes())
    done = bench("update", *folders, *SMALL, *where, "--dry-run")
    assert done.exit_code == 0, done.output
    assert sorted(listed) == ["new", "new", "old", "old"]
    assert " too, such as " in " ".join(done.stdout.split())


def test_a_pilot_whose_scratch_learned_nothing_says_nothing(folders: list[str], where: list[str], tmp_path: Path):
    done = bench("update", *folders, *SMALL, *where, "--strategy", "naive[horizon=0.5]", "--pilot", "0.3")
    assert done.exit_code == 2
    line = done.stderr.splitlines()[-1]
    assert "scratch ends at" in line
    assert line.endswith("this pilot says nothing. Give a larger share, or compare as a whole.")
    assert not list((tmp_path / "up").rglob("verdict.json"))


def test_a_list_of_trained_images_is_the_models_and_needs_one(folders: list[str], where: list[str], tmp_path: Path):
    old, new = folders[1], folders[3]
    made = update_scenario(old, new, model=tmp_path / "old.pt", trained_on=tmp_path / "seen.txt")
    assert made.model.trained_on == str(tmp_path / "seen.txt")
    line = refused(bench("update", *folders, *SMALL, *where, "--trained-on", tmp_path / "seen.txt"))
    assert "trained_on: found without a checkpoint, which it is about" in line
