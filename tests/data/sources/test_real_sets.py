"""Claims about the real image sets; they run if BENCH_TEST_DATA names a folder of .npz archives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.catalog import find_scenario
from bench.data.sources.find import load_set
from bench.data.sources.verify import find_duplicates
from bench.data.stages.splits import cut
from bench.scenario import load_scenario

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif("BENCH_TEST_DATA" not in os.environ, reason="BENCH_TEST_DATA names no folder of image sets"),
]


@pytest.fixture(scope="module")
def root() -> Path:
    return Path(os.environ["BENCH_TEST_DATA"])


def test_cifar100_is_the_published_set(root: Path):
    images = load_set("cifar100", root, download=False)
    # Krizhevsky 2009: 500 training and 100 test images of each of 100 classes, 32 x 32.
    assert images.image_shape == (3, 32, 32)
    assert np.bincount(images.y_train).tolist() == [500] * 100
    assert np.bincount(images.y_test).tolist() == [100] * 100
    assert images.class_names[0] == "apple"
    # Published channel means of the training images, as fractions: 0.5071, 0.4865, 0.4409.
    means = images.x_train.mean((0, 1, 2)) / 255
    assert means == pytest.approx([0.5071, 0.4865, 0.4409], abs=1e-4)


def test_ten_test_images_of_cifar100_are_training_images(root: Path):
    assert find_duplicates(load_set("cifar100", root, download=False)).count == 10


def test_the_headlines_stages_are_seventy_and_thirty_classes(root: Path):
    split = cut(load_scenario(find_scenario("cifar100-70-30")), load_set("cifar100", root, download=False))
    assert [len(part) for part in split.train] == [70 * 450, 30 * 450]
    assert [len(part) for part in split.validation] == [70 * 50, 30 * 50]
    assert [len(part) for part in split.test] == [7000, 3000]


def test_fashion_mnist_is_the_published_set(root: Path):
    images = load_set("fashion-mnist", root, download=False)
    assert np.bincount(images.y_train).tolist() == [6000] * 10
    assert np.bincount(images.y_test).tolist() == [1000] * 10
    # Published mean and standard deviation: 0.2860, 0.3530.
    assert images.x_train.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert images.x_train.std() / 255 == pytest.approx(0.3530, abs=1e-4)
