from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench.catalog import find_scenario, scenario_names
from bench.errors import ScenarioError
from bench.scenario import load_scenario, parse_scenario


@pytest.fixture
def content() -> dict[str, Any]:
    return load_scenario(find_scenario("digits-7-3")).model_dump(mode="json")


@pytest.mark.parametrize("name", scenario_names())
def test_every_shipped_scenario_is_valid_and_named_like_its_file(name: str):
    assert load_scenario(find_scenario(name)).name == name


def test_the_headline_is_what_the_study_asks_for():
    headline = load_scenario(find_scenario("cifar100-70-30"))
    assert [stage.classes for stage in headline.stages] == [70, 30]
    assert (headline.model.name, headline.training.batch_size, headline.training.epochs) == ("resnet18-cifar", 256, 50)
    assert headline.training.precision == "bf16"


# scenario -> (hash, base hash). Published records hold the first, their base models' keys the second.
_HASHES = {
    "cifar10-5-5": ("716c2ac5449c8907", "41a5441f0e54f410"),
    "cifar100-70-30": ("5357dc4bc75f3ec9", "dac07415a94222b2"),
    "cifar100-70-30-lite": ("828284621ba0a7e0", "b07707513df07d3c"),
    "digits-7-3": ("e2c91577f78fd8a9", "4cfe9bce75203d32"),
    "fashion-mnist-7-3": ("681977f83a67e6cc", "aace62b9be11d212"),
}


@pytest.mark.parametrize("name", _HASHES)
def test_a_published_scenario_keeps_its_hash(name: str):
    scenario = load_scenario(find_scenario(name))
    assert (scenario.hash(), scenario.base_hash()) == _HASHES[name]


def test_an_unknown_key_is_refused_by_name(content: dict[str, Any]):
    content["training"]["epoch"] = 3
    with pytest.raises(ScenarioError, match=r"^mine\.toml: training\.epoch: unknown key"):
        parse_scenario(content, "mine.toml")


def test_a_wrong_type_is_refused_with_what_was_found_and_expected(content: dict[str, Any]):
    content["stages"][1]["classes"] = "3"
    with pytest.raises(ScenarioError, match=r"stages\[1\]\.classes: found '3', expected a valid integer"):
        parse_scenario(content, "mine.toml")


def test_a_missing_key_is_named(content: dict[str, Any]):
    del content["data"]["set"]
    with pytest.raises(ScenarioError, match=r"mine\.toml: data\.set: missing"):
        parse_scenario(content, "mine.toml")


@pytest.mark.parametrize("share", [0.0, 0.5, float("nan")])
def test_a_validation_share_outside_its_range_is_refused(content: dict[str, Any], share: float):
    content["data"]["validation_share"] = share
    with pytest.raises(ScenarioError, match=r"data\.validation_share"):
        parse_scenario(content, "mine.toml")


def test_one_stage_is_refused(content: dict[str, Any]):
    content["stages"] = content["stages"][:1]
    with pytest.raises(ScenarioError, match=r"stages"):
        parse_scenario(content, "mine.toml")


def test_broken_toml_is_one_line_with_the_file(tmp_path: Path):
    file = tmp_path / "broken.toml"
    file.write_text("name = 'a\n")
    with pytest.raises(ScenarioError, match=r"broken\.toml: not valid TOML") as caught:
        load_scenario(file)
    assert "\n" not in str(caught.value)


def test_the_hash_covers_the_training_settings_but_not_the_title(content: dict[str, Any]):
    first = parse_scenario(content, "").hash()
    content["title"] = "Another title"
    assert parse_scenario(content, "").hash() == first
    content["training"]["learning_rate"] = 0.3
    assert parse_scenario(content, "").hash() != first


def test_another_evaluation_grid_keeps_the_base_model(content: dict[str, Any]):
    first = parse_scenario(content, "")
    content["evaluation"]["points"] += 1
    second = parse_scenario(content, "")
    assert first.hash() != second.hash()
    assert first.base_hash() == second.base_hash()


def test_a_new_field_at_its_default_is_not_hashed_and_elsewhere_it_is(content: dict[str, Any]):
    first = parse_scenario(content, "").hash()
    content["stages"][1]["old_share"] = 1.0
    content["data"]["image_size"] = None
    assert parse_scenario(content, "").hash() == first
    content["stages"][1]["old_share"] = 0.2
    assert parse_scenario(content, "").hash() != first


