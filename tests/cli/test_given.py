"""A user's own checkpoint, from a training loop in plain PyTorch, through the command line."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

from bench.records.store import read_trial
from tests.cli.test_main import bench, refused

SIZE = 16
COLOURS = {
    "ash": (200, 40, 40),
    "elm": (40, 200, 40),
    "fir": (40, 40, 200),
    "oak": (200, 200, 40),
    "yew": (200, 40, 200),
}
IMAGENET = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SCENARIO = """
name = "mine"
title = "Three trees, then two more"
kind = "class-incremental"
stages = [{{ folder = "old" }}, {{ folder = "new" }}]
data = {{ validation_share = 0.3, test_share = 0.2, image_size = {size} }}
model = {{ name = "resnet18", checkpoint = "old.pt"{more} }}
evaluation = {{ points = 2, test_every = 1 }}

[training]
epochs = 1
batch_size = 16
learning_rate = 0.02
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.0
precision = "fp32"
crop_padding = 1
flip = false
"""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of noisy pictures, one colour per class, and two old models: one trained by plain PyTorch, one not."""
    root = tmp_path_factory.mktemp("trees")
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        folder = root / ("old" if name in ("ash", "elm", "fir") else "new") / name
        folder.mkdir(parents=True)
        for number in range(20):
            noise = draw.normal(0, 20, (SIZE, SIZE, 3))
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    torch.manual_seed(0)
    model = models.resnet18(num_classes=3)
    torch.save(model.state_dict(), root / "untrained.pt")
    train(model, root / "old")
    torch.save({"model": nn.DataParallel(model).state_dict(), "epoch": 8}, root / "trained.pt")
    return root


def train(model: nn.Module, folder: Path) -> None:
    images = ImageFolder(folder, transforms.Compose([transforms.ToTensor(), IMAGENET]))
    loader = torch.utils.data.DataLoader(images, batch_size=15, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # few steps
    for _ in range(8):
        for pixels, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pixels), labels).backward()
            optimizer.step()


@pytest.fixture
def mine(trees: Path, tmp_path: Path) -> Path:
    """A folder with the trees, the trained model, and nothing else; `scenario` writes the scenario into it."""
    for name in ("old", "new"):
        (tmp_path / name).symlink_to(trees / name)
    (tmp_path / "old.pt").symlink_to(trees / "trained.pt")
    return tmp_path


def scenario(mine: Path, more: str = ', preprocessing = "imagenet"') -> Path:
    (mine / "mine.toml").write_text(SCENARIO.format(size=SIZE, more=more))
    return mine / "mine.toml"


def run(mine: Path, path: Path, *more: str) -> Any:
    return bench("run", "--scenario", path, "--data-root", mine / "root", "--results", mine / "results",
                 "--cache", mine / "cache", "--device", "cpu", "--seeds", "0", *more)  # fmt: skip


def test_the_default_strategies_continue_a_model_that_plain_pytorch_trained(mine: Path):
    result = run(mine, scenario(mine))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "old model: old.pt: weights of model; module. removed from keys; head grown from 3 to 5 rows"
    assert lines[1] == (
        "old model: pixels are normalized with mean 0.485, 0.456, 0.406 and standard deviation 0.229, 0.224, 0.225 "
        "(model.preprocessing 'imagenet')"
    )
    assert lines[2] == "old model: accuracy 1.0000 on 12 validation images of the old classes (guessing: 0.3333)"
    assert lines[3].startswith(
        "old model: it may have been trained on validation and test images, which were cut off the old ones"
    )
    assert (
        "--validation and --test), or list those that it was trained on (model.trained_on, or --trained-on)" in lines[3]
    )
    assert result.stdout.count("old model:") == 4
    records = [read_trial(path.parent) for path in mine.glob("results/**/trial.json")]
    found = {record.strategy["name"]: record for record in records}
    assert found.keys() == {"scratch", "naive", "optimized"}
    assert found["scratch"].given is None
    for name in ("naive", "optimized"):
        given = found[name].given
        assert (given.validation_accuracy, given.validation_images) == (1.0, 12)
        assert given.read == "weights of model; module. removed from keys; head grown from 3 to 5 rows"
        assert given.normalization in lines[1]
        assert given.may_have_seen == ("validation", "test")
    again = run(mine, mine / "mine.toml")
    assert "old model:" not in again.stdout  # nothing is due


