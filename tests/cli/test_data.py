from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.data.files.folders import list_class_folders
from bench.data.files.prepare import find_prepared
from tests.cli.test_main import bench, refused
from tests.data.trees import class_folders, write_image

OWN_DATA = Path(__file__).resolve().parents[2] / "docs" / "own-data.md"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the worked example."""
    folder = tmp_path_factory.mktemp("exported") / "digits"
    result = bench("data", "export", "--set", "digits", "--to", folder)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def mine(exported: Path, tmp_path: Path) -> Path:
    """The worked example, in one epoch, and its folders, free to be changed."""
    shutil.copytree(exported, tmp_path / "digits")
    (tmp_path / "mine.toml").write_text(worked_example().replace("epochs = 24", "epochs = 1"))
    return tmp_path / "mine.toml"


def worked_example() -> str:
    """Return the scenario in docs/own-data.md of a user's own folders, as it stands there."""
    example, *_ = [part for part in OWN_DATA.read_text(encoding="utf-8").split("```") if part.startswith("toml\n")]
    return example.removeprefix("toml\n")


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    return ["--data-root", str(tmp_path / "root"), "--results", str(tmp_path / "results"),
            "--cache", str(tmp_path / "cache"), "--device", "cpu", "--seeds", "0"]  # fmt: skip


def test_a_users_folders_are_prepared_trained_on_and_checked(mine: Path, where: list[str], tmp_path: Path):
    result = bench("run", "--scenario", mine, "--strategy", "scratch", "--strategy", "optimized", *where)
    assert result.exit_code == 0, result.output
    assert "provisional (mean of scratch's 1 seed)" in result.stdout
    root = tmp_path / "root"
    prepared = bench("data", "prepare", "--scenario", mine, "--data-root", root)
    assert f"{tmp_path / 'digits' / 'old' / 'train'}: 951 images of 7 classes ready at 8 pixels" in prepared.stdout
    checked = bench("data", "verify", "--scenario", mine, "--data-root", root)
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.count("checksums agree; 0 skipped") == 4
    assert "test images are identical to a training image" in checked.stdout


def save_old_model(path: Path, classes: int) -> None:
    import torch

    from bench.models import build_model

    torch.save(build_model("resnet8", 3, classes, 7, "elsewhere").state_dict(), path)


def with_checkpoint(mine: Path) -> None:
    mine.write_text(
        mine.read_text().replace(
            'name = "resnet8"', 'name = "resnet8", checkpoint = "old.pt", untrained_is_fine = true'
        )
    )


def test_a_given_checkpoint_is_the_old_model_and_nothing_is_trained_for_it(
    mine: Path, where: list[str], tmp_path: Path
):
    with_checkpoint(mine)
    save_old_model(tmp_path / "old.pt", 7)
    ask = ["run", "--scenario", mine, "--strategy", "scratch", "--strategy", "naive", *where]
    result = bench(*ask)
    assert result.exit_code == 0, result.output
    assert "base seed" not in result.stderr
    from bench.models.checkpoint import checkpoint_sha256
    from bench.records.store import read_trial, trial_folder

    scratch, naive = (
        read_trial(trial_folder(tmp_path / "results", "mine", name, 1.0, 0)) for name in ("scratch", "naive")
    )
    assert scratch.given is None
    assert naive.base is None
    assert (naive.given.file, naive.given.origin) == ("old.pt", "given by the user")
    assert naive.given.sha256 == checkpoint_sha256(tmp_path / "old.pt")
    save_old_model(tmp_path / "old.pt", 10)
    assert "holds a different trial: its data is" in refused(bench(*ask))


@pytest.mark.parametrize(
    ("classes", "strategy", "complaint"),
    [
        (
            7,
            "four-aspects",
            "four-aspects: LearningSpeed needs each old image's learning speed, which a given checkpoint",
        ),
        (12, "naive", "old.pt: model.checkpoint: found a head of 12 rows"),
        (None, "naive", "old.pt: model.checkpoint: cannot be read"),
    ],
)
def test_a_checkpoint_that_does_not_do_is_one_line(
    mine: Path, where: list[str], tmp_path: Path, classes: int | None, strategy: str, complaint: str
):
    with_checkpoint(mine)
    if classes:
        save_old_model(tmp_path / "old.pt", classes)
    assert complaint in refused(bench("run", "--scenario", mine, "--strategy", strategy, *where))


def spoil_empty_class(digits: Path) -> None:
    (digits / "new" / "train" / "empty").mkdir()


def spoil_same_class(digits: Path) -> None:
    for part in ("train", "test"):
        class_folders(digits / "new" / part, ("3",))


def spoil_zero_bytes(digits: Path) -> None:
    (digits / "old" / "train" / "0" / "broken.png").write_bytes(b"")


