from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.data.feed.augment import PaddedCrop, ResizedCrop, mirrored
from bench.streams import torch_stream


def images(count: int = 4, size: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8))


def test_a_padded_crop_draws_rows_columns_and_flips_as_it_always_did():
    rows, columns, flips = PaddedCrop(2, True).draw(50, torch_stream(0, "a"))
    stream = torch_stream(0, "a")
    assert torch.equal(rows, torch.randint(5, (50,), generator=stream))
    assert torch.equal(columns, torch.randint(5, (50,), generator=stream))
    assert torch.equal(flips, torch.rand(50, generator=stream) < 0.5)


def test_the_whole_image_is_a_crop_that_changes_nothing():
    raw = images()
    whole = torch.tensor([[1.0, 0.5, 0.3, 0.7]] * 4)  # all of the area, square
    cut = ResizedCrop(0.25, True).cut(raw, whole, torch.tensor([False, False, True, True]))
    plain = raw.permute(0, 3, 1, 2).float()
    assert torch.allclose(cut[:2], plain[:2], atol=1e-3)
    assert torch.allclose(cut[2:], plain[2:].flip(3), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_mirroring_is_choosing_between_an_image_and_its_mirror_image(channels: int):
    pixels = torch.arange(256, dtype=torch.uint8).repeat(10 * channels).view(10, 16, 16, channels).permute(0, 3, 1, 2)
    flips = torch.tensor([True, False, False, True, True, False, True, False, True, True])
    found = mirrored(pixels, flips)
    assert torch.equal(found, torch.where(flips.view(-1, 1, 1, 1), pixels.flip(3), pixels))
    assert not torch.equal(found, pixels)
    assert found.stride() == pixels.stride()
    assert found.data_ptr() != pixels.data_ptr()


def test_without_flip_no_crop_is_mirrored():
    whole = torch.tensor([[1.0, 0.5, 0.0, 0.0]] * 4)
    cut = ResizedCrop(0.25, False).cut(images(), whole, torch.ones(4, dtype=torch.bool))
    assert torch.allclose(cut, images().permute(0, 3, 1, 2).float(), atol=1e-3)


def test_a_crop_equals_torchvisions_for_the_same_box():
    from torchvision.transforms import v2

    raw, crop = images(1, 32), ResizedCrop(0.25, False)
    # Area 1/4, square, at the left and three quarters down: 16 x 16 pixels from row 12, column 0.
    drawn = torch.tensor([[0.0, 0.5, 0.0, 0.75]])
    expected = v2.functional.resized_crop(
        raw.permute(0, 3, 1, 2).float(), 12, 0, 16, 16, [32, 32], v2.InterpolationMode.BILINEAR, antialias=False
    )
    found = crop.cut(raw, drawn, torch.tensor([False]))
    # At the crop's border torchvision repeats its pixels, where ours uses the image beyond; inside they are the same.
    assert torch.allclose(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-2)


def test_boxes_lie_inside_and_have_the_requested_area_and_shape():
    crop = ResizedCrop(0.25, True)
    drawn, flips = crop.draw(20_000, torch_stream(0, "a"))
    width, height, left, top = crop.boxes(drawn)
    assert ((left >= 0) & (top >= 0) & (left + width <= 1 + 1e-6) & (top + height <= 1 + 1e-6)).all()
    free = (width < 1) & (height < 1)
    area, ratio = (width * height)[free], (width / height)[free]
    assert area.min() >= 0.25 - 1e-6
    assert ratio.min() >= 3 / 4 - 1e-5
    assert ratio.max() <= 4 / 3 + 1e-5
    assert free.float().mean() > 0.75
    assert abs(torch.log(width / height).mean()) < 4.5 * math.log(4 / 3) / math.sqrt(20_000)
    assert abs(flips.float().mean() - 0.5) < 4.5 * 0.5 / math.sqrt(20_000)


def test_images_of_a_batch_do_not_affect_each_other():
    crop = ResizedCrop(0.25, True)
    drawn = crop.draw(4, torch_stream(0, "a"))
    together = crop.cut(images(), *drawn)
    for place in range(4):
        alone = crop.cut(images()[place : place + 1], *(values[place : place + 1] for values in drawn))
        assert torch.allclose(together[place], alone[0], atol=1e-4)


@pytest.mark.parametrize("crop", [PaddedCrop(2, True), ResizedCrop(0.25, True)])
def test_crops_are_in_new_memory(crop):
    raw = images()
    before = raw.clone()
    crop.cut(raw, *crop.draw(4, torch_stream(0, "a"))).mul_(0)
    assert torch.equal(raw, before)
