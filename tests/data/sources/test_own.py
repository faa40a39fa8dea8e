"""A user's own stages against each other: the same folders, the same images, the same names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.images import ImageSet
from bench.data.sources.find import load_images, prepare_images, trees_of
from bench.data.stages.splits import Split, cut, cut_off_old
from bench.errors import BenchError, DataError, ScenarioError
from bench.scenario import Scenario, parse_scenario
from tests.data.trees import class_folders, own, scenario_of, write_image

CLASSES = ("ant", "bee")


def prepared(scenario: Scenario, root: Path) -> ImageSet:
    prepare_images(scenario, root, workers=1)
    return load_images(scenario, root, download=False)


def split_of(root: Path, **data: object) -> tuple[ImageSet, Split]:
    scenario = own("domain-incremental", root, **data)
    images = prepared(scenario, root)
    return images, cut(scenario, images)


def refused(scenario: Scenario, root: Path) -> str:
    with pytest.raises(BenchError) as caught:
        cut(scenario, prepared(scenario, root))
    line = str(caught.value)
    assert "\n" not in line
    line.encode()
    return line


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """old/ and new/ with train/ and test/ of eight and four images per class, all different."""
    for place, name in enumerate(("old", "new")):
        class_folders(tmp_path / name / "train", CLASSES, each=8, first=1000 * place)
        class_folders(tmp_path / name / "test", CLASSES, each=4, first=1000 * place + 500)
    return tmp_path


def pixels_at(images: ImageSet, indices: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images.x_train[indices]}


def test_images_that_differ_are_all_trained_on(folders: Path):
    _, split = split_of(folders)
    assert (split.duplicates, split.dropped) == ((), 0)
    assert [len(part) for part in split.train] == [14, 14]


def test_a_training_image_that_is_a_test_image_elsewhere_is_dropped_and_counted(folders: Path):
    plain_images, plain = split_of(folders)
    copied = plain_images.names_train[plain.train[0][0]]
    before = plain_images.x_train[plain.train[0][:1]][0].tobytes()
    shutil.copy(copied, folders / "new" / "test" / "bee" / "another-name.png")
    images, split = split_of(folders)
    assert split.dropped == 1
    assert [len(part) for part in split.train] == [13, 14]
    assert before not in pixels_at(images, split.train[0])
    [twice] = split.duplicates
    assert (twice.one, twice.other, twice.count) == ("old: training", "new: test", 1)
    assert twice.examples == ((copied, str(folders / "new" / "test" / "bee" / "another-name.png")),)
    assert split.hash() != plain.hash()


def test_a_lossless_copy_in_another_format_is_the_same_image(folders: Path):
    images, split = split_of(folders)
    with Image.open(images.names_train[split.train[0][0]]) as image:
        image.save(folders / "new" / "test" / "ant" / "copy.bmp")
    assert split_of(folders)[1].dropped == 1


def test_a_cumulative_export_keeps_no_held_out_image_in_training(tmp_path: Path):
    class_folders(tmp_path / "old", CLASSES, each=20)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    for place, name in enumerate(CLASSES):
        for number in range(20):
            write_image(tmp_path / "new" / name / f"new-{number}.png", 5000 + 100 * place + number)
    images, split = split_of(tmp_path)
    trained = set().union(*(pixels_at(images, part) for part in split.train))
    held = set().union(*(pixels_at(images, part) for part in split.validation))
    held |= {image.tobytes() for part in split.test for image in images.x_test[part]}
    assert split.dropped > 0
    assert not trained & held


def test_a_duplicate_in_training_is_refused_when_asked(folders: Path):
    assert split_of(folders, duplicates="refuse")[1].dropped == 0
    images, split = split_of(folders)
    shutil.copy(images.names_train[split.train[1][0]], folders / "old" / "test" / "ant" / "twin.png")
    line = refused(own("domain-incremental", folders, duplicates="refuse"), folders)
    assert "1 training images are held out too, such as " in line
    assert "twin.png (old: test)" in line


def test_a_class_whose_training_images_are_all_held_out_is_refused(folders: Path):
    for image in (folders / "old" / "train" / "ant").iterdir():
        shutil.copy(image, folders / "new" / "test" / "ant" / f"copy-{image.name}")
    assert "class 'ant': all its training images are held out too" in refused(
        own("domain-incremental", folders), folders
    )


def test_copies_of_whole_folders_are_refused(folders: Path):
    shutil.rmtree(folders / "new")
    shutil.copytree(folders / "old", folders / "new")
    (folders / "new" / "train" / "ant" / "0.png").unlink()
    assert "old and new: 23 of 24 different images are in both" in refused(own("domain-incremental", folders), folders)


def test_a_test_part_that_is_a_copy_of_the_training_part_is_refused(folders: Path):
    shutil.rmtree(folders / "old" / "test")
    shutil.copytree(folders / "old" / "train", folders / "old" / "test")
    line = refused(own("domain-incremental", folders), folders)
    assert "old: training and old: test: 16 of 16 different images are in both" in line


def test_archives_and_folders_are_compared_by_pixels(folders: Path):
    images, split = split_of(folders)
    test = images.x_test[split.test[0]]
    train = np.random.default_rng(7).integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
    train[:2] = test[:2]
    np.savez(
        folders / "more.npz", x_train=train, y_train=np.arange(20) % 2, x_test=train[10:] ^ 255, y_test=np.arange(10) % 2,
        classes=np.array(CLASSES),
    )  # fmt: skip
    scenario = own("domain-incremental", folders, ("old", "more.npz"))
    split = cut(scenario, prepared(scenario, folders))
    assert sum(twice.count for twice in split.duplicates if twice.one == "old: test") == 2
    assert split.dropped + sum(twice.count for twice in split.duplicates if twice.other.endswith("validation")) == 2


@pytest.mark.parametrize("other", ["./old", "link", "old/train", "within"])
def test_the_same_folder_or_one_inside_the_other_is_refused(folders: Path, other: str):
    (folders / "link").symlink_to("old")
    (folders / "within").symlink_to("old/train")
    with pytest.raises(DataError, match=r"are the same, expected separate|lie one inside the other, expected separate"):
        trees_of(own("domain-incremental", folders, ("old", other)), folders)


def test_a_test_part_that_links_to_the_training_part_is_refused(folders: Path):
    shutil.rmtree(folders / "new" / "test")
    (folders / "new" / "test").symlink_to("train")
    with pytest.raises(DataError, match=r"new/train and .*new/test are the same"):
        trees_of(own("domain-incremental", folders), folders)


def test_archives_cannot_be_resized_and_cropped(tmp_path: Path):
    class_folders(tmp_path / "old", ("ant", "bee"), each=10)
    pixels = np.random.default_rng(0).integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "new.npz", x_train=pixels, y_train=np.arange(20) % 2, classes=["cat", "dog"])
    content = own("class-incremental", tmp_path, ("old", "new.npz")).model_dump(mode="json")
    content["model"] |= {"resize": 10, "crop": 8}
    asked = parse_scenario(content, "test").model_copy(update={"root": tmp_path})
    with pytest.raises(ScenarioError, match=r"model\.resize: found, but .*new\.npz comes as arrays"):
        prepared(asked, tmp_path)


def test_a_validation_part_of_the_users_own_is_the_validation_part(tmp_path: Path):
    for place, name in enumerate(("old", "new")):
        for number, (part, each) in enumerate((("train", 8), ("validation", 3), ("test", 4))):
            class_folders(tmp_path / name / part, CLASSES, each=each, first=1000 * place + 100 * number)
    images, split = split_of(tmp_path)
    assert [len(part) for part in (*split.train, *split.validation, *split.test)] == [16, 16, 6, 6, 8, 8]
    assert all("/validation/" in images.names_train[place] for part in split.validation for place in part)
    assert all("/train/" in images.names_train[place] for part in split.train for place in part)


def test_names_that_differ_in_form_between_stages_are_one_class_and_in_case_refused(tmp_path: Path):
    class_folders(tmp_path / "old", ("cafe\u0301", "tea"), each=10)
    class_folders(tmp_path / "new", ("caf\u00e9", "tea"), each=10, first=99)
    assert prepared(own("domain-incremental", tmp_path), tmp_path).class_names == ("caf\u00e9", "tea")
    (tmp_path / "new" / "tea").rename(tmp_path / "new" / "Tea")
    with pytest.raises(DataError, match="new: class names 'tea' and 'Tea': the same but for spelling"):
        trees_of(own("domain-incremental", tmp_path), tmp_path)


@pytest.mark.parametrize("names", [("cat", "cat"), ("cat", "Cat"), ("cat", " cat")])
def test_class_names_repeated_in_an_archive_are_refused(tmp_path: Path, names: tuple[str, str]):
    pixels = np.random.default_rng(0).integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "old.npz", x_train=pixels, y_train=np.arange(40) % 2, classes=np.array(names))
    class_folders(tmp_path / "new", CLASSES, each=10)
    line = refused(own("class-incremental", tmp_path, ("old.npz", "new")), tmp_path)
    assert f"old.npz: class names 'cat' and {names[1]!r}: the same but for spelling" in line


def test_a_wrapper_that_is_named_like_a_class_of_another_stage_is_refused(tmp_path: Path):
    class_folders(tmp_path / "old", ("cat", "dog"), each=10)
    class_folders(tmp_path / "new" / "cat", ("2024", "2025"), each=10, first=99)
    line = refused(own("class-incremental", tmp_path), tmp_path)
    assert "could be the class 'cat' with folders of images, or a folder around the classes '2024', '2025'" in line
    stages = [{"folder": "old"}, {"folder": "new", "layout": "classes"}]
    chosen = scenario_of("class-incremental", stages, tmp_path, test_share=0.2, image_size=8)
    with pytest.raises(DataError, match="class 'cat' is in both old and new"):
        trees_of(chosen, tmp_path)


def empty(old: Path) -> None:
    old.mkdir()


def one_image(old: Path) -> None:
    write_image(old / "a.png", 0)


def one_class(old: Path) -> None:
    class_folders(old, ("ant",), each=10)


def one_image_each(old: Path) -> None:
    class_folders(old, CLASSES, each=1)


def too_few_to_validate(old: Path) -> None:
    class_folders(old, CLASSES, each=30)
    for place in range(5, 30):
        (old / "bee" / f"{place}.png").unlink()


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (empty, "no class folders, expected one per class with its images"),
        (one_image, "an image outside the class folders"),
        (one_class, "old: found only class ant, expected two or more in the first stage"),
        (one_image_each, "class 'ant' has 1 images, too few for a test share of 0.2"),
        # 5 images: 1 is a test image, and 0.2 of the 4 others are none.
        (too_few_to_validate, "class 'bee' has 4 images to train on, too few for a validation share of 0.2"),
    ],
)
def test_too_little_is_one_line_before_anything_is_decoded(tmp_path: Path, build, complaint: str):
    build(tmp_path / "old")
    class_folders(tmp_path / "new", ("cat", "dog"), each=30, first=99)
    assert complaint in refused(own("class-incremental", tmp_path), tmp_path)
    assert not list((tmp_path).rglob("*.npy"))


def test_the_new_keys_leave_hashes_as_they_were_and_are_checked(tmp_path: Path):
    plain = own("class-incremental", tmp_path)
    assert plain.hash() == own("class-incremental", tmp_path, duplicates="drop").hash()
    assert plain.hash() != own("class-incremental", tmp_path, duplicates="refuse").hash()
    assert "layout" not in str(plain.model_dump())
    assert "duplicates" not in str(plain.model_dump())
    with pytest.raises(ScenarioError, match=r"data\.duplicates: found, but the stages name no folders"):
        scenario_of("class-incremental", [{"classes": 7}, {"classes": 3}], set="digits", duplicates="refuse")
    with pytest.raises(ScenarioError, match="layout: found in a stage that is not a folder of images"):
        scenario_of("class-incremental", [{"classes": 7, "layout": "classes"}, {"classes": 3}], set="digits")


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """old/ with ants and bees, new/ with bees and cats, and val/ and tst/ with three images of each, all different."""
    class_folders(tmp_path / "old", ("ant", "bee"), each=5)
    class_folders(tmp_path / "new", ("bee", "cat"), each=5, first=100)
    class_folders(tmp_path / "val", ("ant", "bee", "cat"), each=3, first=200)
    class_folders(tmp_path / "tst", ("ant", "bee", "cat"), each=3, first=300)
    return tmp_path


WHOLE = {"validation_share": None, "test_share": None, "validation": "val", "test": "tst"}


def files_of(names: tuple[str, ...], parts: tuple[np.ndarray, ...], root: Path) -> list[list[str]]:
    return [sorted(str(Path(names[place]).relative_to(root)) for place in part) for part in parts]


@pytest.mark.parametrize("kind", ["mixed", "class-incremental"])
def test_nothing_is_cut_off_for_held_out_images_of_ones_own(held: Path, kind: str):
    if kind == "class-incremental":
        shutil.rmtree(held / "new" / "bee")
    scenario = own(kind, held, **WHOLE)
    images = prepared(scenario, held)
    split = cut(scenario, images)
    assert [len(part) for part in split.train] == [10, 10 if kind == "mixed" else 5]
    assert {Path(images.names_train[place]).parts[-3] for part in split.train for place in part} == {"old", "new"}
    # Bees came with the old images first.
    for names, parts, folder in (
        (images.names_train, split.validation, "val"),
        (images.names_test, split.test, "tst"),
    ):
        assert files_of(names, parts, held) == [
            [f"{folder}/{name}/{number}.png" for name in ("ant", "bee") for number in range(3)],
            [f"{folder}/cat/{number}.png" for number in range(3)],
        ]


def test_held_out_images_are_named_stage_by_stage_or_for_one_use_alone(held: Path):
    class_folders(held / "val-old", ("ant", "bee"), each=2, first=400)
    stages = [{"folder": "old", "validation": "val-old"}, {"folder": "new"}]
    scenario = scenario_of("mixed", stages, held, validation_share=0.3, test_share=0.2, image_size=8)
    images = prepared(scenario, held)
    split = cut(scenario, images)
    names = [[images.names_train[place] for place in part] for part in split.validation]
    assert {Path(name).parts[-3] for name in names[0]} == {"val-old"}
    assert {Path(name).parts[-3] for name in names[1]} == {"new"}
    assert [len(part) for part in split.test] == [2, 2]  # a fifth of five images of two classes each, cut off
    assert [len(part) for part in split.train] == [8, 8 - len(names[1])]


def test_with_tests_of_their_own_a_lone_held_out_part_is_what_its_name_says(held: Path):
    class_folders(held / "split" / "train", ("ant", "bee"), each=5, first=500)
    class_folders(held / "split" / "val", ("ant", "bee"), each=2, first=600)
    stages = [{"folder": "split", "test": "tst"}, {"folder": "new"}]
    shutil.rmtree(held / "tst" / "cat")
    scenario = scenario_of("mixed", stages, held, validation_share=0.3, test_share=0.2, image_size=8)
    images = prepared(scenario, held)
    split = cut(scenario, images)
    assert [len(part) for part in (split.train[0], split.validation[0], split.test[0])] == [10, 4, 6]
    assert {Path(images.names_train[place]).parts[-3] for place in split.validation[0]} == {"val"}


def test_a_training_image_among_held_out_images_of_ones_own_is_left_out_of_training(held: Path):
    shutil.copy(held / "old" / "ant" / "0.png", held / "val" / "ant" / "copy.png")
    shutil.copy(held / "new" / "cat" / "1.png", held / "tst" / "cat" / "copy.png")
    scenario = own("mixed", held, **WHOLE)
    split = cut(scenario, prepared(scenario, held))
    assert (split.dropped, split.dropped_validation) == (2, 0)
    assert [len(part) for part in split.train] == [9, 9]
    assert [len(part) for part in split.validation] == [7, 3]


def test_an_image_of_both_validation_and_test_is_left_out_of_validation(held: Path):
    shutil.copy(held / "tst" / "bee" / "0.png", held / "val" / "bee" / "copy.png")
    scenario = own("mixed", held, **WHOLE)
    images = prepared(scenario, held)
    split = cut(scenario, images)
    assert (split.dropped, split.dropped_validation) == (0, 1)
    assert str(held / "val/bee/copy.png") not in {images.names_train[place] for place in split.validation[0]}
    assert [len(part) for part in (*split.validation, *split.test)] == [6, 3, 6, 3]
    line = refused(own("mixed", held, **WHOLE, duplicates="refuse"), held)
    assert "1 validation images are test images too, such as" in line
    assert "val/bee/copy.png" in line
    assert "tst/bee/0.png" in line


def test_validation_images_that_are_all_test_images_are_refused(held: Path):
    for number in range(3):
        shutil.copy(held / "tst" / "bee" / f"{number}.png", held / "val" / "bee" / f"{number}.png")
    line = refused(own("mixed", held, **WHOLE), held)
    assert "class 'bee': all its validation images are test images too" in line
    shutil.rmtree(held / "val")
    shutil.copytree(held / "tst", held / "val")
    assert "validation and old: test: 6 of 6 different images are in both" in refused(own("mixed", held, **WHOLE), held)


def test_each_domain_has_held_out_images_of_its_own(held: Path):
    for folder in ("new", "val", "tst"):
        shutil.rmtree(held / folder / "cat")
    class_folders(held / "new", ("ant",), each=5, first=800)
    for place, name in enumerate(("val-new", "tst-new")):
        class_folders(held / name, ("ant", "bee"), each=2, first=900 + 20 * place)
    stages = [
        {"folder": "old", "validation": "val", "test": "tst"},
        {"folder": "new", "validation": "val-new", "test": "tst-new"},
    ]
    scenario = scenario_of("domain-incremental", stages, held, validation_share=None, image_size=8)
    images = prepared(scenario, held)
    split = cut(scenario, images)
    assert [len(part) for part in (*split.train, *split.validation, *split.test)] == [10, 10, 6, 4, 6, 4]
    assert cut_off_old(images, split) == ()


def replaced(path: Path, target: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(target)


def with_tests_inside(root: Path) -> None:
    (root / "old").rename(root / "train")
    (root / "old").mkdir()
    (root / "train").rename(root / "old" / "train")
    class_folders(root / "old" / "test", ("ant", "bee"), first=700)


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda root: (root / "val" / "ant").rename(root / "val" / "dog"), "class 'dog' is not among the classes of"),
        (
            lambda root: shutil.rmtree(root / "tst" / "cat"),
            "tst: no test images of class 'cat', expected some of every",
        ),
        (lambda root: shutil.rmtree(root / "val"), "val: not a folder of validation images"),
        (lambda root: replaced(root / "tst", root / "val"), "tst are the same, expected separate images"),
        (lambda root: replaced(root / "val", root / "old"), "val are the same, expected separate images"),
        (lambda root: replaced(root / "val", root), "val lie one inside the other, expected separate images"),
        (with_tests_inside, "old has test images of its own, and tst holds others"),
    ],
)
def test_held_out_images_that_do_not_fit_are_one_line(held: Path, break_it: Callable[[Path], object], complaint: str):
    break_it(held)
    assert complaint in refused(own("mixed", held, **WHOLE), held)


def test_folders_that_were_moved_are_split_alike(folders: Path, tmp_path: Path):
    """By absolute paths, as bench update names them."""
    moved = shutil.copytree(folders / "old", tmp_path / "elsewhere" / "old").parent
    shutil.copytree(folders / "new", moved / "new")
    held = []
    for place in (folders, moved):
        asked = own("domain-incremental", place)
        stages = tuple(each.model_copy(update={"folder": str(place / (each.folder or ""))}) for each in asked.stages)
        images = prepared(asked.model_copy(update={"stages": stages}), tmp_path)
        split = cut(asked.model_copy(update={"stages": stages}), images)
        held.append([pixels_at(images, part) for part in split.validation])
    assert held[0] == held[1]