@pytest.mark.parametrize(
    ("data", "model", "seen"),
    [
        ("validation_share = 0.3, test_share = 0.2", "", ("validation", "test")),
        ('validation = "val", test_share = 0.2', "", ("test",)),
        ('validation = "val", test = "tst"', "", ()),
        ("validation_share = 0.3, test_share = 0.2", ', trained_on = "seen.txt"', ()),
    ],
)
def test_who_may_have_seen_held_out_images_is_known_before_anything_is_trained(
    mine: Path, trees: Path, data: str, model: str, seen: tuple[str, ...]
):
    import bench as package

    for number, use in enumerate(("val", "tst")):
        for name, colour in COLOURS.items():
            (mine / use / name).mkdir(parents=True)
            for place in (1, 3):
                shade = tuple(each - number - place for each in colour)
                Image.new("RGB", (SIZE, SIZE), shade).save(mine / use / name / f"{place}.png")
    (mine / "seen.txt").write_text("".join(f"{name}/{n}.png\n" for name in ("ash", "elm", "fir") for n in range(10)))
    path = scenario(mine, f', preprocessing = "imagenet"{model}')
    path.write_text(path.read_text().replace("validation_share = 0.3, test_share = 0.2", data))
    package.prepare(str(path), data_root=mine / "root")
    plan = package.plan(str(path), ["scratch", "naive"], [0], data_root=mine / "root", results=mine / "results",
                        cache=mine / "cache", device="cpu")  # fmt: skip
    old = plan.old_model()
    assert old is not None
    assert old.may_have_seen == seen
    assert plan._local._given.base(0).given.may_have_seen == seen


@pytest.mark.parametrize("listed", [False, True])
def test_a_model_that_knows_cut_off_images_better_than_others_is_said_to_have_seen_them(mine: Path, listed: bool):
    """Of its own tests, each class in the colour of another, it gets none of 12 right; of those cut off, all of 12."""
    names = list(COLOURS)
    for place, name in enumerate(names):
        (mine / "tst" / name).mkdir(parents=True)
        other = COLOURS[names[(place + 1) % 3] if place < 3 else name]
        for number in range(4):
            Image.new("RGB", (SIZE, SIZE), tuple(each - number for each in other)).save(
                mine / "tst" / name / f"{number}.png"
            )
    (mine / "seen.txt").write_text("".join(f"{name}/{n}.png\n" for name in names[:3] for n in range(10)))
    more = ', preprocessing = "imagenet"' + ', trained_on = "seen.txt"' * listed
    path = scenario(mine, more)
    path.write_text(
        path.read_text().replace("validation_share = 0.3, test_share = 0.2", "validation_share = 0.2, test = 'tst'")
    )
    done = bench("update", "--scenario", path, "--data-root", mine / "root", "--cache", mine / "cache", "--output", mine / "up",
                 "--device", "cpu", "--threads", "1", "--strategy", "naive[horizon=0.5]", "--seeds", "0")  # fmt: skip
    assert done.exit_code == 0, done.output
    # All 12 right ones among the first 12 of 24, class by class: 1 / C(8, 4)^3.
    p = 1 / comb(8, 4) ** 3
    evidence = (
        "its accuracy is 1.0000 on 12 validation images that were cut off the old ones, but 0.0000 on 12 test images that it "
        f"cannot have seen, further below than chance allows (Fisher's exact test, class by class: p = {p:.2g})"
    )
    text = " ".join(done.stdout.split())
    assert f"Old model: warning: it was probably trained on held-out images: {evidence}" in text
    assert ("complete the list of images" in text) == listed
    verdict = json.loads((mine / "up" / "verdict.json").read_text())
    assert verdict["likely_seen"] == evidence
    assert f"; but the old model was probably trained on held-out images, which favours continuing: {evidence}" in text
    records = [read_trial(file.parent) for file in (mine / "up" / "runs").rglob("trial.json")]
    (given,) = [record.given for record in records if record.given]
    assert given.may_have_seen == (() if listed else ("validation",))
    assert given.seen_test.model_dump() == {
        "use": "validation", "right": 12, "images": 12, "unseen_use": "test", "unseen_right": 0, "unseen_images": 12,
        "p": pytest.approx(p), "likely": True,
    }  # fmt: skip


def test_a_model_that_knows_other_images_as_well_is_not_said_to_have_seen_any(mine: Path):
    import bench as package

    for name, colour in COLOURS.items():
        (mine / "tst" / name).mkdir(parents=True)
        Image.new("RGB", (SIZE, SIZE), colour).save(mine / "tst" / name / "0.png")
    path = scenario(mine)
    path.write_text(path.read_text().replace("test_share = 0.2", "test = 'tst'"))
    package.prepare(str(path), data_root=mine / "root")
    plan = package.plan(str(path), ["scratch", "naive"], [0], data_root=mine / "root", results=mine / "results",
                        cache=mine / "cache", device="cpu")  # fmt: skip
    old = plan.old_model()
    assert old is not None
    assert (old.seen_test.right, old.seen_test.unseen_right, old.seen_test.p, old.seen_test.likely) == (18, 3, 1, False)
    assert "warning" not in " ".join(old.lines())


