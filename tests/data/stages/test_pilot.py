"""A pilot's images: a share of each class of each stage, out of the whole scenario's split."""

from __future__ import annotations

import numpy as np
import pytest

from bench.catalog import find_scenario
from bench.data.feed.update import build_update
from bench.data.images import ImageSet
from bench.data.stages.splits import Split, cut
from bench.errors import ScenarioError
from bench.scenario import Scenario, load_scenario
from bench.training.grid import scratch_steps
from tests.conftest import CPU


@pytest.fixture
def pilot(short: Scenario) -> Scenario:
    return short.as_pilot(0.25)


def counts(labels: np.ndarray, part: np.ndarray) -> np.ndarray:
    return np.bincount(labels[part], minlength=10)


def test_a_pilot_has_a_share_of_each_class_to_train_on(pilot: Scenario, split: Split, digits: ImageSet):
    found = cut(pilot, digits)
    for thin, whole in zip(found.train, split.train, strict=True):
        assert set(thin) < set(whole)
        every = counts(digits.y_train, whole)
        np.testing.assert_array_equal(counts(digits.y_train, thin), np.rint(0.25 * every))
    assert cut(pilot, digits).hash() == found.hash() != split.hash()


def test_no_more_is_held_out_than_a_tenth_of_what_scratch_trains_on(pilot: Scenario, split: Split, digits: ImageSet):
    found = cut(pilot, digits)
    # Two epochs of a quarter of the images, at half of the passes: as many images as are there. One of a class may round up.
    most = 0.1 * 0.5 * 2 * sum(map(len, found.train))
    for thin, whole in ((found.validation, split.validation), (found.test, split.test)):
        assert sum(map(len, whole)) > most
        assert abs(sum(map(len, thin)) - most) <= 10 / 2
        assert all(set(part) <= set(of) for part, of in zip(thin, whole, strict=True))
        assert len(np.unique(np.concatenate([digits.y_train[part] for part in found.validation]))) == 10


def test_its_steps_are_half_of_the_passes_over_its_images(short: Scenario, pilot: Scenario):
    assert scratch_steps(short, 1000) == 2 * 15  # 64 images a step, two epochs
    assert scratch_steps(pilot, 1000) == 15
    with pytest.raises(ScenarioError, match=r"30 training images do not fill one batch\. Raise the share of the pilot"):
        scratch_steps(pilot, 30)


def test_its_pixels_are_normalized_as_the_old_model_knows_them(
    short: Scenario, pilot: Scenario, split: Split, digits: ImageSet
):
    one, other = (
        build_update(of, digits, part, 1, CPU).train.normalize
        for of, part in ((short, split), (pilot, cut(pilot, digits)))
    )
    assert (one.unit_mean, one.unit_std) == (other.unit_mean, other.unit_std)


def test_a_pilot_is_another_scenario_with_the_same_old_model(short: Scenario, pilot: Scenario):
    assert pilot.name == "short-pilot-0.25"
    assert pilot.hash() not in (short.hash(), short.as_pilot(0.3).hash())
    assert (pilot.whole.name, pilot.whole.base_hash()) == ("short", short.base_hash())


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan"), "a tenth"])
def test_a_share_is_between_0_and_1(short: Scenario, share: float):
    with pytest.raises(ScenarioError, match="expected a share between 0 and 1"):
        short.as_pilot(share)


def test_what_has_no_pilot_says_so(pilot: Scenario, short: Scenario):
    with pytest.raises(ScenarioError, match="a pilot itself"):
        pilot.as_pilot(0.5)
    with pytest.raises(ScenarioError, match="a chain of 3 updates"):
        load_scenario(find_scenario("digits-4-2-2-2")).as_pilot(0.5)
