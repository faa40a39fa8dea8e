from __future__ import annotations

import torch

from bench.data.feed.batches import pixel_statistics
from bench.data.feed.update import Update
from bench.data.sources.find import ImageSet
from bench.data.stages.splits import Split


def test_old_images_come_first_and_new_classes_last(updates: tuple[Update, Update], split: Split):
    old, update = updates
    assert len(old.train) == len(split.train[0])
    assert len(update.train) == len(split.train[0]) + len(split.train[1])
    assert update.pool.new.tolist() == [False] * len(old.train) + [True] * len(split.train[1])
    assert (update.pool.labels[update.pool.new] >= 7).all()
    assert torch.equal(update.pool.labels[: len(old.train)], old.pool.labels)


def test_a_base_model_sees_only_its_own_classes(updates: tuple[Update, Update]):
    old = updates[0]
    for labels in (old.train.labels, old.validation.labels, old.test.labels):
        assert set(labels.tolist()) == set(range(7))


def test_held_out_images_know_which_classes_are_new(updates: tuple[Update, Update]):
    for held in (updates[1].validation, updates[1].test):
        assert torch.equal(held.new, held.labels >= 7)


def test_both_updates_are_normalized_by_the_old_images(updates: tuple[Update, Update], digits: ImageSet, split: Split):
    mean, std = pixel_statistics(torch.from_numpy(digits.x_train[split.train[0]]))
    for update in updates:
        pixels, _, _ = next(update.validation.batches(5))
        raw = torch.from_numpy(digits.x_train[split.validation[0][:5]]).permute(0, 3, 1, 2)
        assert torch.allclose(pixels, (raw - mean.view(1, 1, 1, 1)) / std.view(1, 1, 1, 1), atol=1e-5)
