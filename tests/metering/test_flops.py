from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.errors import MeterError
from bench.metering import flops
from bench.metering.flops import count_flops, count_layers
from bench.metering.formulas import Tally, exact_counter
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


def test_the_narrow_resnet8_by_hand():
    # Grey images of 12 x 12, 47 classes; groups of 8, 16 and 32 channels at 12, 6 and 3 pixels, by layer, in multiply-adds.
    stem = 1 * 8 * 9 * 144
    first = 2 * 8 * 8 * 9 * 144
    second = 8 * 16 * 9 * 36 + 16 * 16 * 9 * 36 + 8 * 16 * 36
    third = 16 * 32 * 9 * 9 + 32 * 32 * 9 * 9 + 16 * 32 * 9
    whole = stem + first + second + third + 32 * 47
    assert whole == 435_808
    count = count_flops(build_model("resnet8-narrow", 1, 47, 0, "update"), (1, 12, 12))
    assert count.forward == count.forward_fvcore == 2 * whole
    assert count.step == 3 * 2 * whole - 2 * stem


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


def test_a_compiled_model_is_counted_as_it_was_and_stays_compiled():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(36, 3))
    compiled = torch.compile(model, backend="eager")
    images = torch.randn(2, 2, 5, 5)
    compiled(images)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert count_flops(compiled, (2, 5, 5)) == count_flops(model, (2, 5, 5))
    compiled(images)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def test_a_grouped_convolution_s_backward_is_two_forwards():
    """PyTorch's own formula makes the gradient of the weights cost `groups` times as much."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(8 * 9, 2))
    pointwise, depthwise, linear = 2 * 3 * 8 * 25, 2 * 8 * 9 * 9, 2 * 72 * 2
    count = count_flops(model, (3, 5, 5))
    assert count.forward == pointwise + depthwise + linear
    assert count.step == 2 * pointwise + 3 * depthwise + 3 * linear


def test_a_transposed_convolution_by_hand():
    # 4 x 4 pixels, each of 2 channels, spread over 3 x 3 pixels of 6 channels in 2 groups: 1 to 3.
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ConvTranspose2d(2, 6, 3, groups=2), nn.Flatten(), nn.Linear(6 * 36, 2))
    pointwise, spread, linear = 2 * 1 * 2 * 16, 2 * 16 * 2 * 3 * 9, 2 * 216 * 2
    count = count_flops(model, (1, 4, 4))
    assert count.forward == pointwise + spread + linear
    assert count.step == 2 * pointwise + 3 * spread + 3 * linear


def test_frozen_parts_cost_what_is_actually_computed():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Linear(8, 16), nn.Linear(16, 2))
    first, second, last = 2 * 4 * 8, 2 * 8 * 16, 2 * 16 * 2
    assert count_flops(model, (1, 2, 2)).step == 2 * first + 3 * second + 3 * last
    model[1].requires_grad_(False)
    assert count_flops(model, (1, 2, 2)).step == first + 2 * second + 3 * last
    model[2].requires_grad_(False)
    assert count_flops(model, (1, 2, 2)).step == first + second + 2 * last


def test_a_model_that_is_all_frozen_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).requires_grad_(False)
    with pytest.raises(MeterError, match="Sequential: no parameter is trained"):
        count_flops(model, (1, 2, 2))


def test_shared_weights_cost_each_time_they_are_used():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(nn.Flatten(), shared, shared, nn.Linear(4, 2))
    count, layers = count_layers(model, (1, 2, 2))
    assert count.forward == count.forward_fvcore == 2 * (2 * 16) + 2 * 8
    assert count.step == 2 * 32 + 3 * 32 + 3 * 16
    assert [(layer.name, layer.forward) for layer in layers] == [("1", 64), ("3", 16)]


class Attending(nn.Module):
    """Four pixels as a sequence of four tokens, width 8, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(x.flatten(2).transpose(1, 2))).mean(1))


_EMBED, _ENCODER, _HEAD = 2 * 4 * 3 * 8, 2 * 4 * (4 * 64 + 2 * 128) + 2 * 2 * 4 * 4 * 8, 2 * 16


def test_a_transformer_s_fast_path_is_counted():
    count = count_flops(Attending(), (3, 2, 2))
    assert count.forward == count.forward_fvcore == _EMBED + _ENCODER + _HEAD
    assert count.step == 2 * _EMBED + 3 * _ENCODER + 3 * _HEAD
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_attention_costs_the_same_with_any_kernel(kernel: SDPBackend):
    query, key, value = (torch.randn(2, 2, 16, 8, requires_grad=True) for _ in range(3))
    with sdpa_kernel(kernel), exact_counter() as counter:
        F.scaled_dot_product_attention(query, key, value).sum().backward()
    forward = 2 * 2 * 2 * 2 * 16 * 16 * 8
    assert counter.get_total_flops() == 3 * forward


def test_a_matrix_times_a_vector_is_counted():
    with exact_counter() as counter:
        torch.mv(torch.ones(3, 5), torch.ones(5))
        torch.addmv(torch.ones(3), torch.ones(3, 5), torch.ones(5))
    assert counter.get_total_flops() == 2 * 2 * 15


class Around(nn.Module):
    """A classifier around one layer of an image's rows."""

    def __init__(self, inner: nn.Module, width: int = 64) -> None:
        super().__init__()
        self.inner = inner
        self.linear = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.inner(x.squeeze(1))
        return self.linear((out[0] if isinstance(out, tuple) else out).flatten(1))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_is_refused_by_name(kind: type[nn.Module]):
    with pytest.raises(MeterError, match=rf"Around: layer inner \({kind.__name__}\) is recurrent"):
        count_flops(Around(kind(8, 8, batch_first=True)), (1, 8, 8))


def test_a_layer_whose_flops_are_not_counted_is_refused_by_name():
    class Fourier(nn.Module):
        """Multiplies by its weights in an operator that no counter knows."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cdist(x, self.weight)

    with pytest.raises(MeterError, match=r"Around: layer inner \(Fourier\) has weights, but its FLOPs"):
        count_flops(Around(Fourier()), (1, 8, 8))


def test_an_embedding_is_not_refused_as_uncounted():
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.table(torch.arange(8, device=x.device))

    assert count_flops(Around(Positions()), (1, 8, 8)).forward == 2 * 64 * 2


def test_counters_that_disagree_are_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flops, "_attention", lambda inputs, outputs: 0)
    with pytest.raises(MeterError, match=r"Attending: forward FLOPs differ: .* Furthest apart at encoder\.self_attn"):
        count_flops(Attending(), (3, 2, 2))


@pytest.mark.parametrize("name", ["resnet8-narrow", "vit-tiny"])
def test_a_tally_is_what_the_counter_counts_in_training_and_in_evaluation(name: str):
    model, images = build_model(name, 3, 10, 0, "update", 32), torch.zeros(2, 3, 32, 32)

    def work() -> None:
        model(images).sum().backward()
        with torch.inference_mode():
            model(images)

    tally = Tally()
    for _ in range(2):
        with tally:
            work()
    with exact_counter() as counter:
        work()
    assert tally.total == 2 * counter.get_total_flops() > 0
