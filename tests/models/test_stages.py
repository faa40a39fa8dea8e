from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.errors import StrategyError
from bench.metering.flops import count_flops, count_pass, count_step
from bench.models.build import build_model, head_keys
from bench.models.stages import Parts, find_stages


def parts_of(name: str, size: int = 64) -> Parts:
    model = build_model(name, 3, 10, 0, "stages", size)
    return Parts(model, find_stages(model, head_keys(name, 3, 10, size)))


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet8", {"stem": ("conv1", "bn1"), "stage1": ("groups.0",), "stage3": ("groups.2",), "head": ("head",)}),
        ("torchvision:resnet50", {"stem": ("conv1", "bn1", "relu", "maxpool"), "stage4": ("layer4", "avgpool")}),
        ("vit_b_32", {"stem": ("conv_proj", "encoder.dropout"), "stage1": ("encoder.layers.encoder_layer_0",)}),
        ("convnext_tiny", {"stem": ("features.0",), "stage2": ("features.2", "features.3"), "head": ("classifier.2",)}),
        ("densenet121", {"stage2": ("features.transition1", "features.denseblock2"), "head": ("classifier",)}),
        ("vgg11", {"stem": ("features.0", "features.1", "features.2"), "head": ("classifier.6",)}),
        ("regnet_y_400mf", {"stem": ("stem",), "stage1": ("trunk_output.block1",), "head": ("fc",)}),
    ],
)
def test_stages_are_a_models_own(name: str, stages: dict[str, tuple[str, ...]]):
    found = {stage.name: stage.modules for stage in parts_of(name).stages}
    assert {key: found[key] for key in stages} == stages


@pytest.mark.parametrize("name", ["resnet8", "torchvision:resnet18", "vgg11", "mobilenet_v2", "vit_b_32", "swin_t"])
def test_parts_one_after_the_other_are_the_model(name: str):
    parts = parts_of(name)
    parts.model.eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = parts.model(images)
        for cut in range(1, len(parts.names)):
            assert torch.equal(parts.between(cut)(parts.between(0, cut)(images)), whole)
        middle = parts.between(1, 3)(parts.between(0, 1)(images))
        assert torch.equal(parts.between(3)(middle), whole)


def test_parts_share_the_models_weights():
    parts = parts_of("resnet8")
    trained = parts.between(2)
    assert {id(p) for p in trained.parameters()} == {id(p) for p in parts.parameters(2)}
    assert len(parts.parameters(0)) == len(list(parts.model.parameters()))
    stem_and_first = sum(p.numel() for p in parts.parameters(0)) - sum(p.numel() for p in parts.parameters(2))
    # Convolutions of 3 x 3: 3 to 16 channels, and twice 16 to 16; batch normalization has two numbers a channel.
    assert stem_and_first == 9 * 16 * (3 + 16 + 16) + 3 * 2 * 16


@pytest.mark.parametrize(
    ("name", "frozen", "recomputed", "kept"),
    [("resnet8", 2, 0.698, 0.559), ("resnet18-cifar", 2, 0.805, 0.713), ("resnet18-cifar", 3, 0.644, 0.471)],
)
def test_a_step_behind_frozen_stages_costs_its_share(name: str, frozen: int, recomputed: float, kept: float):
    model = build_model(name, 3, 100, 0, "stages", 32)
    parts = Parts(model, find_stages(model, head_keys(name, 3, 100, 32)))
    whole = count_flops(model, (3, 32, 32)).step
    model.eval()
    forward, shape = count_pass(parts.between(0, frozen), (3, 32, 32))
    model.train()
    step = count_step(parts.between(frozen), shape)
    assert step.batch == 0
    assert step.image / whole == pytest.approx(kept, abs=5e-4)
    assert (forward + step.image) / whole == pytest.approx(recomputed, abs=5e-4)


def test_resnet8s_share_by_hand():
    # Multiply-adds forward of one 32 x 32 image, by stage. Backward costs twice as much, less the first input's gradient.
    stem, first = 27 * 16 * 1024, 2 * 144 * 16 * 1024
    second = (144 * 32 + 288 * 32 + 16 * 32) * 256
    third = (288 * 64 + 576 * 64 + 32 * 64) * 64
    head = 64 * 100
    whole = 3 * (stem + first + second + third + head) - stem
    # Behind frozen stages, the first convolutions (main path and shortcut) need no gradient of their input.
    kept = 3 * (second + third + head) - (144 * 32 + 16 * 32) * 256
    assert kept / whole == pytest.approx(0.559, abs=5e-4)
    assert (kept + stem + first) / whole == pytest.approx(0.698, abs=5e-4)


def test_an_unknown_stage_names_the_known_ones():
    with pytest.raises(
        StrategyError, match="no stage 'layer1' before its head, expected one of stem, stage1, stage2, stage3"
    ):
        parts_of("resnet8").place("layer1")


class Branching(nn.Module):
    """A model whose way depends on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x) if x.sum() > 0 else x)


def test_a_model_that_cannot_be_traced_is_named():
    model = Branching()
    with pytest.raises(StrategyError, match="Branching cannot be cut into stages"):
        Parts(model, find_stages(model, {"head.weight"})).between(1)


def test_a_cut_that_two_values_cross_is_refused():
    with pytest.raises(StrategyError, match="DenseNet cannot be cut after stem: 2 values cross"):
        parts_of("densenet121").between(1)


def test_a_head_of_another_kind_is_refused():
    assert parts_of("resnet8").head().out_features == 10
    with pytest.raises(StrategyError, match=r"SqueezeNet ends in classifier.1, expected one linear layer"):
        parts_of("squeezenet1_1").head()
