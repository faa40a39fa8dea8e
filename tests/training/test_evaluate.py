from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bench.data.feed.batches import HeldOutImages, Normalization
from bench.models import build_model
from bench.training import evaluate as module
from bench.training.evaluate import Evaluation, _batch, _measuring, measure, measure_classes
from bench.training.step import StepError
from tests.conftest import CPU
from tests.training.tape import Waits, record_on_tape


@pytest.mark.parametrize(
    ("pixels", "device", "images"),
    [(8, "cpu", 250), (32, "cpu", 250), (64, "cpu", 128), (224, "cpu", 10), (32, "cuda", 1000), (224, "cuda", 334)],
)
def test_large_images_are_evaluated_a_few_at_a_time_and_small_ones_many_at_a_time(
    pixels: int, device: str, images: int
):
    held = SimpleNamespace(image_shape=(3, pixels, pixels))
    assert _batch(held, torch.device(device)) == images


class Rising(nn.Module):
    """A head of two classes: the logits of x are x and slope * x."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False)
        self.head.weight.data = torch.tensor([[1.0], [slope]])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


def ones_of_class_1() -> HeldOutImages:
    """Return images of one pixel, 1, 2, 4, ..., which bfloat16 holds exactly; all of them of the new class."""
    pixels, labels = (2 ** torch.arange(8)).to(torch.uint8), torch.ones(8, dtype=torch.int64)
    normalize = Normalization(torch.zeros(1), torch.ones(1), CPU)
    return HeldOutImages(pixels.view(-1, 1, 1, 1), labels, labels > 0, normalize, CPU)


def test_a_new_class_that_is_ahead_by_less_than_bfloat16_tells_apart_is_chosen():
    model = Rising(1 + 2**-9)  # the next bfloat16 after 1 is 1 + 2^-7, so both logits are equal in it
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.ones(3, 1)).argmax(1).tolist() == [0, 0, 0]
    found = measure(model, [model.head], ones_of_class_1(), 2, "bf16", CPU)
    assert (found.all, found.new) == (1.0, 1.0)
    assert measure(model, [], ones_of_class_1(), 2, "bf16", CPU).all == 0.0


def test_measuring_leaves_the_head_as_it_was():
    model = Rising(2.0)
    measure(model, [model.head], ones_of_class_1(), 2, "bf16", CPU)
    assert "forward" not in vars(model.head)
    assert model(torch.ones(1, 1)).tolist() == [[1.0, 2.0]]
    own = model.head.forward = lambda x: -nn.functional.linear(x, model.head.weight)  # as wrappers of models do
    assert measure(model, [model.head], ones_of_class_1(), 2, "bf16", CPU).all == 0.0
    assert model.head.forward is own


def test_counts_are_of_groups_of_images_and_wait_for_the_device_at_the_end_only():
    pixels = torch.tensor([1, 2, 4, 8, 0, 0], dtype=torch.uint8).view(-1, 1, 1, 1)
    labels, new = torch.tensor([1, 1, 0, 0, 0, 1]), torch.tensor([True, True, False, False, False, True])
    images = HeldOutImages(pixels, labels, new, Normalization(torch.zeros(1), torch.ones(1), CPU), CPU)
    model = Rising(2.0)  # chooses class 1, but for 0, where the first of two equal ones is chosen
    with Waits() as waits:
        found = measure(model, [model.head], images, 2, "fp32", CPU)
        by_class = measure_classes(model, [model.head], images, 2, "fp32", CPU)
    assert (found.all, found.old, found.new) == (3 / 6, 1 / 3, 2 / 3)
    assert by_class == ([1, 2], [3, 3])
    assert waits.found == []


@pytest.fixture
def seven_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 7 images, so that the last of a part is smaller."""
    monkeypatch.setattr(module, "_BATCH", {"cpu": 7})


def noise(images: int, seed: int) -> HeldOutImages:
    draws = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (images, 8, 8, 3), generator=draws, dtype=torch.uint8)
    labels = torch.randint(10, (images,), generator=draws)
    return HeldOutImages(pixels, labels, labels > 6, Normalization(torch.full((3,), 128.0), torch.ones(3), CPU), CPU)


