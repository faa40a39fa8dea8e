from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.data.files.folders import list_annotated, list_class_folders
from bench.data.files.layouts import list_tree
from bench.errors import DataError
from tests.data.trees import WNIDS, class_folders, tiny_imagenet, write_image


def test_a_tree_is_listed_class_by_class_in_the_order_of_names(tmp_path: Path):
    listing = list_class_folders(class_folders(tmp_path, ("dog", "cat"), each=2))
    assert listing.class_names == ("cat", "dog")
    assert listing.files == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert listing.labels.tolist() == [0, 0, 1, 1]


def test_requested_classes_are_listed_in_the_requested_order(tmp_path: Path):
    class_folders(tmp_path, ("ant", "bee", "cat"), each=1)
    listing = list_class_folders(tmp_path, ("cat", "ant"))
    assert (listing.files, listing.labels.tolist()) == (("cat/0.png", "ant/0.png"), [0, 1])
    with pytest.raises(DataError, match=r"no folder for class 'fox' \(and 1 more\), expected one per class"):
        list_class_folders(tmp_path, ("ant", "fox", "gnu"))


def test_the_digest_sees_another_name_size_or_time(tmp_path: Path):
    class_folders(tmp_path, ("ant",), each=3)
    digests = {list_class_folders(tmp_path).digest}
    os.utime(tmp_path / "ant" / "0.png", ns=(1, 1))
    digests.add(list_class_folders(tmp_path).digest)
    (tmp_path / "ant" / "1.png").write_bytes(b"")
    digests.add(list_class_folders(tmp_path).digest)
    (tmp_path / "ant" / "2.png").rename(tmp_path / "ant" / "3.png")
    digests.add(list_class_folders(tmp_path).digest)
    assert len(digests) == 4
    assert list_class_folders(tmp_path).digest in digests


def test_files_of_other_endings_are_named_and_hidden_ones_are_not(tmp_path: Path):
    class_folders(tmp_path, ("ant",), each=1)
    for name in ("notes.txt", "moving.gif", ".hidden.png", "Thumbs.db"):
        (tmp_path / "ant" / name).write_text("")
    listing = list_class_folders(tmp_path)
    assert listing.files == ("ant/0.png",)
    assert listing.left_out == ("ant/moving.gif", "ant/notes.txt")


def test_images_in_folders_of_a_class_folder_belong_to_the_class(tmp_path: Path):
    write_image(tmp_path / "ant" / "deep" / "down" / "a.JPG", 0)
    assert list_class_folders(tmp_path).files == ("ant/deep/down/a.JPG",)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda tree: (tree / "empty").mkdir(), r"empty: a class folder without images, expected some"),
        (lambda tree: write_image(tree / "loose.png", 0), r"loose\.png: an image outside the class folders"),
    ],
)
def test_an_invalid_tree_is_refused(tmp_path: Path, build, complaint: str):
    class_folders(tmp_path, ("ant",), each=1)
    build(tmp_path)
    with pytest.raises(DataError, match=complaint):
        list_class_folders(tmp_path)


def test_an_empty_or_missing_tree_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no class folder"):
        list_class_folders(tmp_path)
    with pytest.raises(DataError, match="not a readable folder of images"):
        list_class_folders(tmp_path / "nowhere")


def test_tiny_imagenets_annotations_say_the_classes(tmp_path: Path):
    listing = list_annotated(tiny_imagenet(tmp_path) / "val")
    assert listing.class_names == WNIDS
    assert listing.files[:2] == ("images/val_0.JPEG", "images/val_3.JPEG")
    assert listing.labels.tolist() == [0, 0, 1, 1, 2, 2]
    chosen = list_annotated(tmp_path / "tiny-imagenet-200" / "val", WNIDS[:0:-1])
    assert chosen.files[0] == "images/val_2.JPEG"
    assert chosen.labels.tolist() == [0, 0, 1, 1]


def test_an_annotation_without_its_image_is_refused_and_vice_versa(tmp_path: Path):
    folder = tiny_imagenet(tmp_path) / "val"
    write_image(folder / "images" / "val_99.JPEG", 0)
    with pytest.raises(DataError, match=r"images/val_99\.JPEG: present, but not annotated"):
        list_annotated(folder)
    (folder / "images" / "val_1.JPEG").unlink()
    with pytest.raises(DataError, match=r"images/val_1\.JPEG: annotated, but missing"):
        list_annotated(folder)


def test_an_own_folder_may_have_train_and_test_inside(tmp_path: Path):
    class_folders(tmp_path / "plain", ("ant", "train"), each=1)
    assert [use for use, _ in list_tree(tmp_path / "plain")] == ["cut"]
    for part in ("train", "val"):
        class_folders(tmp_path / "parted" / part, ("ant", "bee"), each=1)
    found = list_tree(tmp_path / "parted")
    assert [(use, listing.folder.name) for use, listing in found] == [("train", "train"), ("test", "val")]
    class_folders(tmp_path / "parted" / "val", ("cat",), each=1)
    with pytest.raises(DataError, match=r"class 'cat' in only one of train/ and val/"):
        list_tree(tmp_path / "parted")
    class_folders(tmp_path / "parted" / "test", ("ant", "bee", "cat"), each=1)
    class_folders(tmp_path / "parted" / "train", ("cat",), each=1)
    found = list_tree(tmp_path / "parted")
    assert [(use, listing.folder.name) for use, listing in found] == [
        ("train", "train"),
        ("validation", "val"),
        ("test", "test"),
    ]
