from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bench.errors import ScenarioError
from bench.models import ZOO, Shortcut, build_model, lay
from bench.models.build import find_model, head_keys


@pytest.mark.parametrize("name", ZOO)
def test_every_model_gives_one_logit_per_class(name: str):
    model = build_model(name, 3, 17, 0, "update")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 17)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    # 784 x 512 + 512 and 512 x 10 + 10. ViT: layers, last norm, patches, class token and 65 positions, head.
    [
        ("mlp", (1, 28, 28), 407_050),
        ("vit-tiny", (3, 32, 32), 12 * 444_864 + 2 * 192 + 48 * 192 + 192 + 66 * 192 + 1930),
    ],
)
def test_models_for_one_size_of_images_are_built_for_it(name: str, shape: tuple[int, int, int], parameters: int):
    model = build_model(name, shape[0], 10, 0, "update", shape[1])
    assert model(torch.zeros(2, *shape)).shape == (2, 10)
    assert sum(each.numel() for each in model.parameters()) == parameters


def test_a_size_that_a_model_does_not_take_is_one_line():
    with pytest.raises(
        ScenarioError, match="'vit-tiny': found images of 1 x 30 x 30, expected 3 channels and a multiple"
    ):
        build_model("vit-tiny", 1, 10, 0, "update", 30)


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


class _Orders(TorchDispatchMode):
    """Notes, of each activation that an operator takes, whether its channels lie next to each other."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self.last: set[tuple[str, bool]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in args:
            if isinstance(each, torch.Tensor) and each.ndim == 4 and len(each) == self._batch:
                self.last.add((str(func).removeprefix("aten."), each.stride(1) == 1))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_all_activations_and_their_gradients_lie_in_one_order(name: str, memory_format: torch.memory_format):
    # An elementwise operator on two orders goes number by number: ReLU's backward pass then took ten times as long.
    model = lay(build_model(name, 3, 10, 0, "base"), memory_format).train()
    images = torch.randn(5, 3, 16, 16).to(memory_format=memory_format)
    with _Orders(5) as orders:
        model(images).square().sum().backward()
    work = {
        "threshold_backward.default",
        "native_batch_norm_backward.default",
        "convolution_backward.default",
        "add.Tensor",
    }
    found = {(func, last) for func, last in orders.last if func in work}
    assert found == {(func, memory_format is torch.channels_last) for func in work}


def test_the_order_of_pixels_changes_no_gradient():
    images, found = torch.randn(5, 3, 16, 16).to(memory_format=torch.channels_last), []
    for said in (True, False):
        model = build_model("resnet8", 3, 10, 0, "base").train()
        for module in model.modules():
            if hasattr(module, "channels_last"):
                module.channels_last = said
        model(images).square().sum().backward()
        found.append([each.grad for each in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_an_unknown_model_names_the_zoo():
    with pytest.raises(ScenarioError, match=r"'resnet9': unknown, expected one of resnet8"):
        build_model("resnet9", 3, 10, 0, "base")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "torchvision:squeezenet1_1"])
def test_torchvisions_classifiers_are_built_by_name(name: str):
    model = build_model(name, 3, 7, 0, "base", 64).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    again = build_model(name, 3, 7, 0, "base", 64).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("resnet8", {"head.weight", "head.bias"}),
        ("resnet18", {"fc.weight", "fc.bias"}),
        ("squeezenet1_1", {"classifier.1.weight", "classifier.1.bias"}),
        ("googlenet", {"fc.weight", "fc.bias"}),
        ("vit_b_16", {"heads.head.weight", "heads.head.bias"}),
    ],
)
def test_the_head_is_found_whatever_its_name(name: str, keys: set[str]):
    assert head_keys(name, 3, 7, 64) == keys


def test_a_transformer_is_built_for_the_images_size():
    with torch.device("meta"):
        shapes = [find_model("vit_b_16", size)(3, 7).state_dict()["encoder.pos_embedding"].shape for size in (64, 224)]
    assert [shape[1] for shape in shapes] == [4 * 4 + 1, 14 * 14 + 1]


def test_a_near_miss_is_named():
    with pytest.raises(ScenarioError, match=r"'resnet55': unknown.*Did you mean resnet5?0"):
        build_model("resnet55", 3, 10, 0, "base")


def test_grey_images_do_not_fit_torchvisions_models():
    with pytest.raises(ScenarioError, match="'resnet18': found 1-channel images, expected 3 channels"):
        build_model("resnet18", 1, 10, 0, "base")


def test_timm_is_imported_only_when_named_and_missing_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ScenarioError, match=r"'timm:resnet26': needs the package timm.*pip install timm"):
        build_model("timm:resnet26", 3, 10, 0, "base")


class FakeTimm:
    """Stands in for the package in the three calls that bench makes: their signatures are timm 1.0's."""

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}

    def list_models(self) -> list[str]:
        return ["resnet26", "vit_tiny_patch16_224"]

    def get_pretrained_cfg(self, model_name: str) -> SimpleNamespace | None:
        known = {"resnet26": False, "vit_tiny_patch16_224": True}
        return SimpleNamespace(fixed_input_size=known[model_name]) if model_name in known else None

    def create_model(self, model_name: str, pretrained: bool = False, **options: int) -> torch.nn.Module:
        self.asked = {"name": model_name, "pretrained": pretrained, **options}
        return torch.nn.Linear(options["in_chans"], options["num_classes"])


def test_a_timm_model_is_asked_for_its_head_channels_and_fixed_size(monkeypatch: pytest.MonkeyPatch):
    fake = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", fake)
    build_model("timm:resnet26", 1, 10, 0, "base", 96)
    assert fake.asked == {"name": "resnet26", "pretrained": False, "num_classes": 10, "in_chans": 1}
    build_model("timm:vit_tiny_patch16_224", 3, 10, 0, "base", 96)
    assert fake.asked["img_size"] == 96
    with pytest.raises(ScenarioError, match=r"'timm:resnet27': unknown to the installed timm\. Did you mean resnet26"):
        build_model("timm:resnet27", 3, 10, 0, "base")
