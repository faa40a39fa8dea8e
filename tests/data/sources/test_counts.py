from __future__ import annotations

import pytest

from bench.catalog import find_scenario, scenario_names
from bench.data.sources.counts import expected_size
from bench.data.sources.find import load_images
from bench.data.stages.splits import cut
from bench.scenario import Scenario, load_scenario, parse_scenario


def shipped(name: str) -> Scenario:
    return load_scenario(find_scenario(name))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cifar100-70-30", (45_000, 100)),
        ("cifar100-half-half", (45_000, 100)),
        ("imagenet-100-50-50", (121_711, 100)),  # 1,281,167 of 1,000 classes, a twentieth held out
        ("mnist-usps", (60_562, 10)),
        ("pacs-photo-art", (2_380, 7)),  # a fifth of 3,718 for testing, a fifth of the rest held out
        ("adaptiope-product-real", (17_712, 123)),
    ],
)
def test_sizes_are_the_published_ones(name: str, size: tuple[int, int]):
    assert expected_size(shipped(name)) == size


@pytest.mark.parametrize("name", ["digits-7-3", "digits-4-2-2-2", "glyphs-32-15", "glyphs-sans-serif"])
def test_the_expected_size_is_about_the_actual_size(name: str, tmp_path):
    scenario = shipped(name)
    split = cut(scenario, load_images(scenario, tmp_path))
    images, classes = expected_size(scenario)
    assert images == pytest.approx(sum(map(len, split.train)), rel=0.01)
    assert classes == len(split.class_order)


@pytest.mark.parametrize("name", scenario_names())
def test_every_shipped_scenarios_size_is_known(name: str):
    assert None not in expected_size(shipped(name))


def test_the_size_of_own_folders_is_unknown():
    content = shipped("digits-7-3").model_dump(mode="json")
    content["stages"] = [{"folder": "old"}, {"folder": "new"}]
    content["data"] = {"validation_share": 0.2, "test_share": 0.2, "image_size": 32}
    assert expected_size(parse_scenario(content, "")) == (None, None)
