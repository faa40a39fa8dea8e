from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from bench.errors import ScenarioError
from bench.models import ZOO, Shortcut, build_model


@pytest.mark.parametrize("name", ZOO)
def test_every_model_gives_one_logit_a_class(name: str):
    model = build_model(name, 3, 17, 0, "update")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 17)


def test_weights_depend_on_seed_and_stream_alone():
    def head(seed: int, stream: str) -> torch.Tensor:
        return build_model("resnet8", 1, 10, seed, stream).state_dict()["conv1.weight"]

    assert torch.equal(head(0, "base"), head(0, "base"))
    assert not torch.equal(head(0, "base"), head(0, "update"))
    assert not torch.equal(head(0, "base"), head(1, "base"))


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_model("resnet8", 1, 10, 0, "base")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_subsampled_shortcut_is_the_strided_convolution():
    shortcut = Shortcut(4, 6, 2).eval()
    x = torch.randn(3, 4, 8, 8)
    strided = F.conv2d(x, shortcut.conv.weight, stride=2)
    assert torch.allclose(shortcut(x), shortcut.bn(strided), atol=1e-6)


def test_an_unknown_model_names_the_zoo():
    with pytest.raises(ScenarioError, match=r"'resnet9': unknown, expected one of resnet8"):
        build_model("resnet9", 3, 10, 0, "base")