def test_where_a_scenario_was_read_from_is_neither_hashed_nor_recorded(tmp_path: Path):
    shipped = find_scenario("digits-7-3")
    copy = tmp_path / "copy.toml"
    copy.write_text(shipped.read_text())
    first, second = load_scenario(shipped), load_scenario(copy)
    assert (second.root, first.hash()) == (tmp_path, second.hash())
    assert "root" not in second.model_dump()
    with pytest.raises(ScenarioError, match=r"mine\.toml: root: unknown key"):
        parse_scenario({**second.model_dump(mode="json"), "root": "elsewhere"}, "mine.toml")


FOLDERS = [{"folder": "old"}, {"folder": "new"}]
OWN = {"set": None, "class_order_seed": None, "test_share": 0.2, "image_size": 32}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"kind": "other"}, r"kind: found 'other', expected 'class-incremental', 'domain-incremental',"),
        (
            {"kind": "domain-incremental"},
            r"stages\[0\]: found classes in a domain-incremental scenario, expected domain",
        ),
        (
            {"stages": [{"classes": 7}, {}]},
            r"stages\[1\]: found none of classes, domain, share, folder, expected exactly",
        ),
        ({"stages": [{"classes": 7}, {"classes": 3, "share": 0.1}]}, r"stages\[1\]: found classes and share of"),
        ({"stages": [{"classes": 7}, {"folder": "x"}]}, "stages: classes and folder are mixed"),
        ({"stages": [{"classes": 7, "old_share": 0.5}, {"classes": 3}]}, r"stages\[0\]\.old_share: found in the first"),
        (
            {"stages": [{"classes": 7}, {"classes": 3, "old_share": 0.0}]},
            r"stages\[1\]\.old_share: found 0\.0, expected",
        ),
        ({"kind": "data-incremental", "stages": [{"share": 0.6}, {"share": 0.5}]}, r"stages: shares sum to 1\.1"),
        (
            {"kind": "domain-incremental", "stages": [{"domain": "a"}, {"domain": "a"}]},
            "stages: 'a' is listed twice",
        ),
        ({"stages": FOLDERS}, r"data\.set: found 'digits', but the stages name folders"),
        (
            {"stages": FOLDERS, "data": {**OWN, "test_share": None}},
            r"data\.test_share: missing, but required when stages name folders",
        ),
        ({"stages": FOLDERS, "data": {**OWN, "image_size": None}}, r"data\.image_size: missing"),
        (
            {"stages": FOLDERS, "data": {**OWN, "class_order_seed": 1}},
            r"data\.class_order_seed: found, but the folders determine",
        ),
        ({"data": {"classes": ["a", "b"]}}, r"data\.classes: found 2 names, but the stages ask for 10"),
        ({"data": {"classes": ["a", "a"]}}, r"data\.classes: 'a' is listed twice"),
        (
            {"model": {"resize": 256}},
            r"model\. ?resize and crop: found one of them, expected both or none",
        ),
        ({"model": {"resize": 7, "crop": 8}}, r"model\. ?crop: found 8, expected at most resize, 7"),
        (
            {"model": {"resize": 9, "crop": 8, "preprocessing": "imagenet-224"}},
            r"model\. ?preprocessing: found 'imagenet-224' together with resize and crop",
        ),
        (
            {"stages": FOLDERS, "data": OWN, "model": {"resize": 256, "crop": 224}},
            r"data\.image_size: found 32, but model\.crop cuts 224 pixels",
        ),
        (
            {"stages": FOLDERS, "data": OWN, "model": {"preprocessing": "imagenet-224"}},
            r"data\.image_size: found 32, but model\.preprocessing cuts 224 pixels",
        ),
        (
            {"stages": FOLDERS, "data": {**OWN, "validation": "val"}},
            r"data\.validation_share: found, but data\.validation names these images",
        ),
        (
            {"stages": FOLDERS, "data": {**OWN, "validation_share": None}},
            r"data\.validation_share: missing, but required when stages name folders. Add it, or validation",
        ),
        ({"data": {"test": "val"}}, r"data\.test: found, but the stages name no folders of your own"),
        ({"data": {"validation_share": None}}, r"data\.validation_share: missing\. Add it\."),
        (
            {"stages": [{"classes": 7, "test": "x"}, {"classes": 3}]},
            r"stages\[0\]\. ?test: found in a stage that is not",
        ),
        (
            {
                "stages": [{"folder": "old", "test": "x"}, {"folder": "new"}],
                "data": {**OWN, "test": "y", "test_share": None},
            },
            r"data\.test: found together with stages\[0\]\.test",
        ),
        (
            {"kind": "domain-incremental", "stages": FOLDERS, "data": {**OWN, "test": "y", "test_share": None}},
            r"data\.test: found in a domain-incremental scenario, expected a folder for each domain",
        ),
        ({"data": {"max_megapixels": 0}}, r"data\.max_megapixels: found 0, expected greater than 0"),
        ({"training": {"crop_scale": 0.5}}, r"training\.crop_padding: found 1 together with crop_scale, expected 0"),
    ],
)
def test_an_inconsistent_scenario_is_one_line(content: dict[str, Any], changes: dict[str, Any], line: str):
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    with pytest.raises(ScenarioError, match=rf"^mine\.toml: {line}") as caught:
        parse_scenario(content, "mine.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": [{"classes": 4}, {"classes": 2}, {"classes": 2, "old_share": 0.5}, {"classes": 2}]},
        {"kind": "domain-incremental", "stages": [{"domain": "photo"}, {"domain": "sketch"}]},
        {"kind": "data-incremental", "stages": [{"share": 0.3}, {"share": 0.3}, {"share": 0.4}]},
        {"stages": FOLDERS, "data": OWN, "model": {"checkpoint": "old.pt"}},
        {"stages": FOLDERS, "data": {**OWN, "max_megapixels": 200}, "model": {"resize": 36, "crop": 32}},
        {"stages": FOLDERS, "data": {**OWN, "image_size": 224}, "model": {"preprocessing": "imagenet-224"}},
    ],
)
def test_every_kind_of_stage_is_valid_and_survives_plain_values(content, changes):
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    scenario = parse_scenario(content, "")
    assert parse_scenario(scenario.model_dump(mode="json"), "") == scenario


