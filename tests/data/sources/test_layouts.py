"""Every set that comes in parts, and a user's own data, from small made-up trees in the real layout."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.catalog import find_scenario
from bench.data.images import ImageSet
from bench.data.sources import known
from bench.data.sources.find import data_ready, load_images, prepare_images, trees_of
from bench.data.sources.verify import count_images, find_duplicates
from bench.data.stages.splits import cut
from bench.errors import BenchError, DataError, ScenarioError
from bench.scenario import Scenario, load_scenario, parse_scenario
from tests.data.trees import WNIDS, class_folders, own, scenario_of, tiny_imagenet, write_image

CLASSES = ("ant", "bee", "cat", "dog")


def prepared(scenario: Scenario, root: Path) -> ImageSet:
    prepare_images(scenario, root, workers=1)
    return load_images(scenario, root, download=False)


def shipped(name: str, **data: object) -> Scenario:
    content = load_scenario(find_scenario(name)).model_dump(mode="json")
    content["data"] |= data
    return parse_scenario(content, name)


def with_test_part(scenario: Scenario, root: Path) -> tuple[ImageSet, np.ndarray]:
    images = prepared(scenario, root)
    return images, np.asarray(images.x_test[np.arange(len(images.x_test))])


def test_tiny_imagenets_own_layout(tmp_path: Path):
    tiny_imagenet(tmp_path)
    scenario = shipped("tiny-imagenet-100-100")
    stages = scenario_of("class-incremental", [{"classes": 2}, {"classes": 1}], set="digits").stages
    smaller = scenario.model_copy(update={"stages": stages})
    images = prepared(smaller, tmp_path)
    assert images.class_names == WNIDS
    assert images.image_shape == (3, 64, 64)
    assert np.bincount(images.y_train).tolist() == [5, 5, 5]
    assert images.y_test.tolist() == [0, 0, 1, 1, 2, 2]
    tenth = smaller.model_copy(update={"data": smaller.data.model_copy(update={"validation_share": 0.2})})
    split = cut(tenth, images)
    assert [len(part) for part in split.train] == [8, 4]
    assert images.source == "tiny-imagenet files"


def test_imagenet_uses_only_the_requested_classes(tmp_path: Path):
    for part, each in (("train", 5), ("val", 2)):
        class_folders(tmp_path / "imagenet" / part, (*WNIDS, "n99999999"), each, ".JPEG")
    scenario = scenario_of(
        "class-incremental",
        [{"classes": 1}, {"classes": 1}],
        set="imagenet",
        classes=[WNIDS[2], WNIDS[0]],
        image_size=16,
    )
    images = prepared(scenario, tmp_path)
    assert images.class_names == (WNIDS[2], WNIDS[0])
    assert len(images.x_train) == 10
    assert len(images.x_test) == 4
    assert {name for tree in trees_of(scenario, tmp_path) for name in tree.listing.class_names} == {WNIDS[0], WNIDS[2]}


def test_adaptiopes_domains_are_told_apart_by_their_folders(tmp_path: Path):
    for place, domain in enumerate(known.SETS["adaptiope"].domains):
        class_folders(tmp_path / "adaptiope" / domain, CLASSES, each=10, ending=".jpg", first=100 * place)
    scenario = shipped("adaptiope-product-real", image_size=16)
    images = prepared(scenario, tmp_path)
    assert images.domains == ("product_images", "real_life")
    for domain, train, fewest, test, fewest_test in count_images(images):
        assert (domain in images.domains, train, fewest, test, fewest_test) == (True, 32, 8, 8, 2)
    split = cut(
        scenario.model_copy(update={"data": scenario.data.model_copy(update={"validation_share": 0.2})}), images
    )
    assert set(images.domain_train[split.train[1]]) == {1}


def pacs_archive(root: Path, domains: tuple[str, ...] = known.SETS["pacs"].domains) -> None:
    random = np.random.default_rng(0)
    arrays = {"classes": np.array(["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"])}
    for domain in domains:
        arrays[f"x_{domain}"] = random.integers(256, size=(70, 64, 64, 3), dtype=np.uint8)
        arrays[f"y_{domain}"] = np.arange(70) % 7
    np.savez(root / "pacs.npz", **arrays)


def test_pacs_comes_as_an_archive_by_domains_or_as_its_folders(tmp_path: Path):
    scenario = shipped("pacs-photo-art")
    pacs_archive(tmp_path)
    images = load_images(scenario, tmp_path)
    assert images.domains == ("photo", "art_painting")
    assert images.source == "pacs.npz"
    assert (len(images.x_train), len(images.x_test)) == (112, 28)
    assert np.bincount(images.y_test[images.domain_test == 1]).tolist() == [2] * 7
    (tmp_path / "pacs.npz").unlink()
    for domain in known.SETS["pacs"].domains:
        class_folders(tmp_path / "pacs" / "kfold" / domain, CLASSES, each=10, ending=".jpg")
    assert data_ready(scenario, tmp_path) == "not prepared: 2 of 2 trees"
    assert prepared(scenario, tmp_path).domains == ("photo", "art_painting")
    assert data_ready(scenario, tmp_path) == "ready"


def test_a_missing_domain_is_named(tmp_path: Path):
    scenario = shipped("pacs-photo-art")
    pacs_archive(tmp_path, ("photo",))
    with pytest.raises(DataError, match=r"no x_art_painting or y_art_painting: domain art_painting is missing"):
        load_images(scenario, tmp_path)
    (tmp_path / "pacs.npz").unlink()
    class_folders(tmp_path / "pacs" / "kfold" / "photo", CLASSES)
    with pytest.raises(DataError, match=r"art_painting: not a readable folder of images"):
        trees_of(scenario, tmp_path)
    other = scenario_of("domain-incremental", [{"domain": "photo"}, {"domain": "doodle"}], set="pacs", test_share=0.2)
    with pytest.raises(ScenarioError, match=r"stages\[1\]\.domain: found 'doodle', but pacs has photo, art_painting"):
        load_images(other, tmp_path)


def test_mnist_and_usps_are_resized_to_one_size(tmp_path: Path):
    random = np.random.default_rng(0)
    for name, size in (("mnist", 28), ("usps", 16)):
        arrays = {
            f"x_{part}": random.integers(256, size=(30, size, size), dtype=np.uint8) for part in ("train", "test")
        }
        np.savez(tmp_path / f"{name}.npz", **arrays, y_train=np.arange(30) % 10, y_test=np.arange(30) % 10)
        if name == "mnist":
            mnist = arrays["x_train"]
    scenario = shipped("mnist-usps")
    images = load_images(scenario, tmp_path, download=False)
    assert images.domains == ("mnist", "usps")
    assert images.image_shape == (1, 28, 28)
    assert (np.asarray(images.x_train)[:30, ..., 0] == mnist).all()
    assert images.domain_test.tolist() == [0] * 30 + [1] * 30
    assert images.hash() == load_images(scenario, tmp_path, download=False).hash()
    assert data_ready(scenario, tmp_path) == "ready"


def test_the_split_off_test_part_is_the_same_everywhere_and_depends_on_the_split_seed(tmp_path: Path):
    class_folders(tmp_path / "old", CLASSES, each=20)
    class_folders(tmp_path / "new", CLASSES, each=20, first=500)
    scenario = own("domain-incremental", tmp_path)
    images, tests = with_test_part(scenario, tmp_path)
    assert np.bincount(images.y_test).tolist() == [8] * 4
    train = np.asarray(images.x_train[np.arange(len(images.x_train))])
    everything = {image.tobytes() for image in (*train, *tests)}
    assert len(everything) == 160  # disjoint and complete: every image differs from the others
    # The positions drawn among the class's images, sorted by name; the same on every machine.
    assert images.x_test._row[:4].tolist() == TEST_ROWS
    _, again = with_test_part(scenario, tmp_path)
    assert (again == tests).all()
    _, other = with_test_part(own("domain-incremental", tmp_path, split_seed=1), tmp_path)
    assert (other != tests).any()


# Taken once from a run on x86-64.
TEST_ROWS = [2, 7, 11, 12]


def test_adding_a_class_keeps_other_classes_test_parts(tmp_path: Path):
    for name in ("old", "new"):
        class_folders(tmp_path / name, CLASSES, each=20)
    whole, _ = with_test_part(own("domain-incremental", tmp_path), tmp_path)
    some, _ = with_test_part(own("domain-incremental", tmp_path, classes=["dog", "bee"]), tmp_path)
    dogs = [images.x_test[np.flatnonzero(images.y_test == label)] for images, label in ((whole, 3), (some, 0))]
    assert (dogs[0] == dogs[1]).all()


def test_own_folders_of_a_class_split_are_ordered_by_stage_and_then_by_name(tmp_path: Path):
    class_folders(tmp_path / "old", ("dog", "cat"), each=10)
    class_folders(tmp_path / "new", ("bee", "ant"), each=10, first=200)
    scenario = own("class-incremental", tmp_path)
    images = prepared(scenario, tmp_path)
    assert images.class_names == ("cat", "dog", "ant", "bee")
    split = cut(scenario, images)
    assert split.class_order.tolist() == [0, 1, 2, 3]
    assert split.classes_seen == (2, 4)


def test_an_own_folder_with_a_test_part_keeps_it(tmp_path: Path):
    for name, first in (("old", 0), ("new", 500)):
        class_folders(tmp_path / name / "train", CLASSES, each=5, first=first)
        class_folders(tmp_path / name / "test", CLASSES, each=3, first=first + 100)
    images = prepared(own("data-incremental", tmp_path), tmp_path)
    assert np.bincount(images.y_train).tolist() == [10] * 4
    assert np.bincount(images.y_test).tolist() == [6] * 4


def archive(path: Path, labels: np.ndarray, **more: np.ndarray) -> None:
    pixels = np.random.default_rng(len(labels)).integers(256, size=(len(labels), 8, 8, 3), dtype=np.uint8)
    np.savez(path, **{"x_train": pixels, "y_train": labels, **more})


def test_own_archives_and_folders_can_be_stages_together(tmp_path: Path):
    archive(tmp_path / "old.npz", np.arange(40) % 2, classes=np.array(["cat", "dog"]))
    class_folders(tmp_path / "new", ("ant",), each=20)
    scenario = own("class-incremental", tmp_path, ("old.npz", "new"))
    images = prepared(scenario, tmp_path)
    assert images.class_names == ("cat", "dog", "ant")
    assert np.bincount(images.y_test).tolist() == [4, 4, 4]
    assert len(np.asarray(images.x_train[np.arange(48)])) == 48
    archive(tmp_path / "alone.npz", np.arange(40) % 2 + 7)
    alone = prepared(own("class-incremental", tmp_path, ("old.npz", "alone.npz")), tmp_path)
    assert alone.class_names == ("cat", "dog", "7", "8")
    assert isinstance(alone.x_train, np.ndarray)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x_train": np.zeros((40, 8, 8, 3))}, "x_train is float64, expected uint8"),
        ({"x_train": np.zeros((40, 8), np.uint8)}, r"x_train has shape \(40, 8\), expected \(images, height, width"),
        ({"x_train": np.zeros((40, 9, 9, 3), np.uint8)}, r"images of \(9, 9\), but data\.image_size is 8"),
        ({"x_train": np.zeros((30, 8, 8, 3), np.uint8)}, "30 images but 40 labels"),
        ({"x_train": np.zeros((40, 8, 8, 1), np.uint8)}, r"images of \(8, 8, 3\), but .*old\.npz has \(8, 8, 1\)"),
        ({"y_train": np.linspace(0, 1, 40)}, "y_train is float64, expected integers"),
        ({"y_train": np.arange(40) - 1}, r"y_train holds labels -1\.\.38, expected 0 or more"),
        ({"classes": np.array(["one"])}, r"y_train holds labels 0\.\.1, expected 0\.\.0"),
        ({"x_test": np.zeros((4, 8, 8, 3), np.uint8)}, "only one of x_test and y_test"),
        ({"x_train": np.array([{}])}, r"not a readable \.npz archive"),
    ],
)
def test_an_invalid_own_archive_is_refused(tmp_path: Path, changes: dict, complaint: str):
    archive(tmp_path / "old.npz", np.arange(40) % 2, **changes)
    archive(tmp_path / "new.npz", np.arange(40) % 2 + 2)
    with pytest.raises(BenchError, match=complaint) as caught:
        load_images(own("class-incremental", tmp_path, ("old.npz", "new.npz")), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "old", "new", "complaint"),
    [
        ("class-incremental", ("ant", "bee"), ("bee", "cat"), "class 'bee' is in both old and new, expected in one"),
        ("data-incremental", ("ant", "bee"), ("ant",), "class 'bee' is in only one of old and new, expected the same"),
        ("domain-incremental", ("ant",), ("ant", "bee"), "class 'bee' is in only one of old and new"),
    ],
)
def test_classes_that_do_not_fit_the_kind_are_named(tmp_path: Path, kind: str, old, new, complaint: str):
    class_folders(tmp_path / "old", old)
    class_folders(tmp_path / "new", new)
    with pytest.raises(DataError, match=complaint):
        trees_of(own(kind, tmp_path), tmp_path)


def test_unprepared_images_are_reported_and_not_decoded_on_the_fly(tmp_path: Path):
    class_folders(tmp_path / "old", CLASSES, each=7)
    class_folders(tmp_path / "new", CLASSES, each=7, first=99)
    scenario = own("domain-incremental", tmp_path)
    with pytest.raises(DataError, match=r"old: 28 image files, not prepared yet\. Run: bench data prepare"):
        load_images(scenario, tmp_path)
    prepare_images(scenario, tmp_path, workers=1)
    write_image(tmp_path / "new" / "ant" / "one-more.png", 7)
    assert data_ready(scenario, tmp_path) == "not prepared: 1 of 2 trees"


def test_skipped_images_are_in_neither_part(tmp_path: Path):
    class_folders(tmp_path / "old", CLASSES, each=7)
    class_folders(tmp_path / "new", CLASSES, each=7, first=99)
    (tmp_path / "old" / "ant" / "broken.png").write_text("no image")
    scenario = own("domain-incremental", tmp_path)
    prepare_images(scenario, tmp_path, workers=1, skip_broken=True)
    images = load_images(scenario, tmp_path)
    assert len(images.x_train) + len(images.x_test) == 56
    assert images.source == "folders of the user's own, 1 broken images left out"
    assert np.asarray(images.x_train[np.arange(len(images.x_train))]).any(axis=(1, 2, 3)).all()


def test_a_set_with_a_test_part_of_its_own_takes_no_test_share(tmp_path: Path):
    stages = [{"classes": 7}, {"classes": 3}]
    with pytest.raises(ScenarioError, match=r"data\.test_share: found, but digits comes with its own test part"):
        load_images(scenario_of("class-incremental", stages, set="digits", test_share=0.2), tmp_path)
    with pytest.raises(ScenarioError, match=r"data\.image_size: found 16, but digits comes as arrays of 8 pixels"):
        load_images(scenario_of("class-incremental", stages, set="digits", image_size=16), tmp_path)


def test_files_without_a_resolution_or_a_test_share_are_refused(tmp_path: Path):
    stages = [{"domain": "photo"}, {"domain": "sketch"}]
    for domain in ("photo", "sketch"):
        class_folders(tmp_path / "pacs" / domain, CLASSES)
    with pytest.raises(ScenarioError, match=r"data\.image_size: missing; pacs comes as files of various sizes"):
        prepare_images(scenario_of("domain-incremental", stages, set="pacs", test_share=0.2), tmp_path, workers=1)
    with pytest.raises(DataError, match=r"no test part, and data\.test_share is missing"):
        prepared(scenario_of("domain-incremental", stages, set="pacs", image_size=8), tmp_path)
    with pytest.raises(DataError, match=r"class 'ant' has 5 images, too few for a test share of 0\.1"):
        prepared(scenario_of("domain-incremental", stages, set="pacs", image_size=8, test_share=0.1), tmp_path)


def test_some_classes_of_a_set_of_arrays(tmp_path: Path):
    stages = [{"classes": 1}, {"classes": 2}]
    images = load_images(scenario_of("class-incremental", stages, set="digits", classes=["7", "0", "3"]), tmp_path)
    whole = load_images(scenario_of("class-incremental", stages, set="digits"), tmp_path)
    assert images.class_names == ("7", "0", "3")
    assert (images.x_train[images.y_train == 0] == whole.x_train[whole.y_train == 7]).all()


def test_the_data_hash_sees_pixels_labels_domains_and_the_cut(tmp_path: Path):
    class_folders(tmp_path / "old", CLASSES, each=10)
    class_folders(tmp_path / "new", CLASSES, each=10, first=99)
    changes = ({}, {"split_seed": 1}, {"folders": ("new", "old")}, {"size": 9})
    hashes = [prepared(own("domain-incremental", tmp_path, **more), tmp_path).hash() for more in changes]
    assert len(set(hashes)) == 4
    assert prepared(own("domain-incremental", tmp_path), tmp_path).hash() == hashes[0]


def test_todays_data_hash_stays(digits: ImageSet):
    assert digits.hash() == "4cc000fb7d61e342"


def test_duplicates_between_training_and_test_are_counted(digits: ImageSet):
    x_test = np.array(digits.x_test)
    x_test[5], x_test[9] = digits.x_train[17], digits.x_train[3]
    twice = find_duplicates(replace(digits, x_test=x_test))
    before = find_duplicates(digits)
    assert twice.count == before.count + 2
    assert (5, 17) in twice.pairs


def test_looking_at_data_does_not_import_torch(tmp_path: Path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom bench.data.sources.find import data_ready, load_images, prepare_images\n"
        "from bench.scenario import parse_scenario\nimport json\n"
        "scenario = parse_scenario(json.loads(sys.argv[1]), '').model_copy(update={'root': Path(sys.argv[2])})\n"
        "prepare_images(scenario, Path(sys.argv[2]), workers=1)\nassert data_ready(scenario, Path(sys.argv[2])) == 'ready'\n"
        "load_images(scenario, Path(sys.argv[2])).hash()\nassert 'torch' not in sys.modules\n"
    )
    class_folders(tmp_path / "old", CLASSES, each=10)
    class_folders(tmp_path / "new", CLASSES, each=10)
    content = json.dumps(own("domain-incremental", tmp_path).model_dump(mode="json"))
    subprocess.run([sys.executable, "-c", code, content, str(tmp_path)], check=True, capture_output=True)


def test_the_fewest_of_a_class_are_counted_among_the_classes_that_a_folder_has(tmp_path: Path):
    """Of two folders without a common class, neither has 0 of the other's."""
    class_folders(tmp_path / "old", ("cat", "dog"), each=10)
    class_folders(tmp_path / "new", ("emu",), each=6, first=100)
    scenario = own("class-incremental", tmp_path)
    rows = count_images(prepared(scenario, tmp_path))
    assert all(fewest > 0 and fewest_test > 0 for _, _, fewest, _, fewest_test in rows)
