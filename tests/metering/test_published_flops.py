"""Forward counts against the figures that torchvision publishes with its weights, and steps against sums by hand."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn
from torchvision import models

from bench.metering.flops import FlopCount, count_flops

# Of different kinds: plain, bottleneck, grouped, depthwise, inception, dense, transformer, hierarchical transformer. Each is
# over a gigaflop, so that the three digits after the point that torchvision prints are finer than 0.1 %.
PUBLISHED = [
    "vgg11",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "densenet121",
    "googlenet",
    "convnext_tiny",
    "regnet_y_1_6gf",
    "vit_b_32",
    "swin_t",
]
_WITHOUT_DRAWING = {"googlenet": {"init_weights": False}}


def build(name: str) -> nn.Module:
    # RegNet computes its widths from tensor values, which the meta device does not have; it is small.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        return models.get_model(name, weights=None, **_WITHOUT_DRAWING.get(name, {}))


@cache
def count(name: str) -> tuple[FlopCount, float]:
    """Return the count, and the published multiply-adds in billions, at the resolution that they are published for."""
    weights = next(iter(models.get_model_weights(name)))
    size = weights.transforms().crop_size[0]
    return count_flops(build(name), (3, size, size)), weights.meta["_ops"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_forward_multiply_adds_are_the_published_ones(name: str):
    counted, published = count(name)
    assert counted.forward / 2e9 == pytest.approx(published, rel=1e-3)
    assert counted.forward_fvcore / 2e9 == pytest.approx(published, rel=1e-3)


def test_a_step_of_resnet18_is_three_forwards_less_its_stems_input_gradient():
    stem = 3 * 64 * 7 * 7 * 112 * 112
    group_1 = 4 * 64 * 64 * 9 * 56 * 56
    # The first block of each further group: half the resolution, twice the channels, and a parallel 1 x 1 convolution.
    group = 64 * 128 * 9 * 28 * 28 + 3 * 128 * 128 * 9 * 28 * 28 + 64 * 128 * 28 * 28
    forward = stem + group_1 + 3 * group + 512 * 1000
    counted, _ = count("resnet18")
    assert counted.forward == 2 * forward
    assert counted.step == 2 * (3 * forward - stem)


def test_a_step_of_a_vision_transformer_is_three_forwards_less_its_patches_input_gradient():
    tokens, width, hidden, layers = 7 * 7 + 1, 768, 3072, 12
    patches = 3 * width * 32 * 32 * 7 * 7
    projections = tokens * (4 * width * width + 2 * width * hidden)
    attention = 2 * tokens * tokens * width  # scores, and values weighted by them, for all heads together
    forward = patches + layers * (projections + attention) + width * 1000
    counted, _ = count("vit_b_32")
    assert counted.forward == 2 * forward
    assert counted.step == 2 * (3 * forward - patches)


def test_a_step_of_mobilenet_counts_depthwise_convolutions_by_their_own_channels():
    # MobileNetV2 by its paper's table 2: expansion, channels, repeats, stride of the first.
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    stem = 3 * 32 * 9 * 112 * 112
    forward, size, entering = stem, 112, 32
    for expansion, leaving, repeats, first_stride in table:
        for repeat in range(repeats):
            inner, stride = expansion * entering, first_stride if repeat == 0 else 1
            if expansion != 1:
                forward += entering * inner * size * size
            size //= stride
            forward += inner * 9 * size * size + inner * leaving * size * size
            entering = leaving
    forward += 320 * 1280 * 7 * 7 + 1280 * 1000
    counted, published = count("mobilenet_v2")
    assert forward / 1e9 == pytest.approx(published, abs=5e-4)
    assert counted.forward == 2 * forward
    assert counted.step == 2 * (3 * forward - stem)


def test_what_a_batch_costs_once_is_counted_separately():
    """Swin V2 computes its relative position biases once per batch; of two images, each would be charged half of them."""
    counted, published = count("swin_v2_t")
    assert counted.forward / 2e9 == pytest.approx(published, rel=1e-3)
    assert counted.batch > 0
    # A table of 15 x 15 offsets through linear layers 2 to 512 to the heads, in blocks of 2, 2, 6 and 2. Forward, and the
    # gradients of weights and inputs, but none of the constant offsets.
    heads = [3] * 2 + [6] * 2 + [12] * 6 + [24] * 2
    first, second = 15 * 15 * 2 * 512, [15 * 15 * 512 * each for each in heads]
    assert counted.batch == 2 * sum(2 * first + 3 * each for each in second)
