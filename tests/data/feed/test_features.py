from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.feed.augment import PaddedCrop
from bench.data.feed.batches import Normalization, TrainingImages
from bench.data.feed.features import FeatureShape, KeptFeatures
from bench.data.feed.streaming import StreamedPixels
from bench.errors import TrialError

CPU = torch.device("cpu")


def images(padding: int = 2, flip: bool = True, streamed: bool = False) -> TrainingImages:
    pixels = np.random.default_rng(0).integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
    normalize = Normalization(torch.full((3,), 100.0), torch.full((3,), 50.0), CPU)
    source = StreamedPixels(pixels, np.arange(20), CPU) if streamed else torch.from_numpy(pixels)
    return TrainingImages(source, torch.arange(20), normalize, PaddedCrop(padding, flip), CPU)


def kept(source, compute=lambda x: x, whole=(3, 12, 12), crop=(3, 8, 8), charge=lambda count: None) -> KeptFeatures:
    padded = whole != crop
    return KeptFeatures(source, compute, FeatureShape(whole, crop, padded), charge)


def draws(count: int):
    stream = torch.Generator().manual_seed(1)
    return torch.randint(20, (count,), generator=stream), *PaddedCrop(2, True).draw(count, stream)


@pytest.mark.parametrize("streamed", [False, True])
def test_what_a_part_that_changes_nothing_keeps_is_cropped_as_pixels_are(streamed: bool):
    source = images(streamed=streamed)
    indices, *drawn = draws(200)
    # float16 has 11 bits: normalized pixels differ by less than 2 ** -10 of them.
    assert torch.allclose(kept(source).batch(indices, *drawn), source.batch(indices, *drawn), rtol=1e-3, atol=1e-3)


def test_features_are_those_of_the_padded_image_and_its_mirror_image():
    torch.manual_seed(0)
    prefix = nn.Conv2d(3, 4, 3, padding=1).eval()
    source = images()
    with torch.no_grad():
        store = kept(source, prefix, (4, 12, 12), (4, 8, 8))
        one = torch.tensor([7])
        mirrored = torch.tensor([True])
        crop = store.batch(one, torch.tensor([1]), torch.tensor([3]), mirrored)
        whole = prefix(source.whole(one, mirrored, padded=True))
    # Pixels 3..11 of the padded image, mirrored: columns 12 - 3 - 8 = 1 onwards of the mirror image.
    assert torch.allclose(crop, whole[:, :, 1:9, 1:9], atol=2e-3)
    assert crop.is_contiguous(memory_format=torch.channels_last)


def test_inside_a_crop_features_equal_recomputed_ones_and_at_its_border_they_do_not():
    torch.manual_seed(0)
    prefix = nn.Conv2d(3, 4, 3, padding=1).eval()
    source = images()
    indices, *drawn = draws(50)
    with torch.no_grad():
        cut = kept(source, prefix, (4, 12, 12), (4, 8, 8)).batch(indices, *drawn)
        recomputed = prefix(source.batch(indices, *drawn))
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert torch.allclose(cut[inner], recomputed[inner], atol=5e-3)
    assert not torch.allclose(cut, recomputed, atol=5e-3)


@pytest.mark.parametrize("streamed", [False, True])
def test_features_of_the_image_itself_have_zeros_around_them(streamed: bool):
    torch.manual_seed(0)
    prefix = nn.Conv2d(3, 4, 3, padding=1).eval()
    source = images(streamed=streamed)
    with torch.no_grad():
        store = kept(source, prefix, (4, 8, 8), (4, 8, 8))
        middle = store.plain(torch.tensor([7]))
        seen = prefix(source.plain(torch.tensor([7])))
        one = torch.tensor([7])
        crop = store.batch(one, torch.tensor([0]), torch.tensor([3]), torch.tensor([True]))
    assert torch.allclose(middle, seen, atol=2e-3)
    # Two rows above the image, and pixels 1..8 of its columns, of which the last lies beside it, mirrored.
    assert not crop[:, :, :2].any()
    assert not crop[:, :, :, 0].any()
    with torch.no_grad():
        mirrored = prefix(source.whole(one, torch.tensor([True]), padded=False))
    assert torch.allclose(crop[:, :, 2:, 1:], mirrored[:, :, :6, :7], atol=2e-3)


