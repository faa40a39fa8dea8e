"""What a user's folder is read as, and what is refused because it could be two things."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.data.files.folders import list_class_folders
from bench.data.files.layouts import list_tree
from bench.errors import DataError
from tests.data.trees import class_folders, write_image

CLASSES = ("ant", "bee")


def read(folder: Path, **options) -> list[tuple[str, str]]:
    return [(use, listing.folder.name) for use, listing in list_tree(folder, **options)]


@pytest.mark.parametrize(
    ("parts", "uses"),
    [
        (("train", "valid"), ["train", "test"]),
        (("train", "validation", "test"), ["train", "validation", "test"]),
        (("Training", "Testing"), ["train", "test"]),
        (("TRAIN", "Dev", "Holdout"), ["train", "validation", "test"]),
        (("train2017", "val2017"), ["train", "test"]),
        (("train_1", "train_2", "test-1"), ["train", "train", "test"]),
        (("train", "test", "unlabeled"), ["train", "test"]),
        (("train",), ["cut"]),
    ],
)
def test_parts_are_known_by_their_names_in_any_case_and_numbered(tmp_path: Path, parts, uses):
    for part in parts:
        class_folders(tmp_path / part, CLASSES if part != "unlabeled" else ("x",), each=1)
    found = list_tree(tmp_path)
    assert [use for use, _ in found] == uses
    assert {listing.class_names for _, listing in found} == {CLASSES}


def test_a_part_without_labels_is_said_to_be_left_out(tmp_path: Path):
    for part in ("train", "test"):
        class_folders(tmp_path / part, CLASSES, each=1)
    write_image(tmp_path / "unlabeled" / "a.png", 0)
    assert list_tree(tmp_path)[0][1].passed_over == ("../unlabeled/",)


def test_wrapper_folders_with_one_child_are_gone_through(tmp_path: Path):
    class_folders(tmp_path / "amazon" / "images", ("bike", "mug"), each=1)
    [(use, listing)] = list_tree(tmp_path)
    assert (use, listing.class_names) == ("cut", ("bike", "mug"))
    for part in ("Train", "Test"):
        class_folders(tmp_path / "b" / "set" / part, CLASSES, each=1)
    assert read(tmp_path / "b") == [("train", "Train"), ("test", "Test")]


def test_one_folder_of_images_is_one_class_and_no_wrapper(tmp_path: Path):
    class_folders(tmp_path, ("ant",), each=1)
    assert list_tree(tmp_path)[0][1].class_names == ("ant",)


@pytest.mark.parametrize(
    ("images", "readings"),
    [
        (("train/a", "test/a"), ("classes 'test', 'train'", "splits 'test', 'train'", "layout = 'splits'")),
        (("ant/a", "bee/a", "train/x/a"), ("classes 'ant', 'bee', 'train'", "splits 'train', and 'ant', 'bee' not used")),
        (("test/ant/a", "test/bee/a", "val/ant/a", "val/bee/a"), ("classes 'test', 'val'", "splits 'test', 'val'")),
        (
            ("photo/ant/a", "photo/bee/a", "art/ant/a", "art/bee/a"),
            ("classes 'art', 'photo', each with folders", "groups 'art', 'photo' of the classes 'ant', 'bee'"),
        ),
        (("cat/images/a",), ("one class 'cat' with its images in images/", "a folder around one class 'images'")),
        (
            ("train1/ant/a", "train1/bee/a", "train2/ant/a", "train2/bee/a"),
            ("classes 'train1', 'train2'", "training parts 'train1', 'train2' without a held-out one"),
        ),
    ],
)  # fmt: skip
def test_what_could_be_two_things_is_refused_with_both_readings_and_the_option(tmp_path: Path, images, readings):
    for number, name in enumerate(images):
        write_image(tmp_path / f"{name}.png", number)
    with pytest.raises(DataError) as caught:
        list_tree(tmp_path)
    line = str(caught.value)
    assert "\n" not in line
    assert all(reading in line for reading in (*readings, "could be", "layout = 'classes'"))
    assert [use for use, _ in list_tree(tmp_path, layout="classes")] == ["cut"]


def test_a_layout_that_is_named_decides(tmp_path: Path):
    for part in ("train", "test"):
        class_folders(tmp_path / part, CLASSES, each=1)
    class_folders(tmp_path / "extra", ("x", "y"), each=1)
    assert read(tmp_path, layout="splits") == [("train", "train"), ("test", "test")]
    assert list_tree(tmp_path, layout="splits")[0][1].passed_over == ("../extra/",)
    assert list_tree(tmp_path, layout="classes")[0][1].class_names == ("extra", "test", "train")
    with pytest.raises(DataError, match="layout = 'splits', but no folder inside is named like one"):
        list_tree(tmp_path / "extra", layout="splits")


def test_a_train_among_vehicles_is_a_class(tmp_path: Path):
    class_folders(tmp_path, ("bus", "car", "train"), each=1)
    assert list_tree(tmp_path)[0][1].class_names == ("bus", "car", "train")


def test_a_role_under_two_names_is_refused(tmp_path: Path):
    for part in ("train", "test", "holdout"):
        class_folders(tmp_path / part, CLASSES, each=1)
    with pytest.raises(DataError, match="holdout and test are both named like the test part"):
        list_tree(tmp_path)


def test_system_and_hidden_folders_and_files_are_skipped_and_listed(tmp_path: Path):
    class_folders(tmp_path, CLASSES, each=1)
    for name in ("@eaDir", "__MACOSX", ".thumbnails", "ant/@eaDir", "ant/.cache"):
        write_image(tmp_path / name / "a.png", 0)
    for name in ("Thumbs.db", ".DS_Store", "bee/desktop.ini", "bee/._1.png"):
        (tmp_path / name).write_text("")
    listing = list_class_folders(tmp_path)
    assert listing.files == ("ant/0.png", "bee/0.png")
    assert listing.left_out == ()
    assert set(listing.passed_over) == {
        "@eaDir", "__MACOSX", ".thumbnails", "Thumbs.db", ".DS_Store", "ant/@eaDir", "ant/.cache",
        "bee/desktop.ini", "bee/._1.png",
    }  # fmt: skip


def test_an_unreadable_folder_in_a_class_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class_folders(tmp_path, CLASSES, each=1)
    write_image(tmp_path / "ant" / "locked" / "a.png", 9)
    plain = os.scandir

    def scandir(path):  # the superuser, who may run the tests, can read every folder
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"ant/locked: cannot be read \(Permission denied\)"):
        list_class_folders(tmp_path)


def test_a_pipe_named_like_an_image_is_refused_and_does_not_hang(tmp_path: Path):
    class_folders(tmp_path, CLASSES, each=1)
    os.mkfifo(tmp_path / "ant" / "pipe.jpg")
    with pytest.raises(DataError, match=r"ant/pipe\.jpg: not a regular file, expected an image"):
        list_class_folders(tmp_path)


def test_a_link_to_a_folder_above_it_is_refused(tmp_path: Path):
    class_folders(tmp_path, CLASSES, each=1)
    (tmp_path / "ant" / "loop").symlink_to(tmp_path / "ant")
    with pytest.raises(DataError, match="loop: a link to a folder that it is in"):
        list_class_folders(tmp_path)


def test_class_names_are_composed_and_stripped(tmp_path: Path):
    class_folders(tmp_path, ("cafe\u0301", " tea "), each=1)
    listing = list_class_folders(tmp_path)
    assert listing.class_names == ("caf\u00e9", "tea")
    assert listing.files == ("cafe\u0301/0.png", " tea /0.png")
    assert list_class_folders(tmp_path, ("caf\u00e9",)).files == ("cafe\u0301/0.png",)


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("Cat", "cat", "'Cat' and 'cat'"),
        ("cafe\u0301", "caf\u00e9", r"'cafe\\u0301' and 'caf\u00e9'"),
        ("cat", "cat ", "'cat' and 'cat '"),
    ],
)
def test_names_that_differ_only_in_form_or_case_are_refused_with_both(tmp_path: Path, one: str, other: str, shown: str):
    class_folders(tmp_path, (one, other), each=1)
    with pytest.raises(DataError, match=f"class names {shown}: the same but for spelling"):
        list_class_folders(tmp_path)


def test_a_class_name_that_is_not_utf8_is_one_line(tmp_path: Path):
    class_folders(tmp_path, ("ant", os.fsdecode(b"caf\xe9")), each=1)
    with pytest.raises(DataError, match=r"class name 'caf\\udce9': expected readable UTF-8 text") as caught:
        list_class_folders(tmp_path)
    str(caught.value).encode()  # can be printed
