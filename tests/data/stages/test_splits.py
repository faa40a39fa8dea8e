from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.catalog import find_scenario, scenario_names
from bench.data.images import ImageSet
from bench.data.sources.find import load_images
from bench.data.sources.known import SETS
from bench.data.stages.splits import cut
from bench.errors import DataError, ScenarioError
from bench.scenario import Scenario, digest, load_scenario, parse_scenario


def made_up(
    classes: int, each: int, size: int = 2, domains: tuple[str, ...] = (), names: tuple[str, ...] = ()
) -> ImageSet:
    """`each` images per class (and domain) for training and two for testing, in a fixed shuffled order."""
    names = names or tuple(map(str, range(classes)))
    kinds = max(1, len(domains))
    mixed = np.random.default_rng(0).permutation(np.repeat(np.arange(classes * kinds), each))
    plain = np.repeat(np.arange(classes * kinds), 2)
    (y_train, domain_train), (y_test, domain_test) = ((part // kinds, part % kinds) for part in (mixed, plain))
    x_train, x_test = (np.zeros((len(y), size, size, 1), np.uint8) for y in (y_train, y_test))
    pixels_and_labels = (x_train, y_train, x_test, y_test)
    if not domains:
        return ImageSet(*pixels_and_labels, names, "made up")
    return ImageSet(*pixels_and_labels, names, "made up", domains, domain_train, domain_test)


def scenario_with(
    stages: tuple[int, ...],
    share: float,
    class_seed: int | None,
    split_seed: int,
    classes: tuple[str, ...] | None = None,
) -> Scenario:
    content = load_scenario(find_scenario("digits-7-3")).model_dump(mode="json")
    content["data"] |= {"class_order_seed": class_seed, "validation_share": share, "split_seed": split_seed}
    content["data"]["classes"] = classes
    content["stages"] = [{"classes": count} for count in stages]
    return parse_scenario(content, "test")


def scenario_of(kind: str, stages: list[dict], **data: object) -> Scenario:
    content = load_scenario(find_scenario("digits-7-3")).model_dump(mode="json")
    content["data"] = {"set": "digits", "validation_share": 0.2, **data}
    return parse_scenario({**content, "kind": kind, "stages": stages}, "test")


def layout_of(scenario: Scenario) -> ImageSet:
    """Twenty images per class and domain, with the classes and domains that a shipped scenario names."""
    domains = tuple(stage.domain for stage in scenario.stages if stage.domain is not None)
    names = scenario.data.classes or ()
    return made_up(len(names) or SETS[scenario.data.set].classes, 20, domains=domains, names=names)


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


# Taken once from a run on x86-64; must be the same on every machine, or scores from elsewhere cannot be compared.
_HASHES = {
    "adaptiope-product-real": "6e69c9879208aa88",
    "cifar10-5-5": "00fedad0031c06de",
    "cifar100-70-10-10-10": "31ffef83a9d337da",
    "cifar100-70-10-10-10-lite": "31ffef83a9d337da",
    "cifar100-70-30": "5d586da04681222c",
    "cifar100-70-30-lite": "5d586da04681222c",
    "cifar100-70-30-lite-memory-20": "7d4d5334e67772e1",
    "cifar100-70-30-lite-memory-5": "e2fb526e3063787d",
    "cifar100-70-30-memory-20": "7d4d5334e67772e1",
    "cifar100-half-half": "d5b3123f517a5ff9",
    "digits-4-2-2-2": "ccdf8c0e10209f49",
    "digits-7-3": "9766b0aa16614ee1",
    "fashion-mnist-7-3": "cd83a8c71678251a",
    "glyphs-32-15": "96a4129a85697207",
    "glyphs-sans-serif": "d6f69dccc959318b",
    "imagenet-100-50-50": "cb55586bdfeeaf76",
    "imagenet-200-100-100": "60eb060fc660d2a8",
    "mnist-usps": "e260574e152f9be9",
    "pacs-photo-art": "90abcd8b011e58c5",
    "pacs-photo-art-cartoon-sketch": "ce9dcc40094cadf1",
    "tiny-imagenet-100-100": "72dc845babce09ca",
}


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_scenarios_split_is_the_same_everywhere(name: str):
    scenario = load_scenario(find_scenario(name))
    assert cut(scenario, layout_of(scenario)).hash() == _HASHES[name]


def test_the_embedded_sets_data_hash_is_that_of_published_records(tmp_path):
    scenario = load_scenario(find_scenario("digits-7-3"))
    images = load_images(scenario, tmp_path)
    assert digest([images.hash(), cut(scenario, images).hash()]) == "7e6e27ee5aabdd52"


@pytest.mark.parametrize("name", scenario_names())
def test_a_shipped_scenarios_parts_are_disjoint_complete_and_of_the_right_classes_and_domains(name: str):
    scenario = load_scenario(find_scenario(name))
    images = layout_of(scenario)
    split = cut(scenario, images)
    stages = scenario.stages
    together = np.concatenate([*split.train, *split.validation])
    assert len(np.unique(together)) == len(together)
    assert len(split.class_order) == len(set(split.class_order)) == split.classes_seen[-1]
    taken = len(split.class_order) * 20
    start = 0
    for place, stage in enumerate(stages):
        if scenario.kind == "class-incremental":
            own = set(split.class_order[start : start + stage.classes])
            start += stage.classes
            assert split.classes_seen[place] == start
        else:
            own = set(range(len(images.class_names)))
            assert split.classes_seen[place] == len(own)
        parts = [(images.y_train, images.domain_train, split.train[place])]
        if scenario.kind != "data-incremental" or place == 0:
            parts.append((images.y_train, images.domain_train, split.validation[place]))
            parts.append((images.y_test, images.domain_test, split.test[place]))
        for labels, domains, part in parts:
            assert set(labels[part]) == own
            if scenario.kind == "domain-incremental":
                assert {images.domains[number] for number in domains[part]} == {stage.domain}
    if scenario.kind == "domain-incremental":
        taken *= len(stages)
    assert len(together) == taken
    assert len(np.concatenate(split.test)) == taken // 10


def test_imagenets_classes_are_wordnet_ids_in_the_order_of_their_lists():
    hundred, twohundred = (
        load_scenario(find_scenario(f"imagenet-{name}")).data for name in ("100-50-50", "200-100-100")
    )
    for classes, count in ((hundred.classes, 100), (twohundred.classes, 200)):
        assert len(set(classes)) == count
        assert all(re.fullmatch(r"n\d{8}", name) for name in classes)
    assert hundred.classes[:2] == ("n02869837", "n01749939")  # as published; the other list is sorted
    assert list(twohundred.classes) == sorted(twohundred.classes)


def test_the_split_depends_on_the_split_seed():
    images = made_up(6, 20)
    hashes = {cut(scenario_with((3, 3), 0.2, 0, seed), images).hash() for seed in range(3)}
    assert len(hashes) == 3


def test_more_classes_than_the_set_has_are_refused():
    with pytest.raises(ScenarioError, match=r"stages: 7 \+ 3 classes asked for, digits has 8\. Lower one"):
        cut(scenario_with((7, 3), 0.2, 0, 0), made_up(8, 10))


def test_only_the_named_classes_are_used_in_the_given_order():
    images = made_up(5, 10, names=("ant", "bee", "cat", "dog", "eel"))
    split = cut(scenario_with((1, 2), 0.2, None, 0, ("dog", "ant", "eel")), images)
    assert split.class_order.tolist() == [3, 0, 4]
    assert set(images.y_train[split.train[0]]) == {3}
    shuffled = cut(scenario_with((1, 2), 0.2, 1, 0, ("dog", "ant", "eel")), images)
    assert sorted(shuffled.class_order.tolist()) == [0, 3, 4]
    with pytest.raises(ScenarioError, match=r"data\.classes: 'fox' is not a class of digits"):
        cut(scenario_with((1, 2), 0.2, None, 0, ("dog", "fox", "eel")), images)


DOMAINS = [{"domain": "photo"}, {"domain": "sketch"}]


def test_domains_hold_the_same_classes_and_only_their_own_images():
    images = made_up(3, 10, domains=("art", "photo", "sketch"))
    split = cut(scenario_of("domain-incremental", DOMAINS), images)
    assert split.classes_seen == (3, 3)
    assert [len(part) for part in (*split.train, *split.validation, *split.test)] == [24, 24, 6, 6, 6, 6]
    for place, domain in ((0, 1), (1, 2)):
        assert set(images.domain_train[split.train[place]]) == {domain}
        assert np.bincount(images.y_train[split.validation[place]]).tolist() == [2, 2, 2]


def test_an_unknown_domain_is_named():
    with pytest.raises(ScenarioError, match=r"stages\[1\]\.domain: found 'sketch', but digits has art, photo\. Choose"):
        cut(scenario_of("domain-incremental", DOMAINS), made_up(3, 10, domains=("art", "photo")))
    with pytest.raises(ScenarioError, match="kind: domain-incremental, but digits has no domains"):
        cut(scenario_of("domain-incremental", DOMAINS), made_up(3, 10))


def without(images: ImageSet, label: int, domain: int) -> ImageSet:
    """Return a set that lacks the images of a class in a domain."""
    train = (images.y_train != label) | (images.domain_train != domain)
    test = (images.y_test != label) | (images.domain_test != domain)
    changes = {name: getattr(images, name)[train] for name in ("x_train", "y_train", "domain_train")}
    changes |= {name: getattr(images, name)[test] for name in ("x_test", "y_test", "domain_test")}
    return replace(images, **changes)


def test_a_class_missing_from_a_domain_is_refused():
    images = without(made_up(3, 10, domains=("photo", "sketch")), 2, 1)
    with pytest.raises(
        DataError, match="sketch: no training images of class 2, expected the same classes in every stage"
    ):
        cut(scenario_of("domain-incremental", DOMAINS), images)


FOLDERS = [{"folder": "old"}, {"folder": "new"}]
OWN = {"set": None, "test_share": 0.2, "image_size": 2}


def test_folders_of_a_class_split_share_no_class_and_order_the_classes():
    images = made_up(4, 10, domains=("old", "new"), names=("ant", "bee", "cat", "dog"))
    apart = images
    for label, domain in ((0, 1), (1, 0), (2, 1), (3, 0)):
        apart = without(apart, label, domain)
    split = cut(scenario_of("class-incremental", FOLDERS, **OWN), apart)
    assert split.class_order.tolist() == [0, 2, 1, 3]
    assert split.classes_seen == (2, 4)
    assert set(apart.y_test[split.test[0]]) == {0, 2}
    with pytest.raises(DataError, match=r"^new: class ant is also in old; class-incremental stages share none"):
        cut(scenario_of("class-incremental", FOLDERS, **OWN), images)


def test_mixed_folders_bring_new_classes_and_more_of_known_ones():
    images = made_up(4, 10, domains=("old", "new"), names=("ant", "bee", "cat", "dog"))
    for label, domain in ((0, 0), (3, 1)):  # bee, cat and dog first; then ant, and more of bee and cat
        images = without(images, label, domain)
    split = cut(scenario_of("mixed", FOLDERS, **OWN), images)
    assert split.class_order.tolist() == [1, 2, 3, 0]
    assert split.classes_seen == (3, 4)
    assert [np.bincount(images.y_train[part], minlength=4).tolist() for part in split.train] == [
        [0, 8, 8, 8],
        [8, 8, 8, 0],
    ]
    assert [len(part) for part in split.validation] == [6, 6]
    with pytest.raises(ScenarioError, match=r"stages\[0\]: found classes in a mixed scenario, expected folder"):
        scenario_of("mixed", [{"classes": 2}, {"classes": 2}])


def test_data_incremental_folders_are_measured_on_one_test_part():
    images = made_up(4, 10, domains=("old", "new"))
    split = cut(scenario_of("data-incremental", FOLDERS, **OWN), images)
    assert [len(part) for part in split.train] == [32, 32]
    assert [len(part) for part in (*split.validation, *split.test)] == [16, 0, 16, 0]
    with pytest.raises(DataError, match="new: no training images of class 1, expected the same classes"):
        cut(scenario_of("data-incremental", FOLDERS, **OWN), without(images, 1, 1))


def test_shares_split_every_class_and_may_leave_some_over():
    images = made_up(3, 50)
    split = cut(scenario_of("data-incremental", [{"share": 0.5}, {"share": 0.25}]), images)
    assert [np.bincount(images.y_train[part]).tolist() for part in split.train] == [[20] * 3, [10] * 3]
    assert [len(part) for part in (*split.validation, *split.test)] == [30, 0, 6, 0]
    assert not np.intersect1d(split.train[0], split.train[1]).size
    with pytest.raises(DataError, match=r"class 0 has 40 training images, too few for stages\[1\]\.share 0\.01"):
        cut(scenario_of("data-incremental", [{"share": 0.5}, {"share": 0.01}]), images)


def test_an_update_has_its_share_of_the_old_images_and_all_of_the_new():
    images = made_up(6, 50)
    stages = [{"classes": 2}, {"classes": 2, "old_share": 0.25}, {"classes": 2, "old_share": 0.5}]
    scenario = scenario_of("class-incremental", stages)
    split = cut(scenario, images)
    old, new = split.training(1)
    assert np.bincount(images.y_train[old]).tolist() == [10, 10]  # of 40 each
    assert np.isin(old, split.train[0]).all()
    assert np.array_equal(new, split.train[1])
    # Discarded images stay discarded: update 2 asks for half, but only a quarter of stage 0 is left.
    first, second, third = split.training(2)
    assert np.array_equal(first, old)
    assert len(second) == 40
    assert np.array_equal(third, split.train[2])
    assert [len(part) for part in split.training(2, whole=True)] == [80, 80, 80]
    assert len(np.concatenate(split.validation)) == 60
    again = cut(scenario, images)
    assert all(np.array_equal(a, b) for a, b in zip(split.training(2), again.training(2), strict=True))
    assert split.hash() == again.hash() != cut(scenario_of("class-incremental", [{"classes": 2}] * 3), images).hash()


def test_a_class_too_small_to_validate_is_refused():
    with pytest.raises(DataError, match=r"has 10 images to train on, too few for a validation share of 0\.05"):
        cut(scenario_with((2, 2), 0.05, 0, 0), made_up(4, 10))