def test_behind_a_stride_features_of_the_image_itself_are_shifted_by_whole_places():
    source = images(flip=False)
    store = kept(source, lambda x: x[:, :, ::2, ::2], (3, 4, 4), (3, 4, 4))
    whole = store.whole(torch.tensor([3]), torch.tensor([False]), padded=False)
    for drawn, offset in zip(range(5), (-1, -1, 0, 0, 1), strict=True):
        crop = store.batch(torch.tensor([3]), torch.tensor([drawn]), torch.tensor([2]), torch.tensor([False]))
        assert torch.equal(crop, nn.functional.pad(whole, (0, 0, 1, 1))[:, :, offset + 1 : offset + 5])


def test_behind_a_stride_crops_lie_on_every_second_pixel():
    source = images(flip=False)
    store = kept(source, lambda x: x[:, :, ::2, ::2], (3, 6, 6), (3, 4, 4))
    whole = store.whole(torch.tensor([3]), torch.tensor([False]), padded=True)
    for drawn, offset in zip(range(5), (0, 0, 1, 1, 2), strict=True):
        crop = store.batch(torch.tensor([3]), torch.tensor([drawn]), torch.tensor([0]), torch.tensor([False]))
        assert torch.equal(crop, whole[:, :, offset : offset + 4, :4])


def test_each_image_and_mirror_image_is_computed_and_charged_once():
    seen: list[int] = []
    charged: list[int] = []

    def compute(x):
        seen.append(len(x))
        return x

    store = kept(images(), compute, charge=charged.append)
    middle = torch.tensor([2, 2, 2])
    store.batch(torch.tensor([4, 4, 5]), middle, middle, torch.tensor([False, False, True]))
    store.batch(torch.tensor([4, 5, 5]), middle, middle, torch.tensor([False, True, False]))
    assert (seen, charged) == ([2, 1], [2, 1])


def test_what_was_charged_before_an_interruption_is_computed_again_and_not_charged():
    first = kept(images())
    indices, *drawn = draws(10)
    wanted = first.batch(indices, *drawn)
    charged: list[int] = []
    second = kept(images(), charge=charged.append)
    second.restore(first.passes())
    assert sum(charged) == 0
    assert torch.equal(second.batch(indices, *drawn), wanted)
    assert sum(charged) == 0
    assert int((second.passes() > 0).sum()) == len({(int(i), bool(f)) for i, f in zip(indices, drawn[2], strict=True)})


def test_what_is_computed_again_after_an_interruption_is_computed_in_the_same_passes():
    """A network may make something else of an image, in the last bits, where it is given another number of images at once."""

    def whole_passes() -> tuple[list[list[float]], Callable[[torch.Tensor], torch.Tensor]]:
        seen: list[list[float]] = []
        return seen, lambda x: (seen.append(x[:, 0, 3, 3].tolist()), x)[1]

    seen, compute = whole_passes()
    first = kept(images(), compute)
    for count in (10, 25, 3):
        first.batch(*draws(count))
    again, compute = whole_passes()
    second = kept(images(), compute)
    second.restore(first.passes())
    assert len(seen) > 1
    assert again == seen
    of_older_checkpoints = kept(images())
    of_older_checkpoints.restore(first.passes() > 0)
    assert torch.equal(of_older_checkpoints.passes() > 0, first.passes() > 0)


def test_a_later_stage_is_computed_from_what_is_kept():
    source = images()
    first = kept(source, lambda x: x + 1)
    second = kept(first, lambda x: 2 * x)
    indices, *drawn = draws(30)
    expected = 2 * (source.batch(indices, *drawn) + 1)
    assert torch.allclose(second.batch(indices, *drawn), expected, rtol=2e-3, atol=2e-3)


def test_features_that_do_not_fit_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr("bench.data.feed.features._available_memory", lambda: 1000)
    indices, *drawn = draws(30)
    mapped = KeptFeatures(
        images(), lambda x: x, FeatureShape((3, 12, 12), (3, 8, 8), True), lambda count: None, tmp_path
    )
    assert torch.equal(mapped.batch(indices, *drawn), kept(images()).batch(indices, *drawn))
    assert mapped.bytes == 20 * 2 * 3 * 12 * 12 * 2
    assert list(tmp_path.iterdir()) == []  # the file has no name any more, so nothing is left behind


def test_what_float16_cannot_hold_is_an_error():
    store = kept(images(), lambda x: x * 1e6)
    indices, *drawn = draws(3)
    with pytest.raises(TrialError, match="exceeds float16"):
        store.batch(indices, *drawn)
