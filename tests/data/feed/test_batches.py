from __future__ import annotations

import numpy as np
import pytest
import torch

from bench import Uniform
from bench.data.feed import batches
from bench.data.feed.augment import PaddedCrop
from bench.data.feed.batches import HeldOutImages, Normalization, Pool, TrainingImages, pixel_statistics
from bench.training.batching import BatchOrder

CPU = torch.device("cpu")


def make(count: int = 50, size: int = 6, channels: int = 3, padding: int = 2, flip: bool = True):
    images = torch.from_numpy(
        np.random.default_rng(0).integers(256, size=(count, size, size, channels), dtype=np.uint8)
    )
    normalize = Normalization(torch.zeros(channels), torch.ones(channels), CPU)
    return images, TrainingImages(images, torch.arange(count), normalize, PaddedCrop(padding, flip), CPU)


def test_a_batch_is_the_crop_and_flip_that_was_drawn():
    images, training = make()
    indices = torch.tensor([3, 0, 49])
    rows, columns = torch.tensor([0, 4, 1]), torch.tensor([2, 0, 3])
    flips = torch.tensor([False, True, True])
    batch = training.batch(indices, rows, columns, flips)
    for place, (index, row, column, flip) in enumerate(zip(indices, rows, columns, flips, strict=True)):
        padded = np.pad(images[index].numpy(), ((2, 2), (2, 2), (0, 0)))
        expected = padded[row : row + 6, column : column + 6]
        if flip:
            expected = expected[:, ::-1]
        assert (batch[place].permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize(("batch", "at_once"), [(8, 3), (6, 4)], ids=["three at once", "all of an epoch"])
def test_batches_that_are_cut_at_once_are_those_cut_one_by_one(
    batch: int, at_once: int, monkeypatch: pytest.MonkeyPatch
):
    """Over three epochs, at most as many as are asked for, and from the middle of those that were cut at once."""
    _, training = make(count=26, size=5)  # no batch of 6 takes a multiple of 64 bytes
    pool = Pool(torch.arange(26), torch.zeros(26, dtype=torch.bool), None)
    monkeypatch.setattr(batches, "_BYTES_AT_ONCE", at_once * batch * 5 * 5 * 3)
    single, several = (BatchOrder(training, pool, Uniform(), batch, 3) for _ in range(2))
    assert training.at_once(batch) == at_once
    counted, most, cut, plain = [], 0, training.cut, []
    monkeypatch.setattr(training, "cut", lambda indices, *drawn: counted.append(len(indices)) or cut(indices, *drawn))
    for left in range(11, 0, -1):
        plain.append(single.next())
        counted.clear()
        found = several.next(left)
        assert all(torch.equal(one, other) for one, other in zip(plain[-1], found, strict=True))
        assert found[0].stride() == plain[-1][0].stride()
        assert found[0].data_ptr() % 64 == plain[-1][0].data_ptr() % 64
        assert torch.equal(several.again(training), found[0])
        assert sum(counted) <= left * batch + batch
        most = max(most, *counted, 0)
        assert (several.epoch, several.position) == (single.epoch, single.position)
    assert most == at_once * batch
    resumed = BatchOrder(training, pool, Uniform(), batch, 3)
    resumed.seek(0, 1)
    assert all(torch.equal(one, other) for one, other in zip(resumed.next(5), plain[1], strict=True))


def test_what_an_evaluation_normalizes_first_does_not_mark_what_comes_later():
    """Tensors of torch.inference_mode cannot be saved for a backward pass."""
    normalize = Normalization(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 4.0]), torch.device("cpu"))
    pixels = torch.full((2, 3, 5, 5), 9.0)
    with torch.inference_mode():
        normalize(pixels.clone())
    scale = torch.ones(1, requires_grad=True)
    normalize(pixels * scale).sum().backward()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(2 * 25 * 9 * (1 + 1 / 2 + 1 / 4))


def test_batches_are_channels_last_float32():
    _, training = make()
    zeros = torch.zeros(4, dtype=torch.long)
    batch = training.batch(torch.arange(4), zeros, zeros, zeros.bool())
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_without_flip_nothing_is_mirrored():
    images, training = make(padding=0, flip=False)
    zeros = torch.zeros(4, dtype=torch.long)
    batch = training.batch(torch.arange(4), zeros, zeros, torch.ones(4, dtype=torch.bool))
    assert torch.equal(batch.permute(0, 2, 3, 1).to(torch.uint8), images[:4])


def test_augmentation_is_fresh_every_epoch_and_repeatable():
    _, training = make()
    first, again, second = (training.draw(1000, 7, epoch) for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_every_shift_and_half_of_the_flips_are_drawn():
    _, training = make(padding=2)
    rows, columns, flips = training.draw(20_000, 0, 0)
    for shifts in (rows, columns):
        assert set(shifts.tolist()) == {0, 1, 2, 3, 4}
    # 4.5 standard deviations of a fair coin
    assert abs(flips.float().mean() - 0.5) < 4.5 * 0.5 / 20_000**0.5


def test_pixel_statistics_are_numpys():
    images, _ = make()
    mean, std = pixel_statistics(images)
    expected = images.numpy().astype(np.float64)
    assert np.allclose(mean, expected.mean((0, 1, 2)), rtol=1e-6)
    assert np.allclose(std, expected.std((0, 1, 2)), rtol=1e-6)


def test_held_out_images_come_in_order_and_whole():
    images, _ = make(count=7)
    normalize = Normalization(torch.full((3,), 100.0), torch.full((3,), 50.0), CPU)
    held = HeldOutImages(images, torch.arange(7), torch.arange(7) > 3, normalize, CPU)
    pixels, labels, new = (torch.cat(parts) for parts in zip(*held.batches(3), strict=True))
    assert torch.allclose(pixels.permute(0, 2, 3, 1), (images.float() - 100) / 50)
    assert labels.tolist() == list(range(7))
    assert new.tolist() == [False] * 4 + [True] * 3