def spoil_text(digits: Path) -> None:
    (digits / "old" / "train" / "0" / "text.jpg").write_text("no image")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (spoil_empty_class, "empty: a class folder without images"),
        (spoil_same_class, "class '3' is in both digits/old and digits/new"),
        (spoil_zero_bytes, "1 of 952 images broken (0/broken.png: 0 bytes)"),
        (spoil_text, "1 of 952 images broken (0/text.jpg: not an image)"),
    ],
)
def test_folders_that_are_not_what_they_should_be_are_one_line(
    mine: Path, where: list[str], tmp_path: Path, spoil, complaint: str
):
    spoil(tmp_path / "digits")
    assert complaint in refused(bench("run", "--scenario", mine, "--strategy", "scratch", *where))
    assert complaint in refused(bench("data", "prepare", "--scenario", mine, "--data-root", tmp_path / "root"))


def test_broken_images_are_skipped_when_asked_and_their_names_printed(mine: Path, tmp_path: Path):
    spoil_text(tmp_path / "digits")
    result = bench("data", "prepare", "--scenario", mine, "--data-root", tmp_path / "root", "--skip-broken")
    assert result.exit_code == 0, result.output
    assert "951 images of 7 classes ready at 8 pixels, 1 broken ones skipped (0/text.jpg)" in result.stdout


def test_a_training_image_that_is_held_out_too_is_said_and_a_changed_file_is_found(
    mine: Path, where: list[str], tmp_path: Path
):
    digits, root = tmp_path / "digits", tmp_path / "root"
    trained = next((digits / "old" / "train" / "0").iterdir())
    write_image(trained, 7, (8, 8))
    shutil.copy(trained, digits / "new" / "test" / "9" / "twin.png")
    (digits / "new" / "train" / "9" / "Thumbs.db").write_text("")
    ran = bench("run", "--scenario", mine, "--strategy", "scratch", *where)
    assert ran.exit_code == 0, ran.output
    assert "1 hidden, system or unlabelled ones passed over (9/Thumbs.db)" in ran.stderr
    told = bench("data", "verify", "--scenario", mine, "--data-root", root).stdout
    assert re.search(r"1 images of digits/new: test are in digits/old: \w+ too, such as .*twin\.png = .*\.png", told)
    listing = list_class_folders(digits / "old" / "train")
    prepared = find_prepared(listing, 8, root)
    text = (prepared.folder / "files.txt").read_text()
    other = ("0" if text[0] != "0" else "1") + text[1:]  # as if the first had changed
    (prepared.folder / "files.txt").write_text(other)
    manifest = json.loads((prepared.folder / "manifest.json").read_text())
    del manifest["manifest_sha256"]  # from before manifests had one
    manifest["files_sha256"] = hashlib.sha256(other.encode()).hexdigest()
    (prepared.folder / "manifest.json").write_text(json.dumps(manifest))
    line = refused(bench("data", "verify", "--scenario", mine, "--data-root", root))
    assert f"{listing.folder / listing.files[0]}: changed since it was prepared. Remove " in line


def test_status_says_what_is_there_and_how_to_get_the_rest(tmp_path: Path):
    np.savez(tmp_path / "mnist.npz")
    result = bench("data", "status", "--data-root", tmp_path)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "ready" in rows["digits"]
    assert "embedded" in rows["digits"]
    assert str(tmp_path / "mnist.npz") in rows["mnist"]
    assert "missing: add imagenet/train/<wordnet id>/*.JPEG" in rows["imagenet"]
    assert "MIT" in rows["fashion-mnist"]


def test_one_tree_is_prepared_by_itself(tmp_path: Path):
    tree = class_folders(tmp_path / "tree", ("ant", "bee"))
    result = bench("data", "prepare", "--folder", tree, "--size", "8", "--data-root", tmp_path)
    assert f"{tree}: 10 images of 2 classes ready at 8 pixels" in result.stdout
    assert "give --scenario, or --folder with --size" in refused(bench("data", "prepare", "--folder", tree))


def test_an_export_overwrites_nothing(tmp_path: Path):
    (tmp_path / "mine").write_text("")
    assert "not empty; nothing is overwritten" in refused(bench("data", "export", "--to", tmp_path))
    line = refused(bench("data", "export", "--to", tmp_path / "new", "--old-classes", "10"))
    assert "--old-classes 10: expected 1..9" in line


@pytest.mark.parametrize("arguments", [["data", "--help"], ["data", "status", "--data-root", "{tmp}"]])
def test_looking_at_data_does_not_import_torch(arguments: list[str], tmp_path: Path):
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    code = f"import sys; sys.argv = ['bench', *{given!r}]\nfrom bench.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
