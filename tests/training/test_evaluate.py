from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bench.training.evaluate import _batch


@pytest.mark.parametrize(
    ("pixels", "device", "images"),
    [(8, "cpu", 1000), (32, "cpu", 1000), (64, "cpu", 128), (224, "cpu", 10), (64, "cuda", 1000), (224, "cuda", 334)],
)
def test_large_images_are_evaluated_a_few_at_a_time_and_small_ones_in_thousands(pixels: int, device: str, images: int):
    held = SimpleNamespace(image_shape=(3, pixels, pixels))
    assert _batch(held, torch.device(device)) == images
