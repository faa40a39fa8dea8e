from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.errors import MeterError
from bench.metering.flops import count_flops
from bench.models import build_model

# He et al.'s ResNet-18 with a CIFAR stem and ten classes at 3 x 32 x 32, by layer, in multiply-adds:
_STEM = 3 * 64 * 9 * 32 * 32
_GROUP_1 = 4 * 64 * 64 * 9 * 32 * 32
_OTHER_GROUP = 64 * 128 * 9 * 256 + 3 * 128 * 128 * 9 * 256 + 64 * 128 * 256


def test_resnet18_with_a_cifar_stem_costs_the_published_multiply_adds():
    assert _STEM + _GROUP_1 + 3 * _OTHER_GROUP + 5120 == 555_422_720  # the published figure
    count = count_flops(build_model("resnet18-cifar", 3, 10, 0, "update"), (3, 32, 32))
    assert count.forward == 2 * 555_422_720
    assert count.forward_fvcore == 2 * 555_422_720


def test_a_step_costs_three_forwards_less_the_first_layers_input_gradient():
    count = count_flops(build_model("resnet18-cifar", 3, 10, 0, "update"), (3, 32, 32))
    assert count.step == 3 * 2 * 555_422_720 - 2 * _STEM


def test_a_small_network_by_hand():
    # One 3 x 3 convolution, 2 to 4 channels, 5 x 5 pixels without padding: 3 x 3 outputs; then 36 to 3.
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(36, 3))
    convolution, linear = 2 * 2 * 4 * 9 * 9, 2 * 36 * 3
    count = count_flops(model, (2, 5, 5))
    assert count.forward == convolution + linear
    assert count.step == 2 * convolution + 3 * linear


def test_counting_changes_nothing():
    model = build_model("resnet8", 1, 10, 0, "update")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    random, mode = torch.get_rng_state(), model.training
    count_flops(model, (1, 8, 8))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training is mode
    assert all(parameter.grad is None for parameter in model.parameters())


def test_counters_that_disagree_are_an_error():
    class Hidden(nn.Module):
        """A recurrent layer, which the two counters do not count alike."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.LSTM(8, 8, batch_first=True)
            self.linear = nn.Linear(64, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.inner(x.squeeze(1))[0].flatten(1))

    with pytest.raises(MeterError, match="Hidden"):
        count_flops(Hidden(), (1, 8, 8))