def test_an_untrained_model_is_refused_before_anything_is_written(mine: Path, trees: Path):
    (mine / "old.pt").unlink()
    (mine / "old.pt").symlink_to(trees / "untrained.pt")
    path = scenario(mine)
    line = refused(run(mine, path, "--strategy", "scratch", "--strategy", "naive"))
    assert "of 12 validation images of the old classes correctly, no better than guessing (0.333; p = " in line
    assert "or allow it (model.untrained_is_fine = true, or --untrained-is-fine)" in line
    assert not (mine / "results").exists()
    assert not (mine / "cache").exists()
    allowed = scenario(mine, ', preprocessing = "imagenet", untrained_is_fine = true')
    result = run(mine, allowed, "--strategy", "scratch", "--strategy", "naive")
    assert result.exit_code == 0, result.output


def test_scratch_alone_needs_no_old_model(mine: Path, trees: Path):
    (mine / "old.pt").unlink()
    (mine / "old.pt").symlink_to(trees / "untrained.pt")
    assert run(mine, scenario(mine), "--strategy", "scratch").exit_code == 0


def test_an_update_takes_an_untrained_model_where_it_is_told_to(mine: Path, trees: Path):
    options = ["--old", mine / "old", "--new", mine / "new", "--model", trees / "untrained.pt", "--architecture", "resnet18",
               "--image-size", SIZE, "--cache", mine / "cache", "--data-root", mine / "root", "--output", mine / "up",
               "--device", "cpu", "--threads", "1", "--dry-run"]  # fmt: skip
    assert "no better than guessing" in refused(bench("update", *options))
    assert not (mine / "up").exists()
    done = bench("update", *options, "--untrained-is-fine")
    assert done.exit_code == 0, done.output


def test_accuracies_by_class_are_those_of_plain_pytorch(mine: Path, trees: Path):
    import bench as package

    torch.manual_seed(1)
    model = models.resnet18(num_classes=3)
    model.load_state_dict(torch.load(trees / "untrained.pt", weights_only=True))
    (mine / "old.pt").unlink()
    with torch.no_grad():  # answers elm or fir, never ash
        model.fc.bias[0] -= 1000
    torch.save(model.state_dict(), mine / "old.pt")
    path = scenario(mine, ", mean = [0, 0, 0], std = [1, 1, 1], untrained_is_fine = true")
    package.prepare(str(path), data_root=mine / "root")
    plan = package.plan(str(path), ["scratch", "naive"], [0], data_root=mine / "root", results=mine / "results",
                        cache=mine / "cache", device="cpu")  # fmt: skip
    old = plan.old_model()
    assert old is not None
    local = plan._local
    chosen, names = local.split.validation[0], local.images.class_names
    pixels = torch.from_numpy(local.images.x_train[chosen]).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        predicted = model.eval()(pixels).argmax(1).numpy()
    labels = local.images.y_train[chosen]
    for label in range(3):
        assert old.by_class[names[label]] == pytest.approx((predicted[labels == label] == label).mean())
    assert old.by_class["ash"] == 0
    assert old.accuracy == pytest.approx((predicted == labels).mean())
    # P(X >= k) of 12 images at 1/3, summed by hand.
    k = round(old.accuracy * 12)
    assert old.p == pytest.approx(sum(comb(12, i) * (1 / 3) ** i * (2 / 3) ** (12 - i) for i in range(k, 13)))


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (", mean = [123.7, 116.3, 103.5], std = [58.4, 57.1, 57.4]", "mean: found 123.7, expected 0 to 1"),
        (", mean = [0.5, 0.5, 0.5], std = [0.2, 0, 0.2]", "std: found 0, expected above 0"),
        (", mean = [0.5, 0.5, 0.5], std = [0.2, 58, 0.2]", "Divide mean and std by 255"),
        (", mean = [0.5], std = [0.2]", "model.mean: found 1 numbers, but the images have 3 channels"),
        (", mean = [0.5, 0.5, 0.5]", "mean and std: found one of them"),
        (", mean = [0.5, 0.5], std = [0.2]", "std: found 1 numbers and a mean of 2"),
        (', preprocessing = "imagenet", mean = [0.5], std = [0.5]', "preprocessing: found together with mean or std"),
        (', preprocessing = "caffe"', "model.preprocessing: found 'caffe', expected 'imagenet'"),
        (', weights = "ema"', "model.weights: found 'ema', which names 0 of the whole models"),
    ],
)
def test_wrong_values_are_one_line(mine: Path, more: str, complaint: str):
    assert complaint in refused(run(mine, scenario(mine, more), "--strategy", "naive"))
    assert not (mine / "results").exists()


def test_weights_without_a_checkpoint_are_one_line(mine: Path):
    path = scenario(mine, ', weights = "ema"')
    path.write_text(path.read_text().replace('checkpoint = "old.pt", ', ""))
    assert "model: weights: found without a checkpoint" in refused(run(mine, path)).replace("model.", "model: ")