LIMITS = [
    ("data", "split_seed", 2**63, "less than or equal to 9223372036854775807"),
    ("data", "class_order_seed", -1, "greater than or equal to 0"),
    ("data", "image_size", 100_000, "less than or equal to 8000"),
    ("training", "epochs", 10**9, "less than or equal to 100000"),
    ("training", "batch_size", 2**40, "less than or equal to 1048576"),
    ("training", "learning_rate", float("inf"), "finite number"),
    ("evaluation", "points", 10**12, "less than or equal to 100000"),
]


@pytest.mark.parametrize(("part", "key", "value", "expected"), LIMITS)
def test_a_number_beyond_what_can_be_run_is_refused(
    content: dict[str, Any], part: str, key: str, value: Any, expected: str
):
    content[part][key] = value
    with pytest.raises(ScenarioError, match=rf"mine.toml: {part}\.{key}: found .*, expected (a )?{expected}"):
        parse_scenario(content, "mine.toml")


def test_a_number_of_thousands_of_digits_is_one_line(content: dict[str, Any]):
    content["training"]["epochs"] = 16**5000
    with pytest.raises(ScenarioError, match="found a number of thousands of digits, expected less than or equal"):
        parse_scenario(content, "mine.toml")


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path):
    text = find_scenario("digits-7-3").read_bytes()
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert load_scenario(path) == load_scenario(find_scenario("digits-7-3")).model_copy(update={"root": tmp_path})


BROKEN_FILES = {
    "too large": (b"#" * (1 << 20) + b"\n", "cannot be read (larger than 1,048,576 bytes)"),
    "too deep": (b"a = " + b"[" * 100_000, "not valid TOML: nested too deeply"),
    "too many digits": (b"a = " + b"9" * 5000, "not valid TOML: Exceeds the limit"),
    "another encoding": ("title = 'é'".encode("latin-1"), "cannot be read ('utf-8' codec can't decode"),
}


@pytest.mark.parametrize("what", BROKEN_FILES)
def test_a_file_that_is_no_scenario_is_one_line(tmp_path: Path, what: str):
    content, said = BROKEN_FILES[what]
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError) as found:
        load_scenario(path)
    assert str(found.value).startswith(f"{path}: {said}")
    assert "\n" not in str(found.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "mine.toml")
    with pytest.raises(ScenarioError, match=r"cannot be read .not a regular file."):
        load_scenario(tmp_path / "mine.toml")