@pytest.mark.usefixtures("seven_at_a_time")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recorded_evaluation_counts_as_one_operator_by_operator_and_waits_once(
    precision: str, monkeypatch: pytest.MonkeyPatch
):
    """Of a part with a smaller last batch, one without, and one that is smaller than a batch."""
    model, parts = build_model("resnet8-narrow", 3, 10, 0, "update", 8), [noise(17, 0), noise(14, 1), noise(4, 2)]
    heads, calls, waits = [model.head], [], []
    model.register_forward_hook(lambda *_: calls.append(1))
    recorded = Evaluation(model, heads, 10, precision, CPU, record_on_tape)
    recorded.prepare(parts)
    modes = {name: each.training for name, each in model.named_modules()}
    prepared, tolist = len(calls), torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: waits.append(1) or tolist(self))
    seen = set()
    for gain in (1.0, 1.5, -2.0):  # of weights that stay where they are in memory, as in training
        with torch.no_grad():
            for value in model.parameters():
                value.mul_(gain).add_(0.01)
        waits.clear()
        with Waits() as others:
            found = recorded(parts)
        assert (len(waits), others.found) == (1, [])
        assert len(calls) == prepared  # no Python of the model runs again
        assert found == [measure(model, heads, part, 10, precision, CPU) for part in parts]
        seen |= {each.all for each in found}
        del calls[prepared:]
    assert len(seen) > 3
    assert {name: each.training for name, each in model.named_modules()} == modes


def test_a_recorded_evaluation_has_its_head_in_float32():
    model = Rising(1 + 2**-9)
    for heads, right in (([model.head], 1.0), ([], 0.0)):
        recorded = Evaluation(model, heads, 2, "bf16", CPU, record_on_tape)
        recorded.prepare([ones_of_class_1()])
        assert recorded([ones_of_class_1()])[0].all == right


class Peeking(Rising):
    """A model that asks for a value, and so waits for the device, where it is evaluated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if self.training or x.sum() >= 0 else x


def test_an_evaluation_that_cannot_be_recorded_is_one_line_with_its_remedy():
    recorded = Evaluation(Peeking(2.0), [], 2, "fp32", CPU, record_on_tape)
    with pytest.raises(StepError, match=r"cannot be recorded as a CUDA graph .*Run it with --step eager\.$"):
        recorded.prepare([ones_of_class_1()])


@pytest.mark.parametrize(
    "device",
    [
        CPU,
        pytest.param(
            torch.device("cuda", 0),
            marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
        ),
    ],
    ids=["cpu", "cuda"],
)
def test_a_bf16_head_of_100_classes_ties_on_some_images_in_favour_of_the_lower_class_and_a_float32_head_on_none(
    device: torch.device,
):
    """On noise, on a CPU: of 1,000 images, 11 had two largest logits in bfloat16; 6 of these went to a lower class than in
    float32, none to a higher one.
    """
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (1000, 8, 8, 1), generator=draws, dtype=torch.uint8)
    labels = torch.randint(100, (1000,), generator=draws)
    images = HeldOutImages(
        pixels.to(device),
        labels,
        labels > 49,
        Normalization(torch.tensor([128.0]), torch.tensor([64.0]), device),
        device,
    )
    head = nn.Linear(64, 100)
    head.weight.data = torch.randn(100, 64, generator=draws)
    model = nn.Sequential(nn.Flatten(), head).to(device)

    def logits(heads: list[nn.Module]) -> torch.Tensor:
        with _measuring(model, heads, "bf16", device):
            return torch.cat([model(pixels) for pixels, _, _ in images.batches(1000)])

    rounded, exact = logits([]), logits([head])
    ties = (rounded == rounded.amax(1, keepdim=True)).sum(1) > 1
    lower, higher = (
        (rounded.argmax(1) < exact.argmax(1))[ties].sum(),
        (rounded.argmax(1) > exact.argmax(1))[ties].sum(),
    )
    assert ties.sum() >= 5
    assert lower > higher
    assert ((exact == exact.amax(1, keepdim=True)).sum(1) == 1).all()
