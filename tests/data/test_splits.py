from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.catalog import find_scenario, scenario_names
from bench.data.sources import SETS, ImageSet
from bench.data.splits import cut
from bench.errors import DataError, ScenarioError
from bench.scenario import DataPart, Scenario, Stage, load_scenario


def made_up(classes: int, each: int, size: int = 2) -> ImageSet:
    """`each` images a class for training and two for testing, in a fixed shuffled order."""
    y_train = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), each))
    y_test = np.repeat(np.arange(classes), 2)
    x_train, x_test = (np.zeros((len(y), size, size, 1), np.uint8) for y in (y_train, y_test))
    return ImageSet(x_train, y_train, x_test, y_test, tuple(map(str, range(classes))), "made up")


def scenario_with(stages: tuple[int, ...], share: float, class_seed: int | None, split_seed: int) -> Scenario:
    shipped = load_scenario(find_scenario("digits-7-3"))
    data = DataPart(set="digits", class_order_seed=class_seed, validation_share=share, split_seed=split_seed)
    return shipped.model_copy(update={"data": data, "stages": tuple(Stage(classes=n) for n in stages)})


@settings(max_examples=40, deadline=None)
@given(
    stages=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    share=st.floats(0.11, 0.45),
    class_seed=st.none() | st.integers(0, 5),
    split_seed=st.integers(0, 5),
)
def test_every_image_of_the_stages_is_in_exactly_one_part(stages, share, class_seed, split_seed):
    images = made_up(8, 10)
    split = cut(scenario_with(stages, share, class_seed, split_seed), images)
    parts = np.concatenate([*split.train, *split.validation])
    chosen = split.class_order
    assert len(np.unique(parts)) == len(parts) == 10 * sum(stages)
    assert set(images.y_train[parts]) == set(chosen)
    assert len(np.concatenate(split.test)) == 2 * sum(stages)
    for stage, count in enumerate(stages):
        start = sum(stages[:stage])
        own = set(chosen[start : start + count])
        for labels, part in (
            (images.y_train, split.train[stage]),
            (images.y_train, split.validation[stage]),
            (images.y_test, split.test[stage]),
        ):
            assert set(labels[part]) == own


def test_validation_takes_its_share_of_every_class():
    images = made_up(5, 40)
    split = cut(scenario_with((3, 2), 0.25, 0, 0), images)
    held = np.concatenate(split.validation)
    assert np.bincount(images.y_train[held]).tolist() == [10] * 5


def test_labels_become_positions_in_the_class_order():
    images = made_up(6, 10)
    split = cut(scenario_with((2, 2), 0.2, 3, 0), images)
    relabelled = split.relabel(images.y_train)
    for position, label in enumerate(split.class_order):
        assert set(images.y_train[relabelled == position]) == {label}
    assert (relabelled[~np.isin(images.y_train, split.class_order)] == -1).all()


# Taken once from a run on x86-64; the same on every machine, or scores made elsewhere cannot be compared.
_HASHES = {
    "cifar10-5-5": "00fedad0031c06de",
    "cifar100-70-30": "5d586da04681222c",
    "cifar100-70-30-lite": "5d586da04681222c",
    "digits-7-3": "9766b0aa16614ee1",
    "fashion-mnist-7-3": "cd83a8c71678251a",
}


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_scenarios_split_is_the_same_everywhere(name: str):
    scenario = load_scenario(find_scenario(name))
    assert cut(scenario, made_up(SETS[scenario.data.set].classes, 20)).hash() == _HASHES[name]


def test_the_split_depends_on_the_split_seed():
    images = made_up(6, 20)
    hashes = {cut(scenario_with((3, 3), 0.2, 0, seed), images).hash() for seed in range(3)}
    assert len(hashes) == 3


def test_more_classes_than_there_are_is_refused():
    with pytest.raises(ScenarioError, match=r"stages: 7 \+ 3 classes asked for, digits has 8\. Lower one"):
        cut(scenario_with((7, 3), 0.2, 0, 0), made_up(8, 10))


def test_a_class_too_small_to_validate_is_refused():
    with pytest.raises(DataError, match=r"has 10 training images, too few for a validation share of 0\.05"):
        cut(scenario_with((2, 2), 0.05, 0, 0), made_up(4, 10))
