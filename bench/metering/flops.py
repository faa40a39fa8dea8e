"""Counting a model's floating-point operations: analytic, exact, and without changing the model."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from bench.errors import MeterError
from bench.metering.formulas import exact_counter

_AGREEMENT = 0.01
# Layers that look weights up or scale by them, without a matrix product.
_WITHOUT_PRODUCTS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
# fvcore counts these per element, but they are not multiply-adds.
_FREE_IN_FVCORE = (
    "batch_norm",
    "group_norm",
    "layer_norm",
    "instance_norm",
    "adaptive_avg_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "grid_sampler",
)


@dataclass(frozen=True)
class FlopCount:
    """What one image costs; a multiply-add counts as 2.

    forward: one forward pass, as in evaluation. step: forward and backward pass as in training, without the gradient of the
    image itself, and for frozen parts only what is actually computed.
    forward_fvcore: fvcore's forward count, doubled, with normalization, pooling and resizing set to zero.
    batch: what each forward and backward pass costs in addition, whatever the batch size (Swin V2 computes its position
    biases once per batch); 0 for most models. forward and forward_fvcore include its forward part, for a batch of one.
    """

    forward: int
    step: int
    forward_fvcore: int
    batch: int = 0


@dataclass(frozen=True)
class StepFlops:
    """What one image costs in a training step of a part of a model, forward and backward; batch: see FlopCount."""

    image: int
    batch: int = 0


@dataclass(frozen=True)
class LayerFlops:
    """One module's own forward FLOPs for one image, without its children's. name: "" for the model itself."""

    name: str
    kind: str
    forward: int
    forward_fvcore: int


def count_flops(model: nn.Module, image_shape: tuple[int, int, int]) -> FlopCount:
    """Count one image's forward pass and training step.

    Runs on copies, PyTorch's counter on the meta device and fvcore, which traces, on the CPU: weights, buffers, random state and
    compiled graphs stay unchanged.
    image_shape: (channels, height, width).
    Raises MeterError, naming the layer, for one with weights whose FLOPs cannot be counted, and if PyTorch's and fvcore's
    forward counts differ by more than 1 %.
    Source: ResNet-18 with a CIFAR stem is 555,422,720 multiply-adds forward; tests/metering/test_flops.py.
    """
    count, _ = _count_all(model, image_shape)
    return count


def count_layers(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[FlopCount, list[LayerFlops]]:
    """Count as count_flops does, and also return every module with FLOPs of its own, in the model's order."""
    count, (torch_by_name, fvcore_by_name) = _count_all(model, image_shape)
    kinds = {name: type(module).__name__ for name, module in _plain(model).named_modules()}
    layers = [
        LayerFlops(name, kind, torch_by_name.get(name, 0), fvcore_by_name.get(name, 0)) for name, kind in kinds.items()
    ]
    return count, [layer for layer in layers if layer.forward or layer.forward_fvcore]


def count_step(part: nn.Module, shape: Sequence[int]) -> StepFlops:
    """Count a training step of a part of a model: forward and backward, without the gradient of what enters it.

    shape: of one image's features, without the batch. Runs on a copy on the meta device, in training mode.
    """
    with _without_fast_path(), torch.random.fork_rng(devices=[]):
        pair, double = (_count_step(_ghost(part), images, shape) for images in (2, 4))
    image = (double - pair) // 2
    return StepFlops(image, pair - 2 * image)


def count_pass(part: nn.Module, shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Count a forward pass of a part of a model, for one image. Returns the FLOPs, and the shape of what it returns.

    shape: of one image or its features, without the batch. Runs on a copy on the meta device, in evaluation mode.
    """
    ghost = _ghost(part).eval()
    with _without_fast_path(), torch.no_grad(), exact_counter() as counter:
        found = ghost(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops(), tuple(found.shape[1:])


def _ghost(part: nn.Module) -> nn.Module:
    return copy.deepcopy(_plain(part)).to("meta")


_ByName = dict[str, int]


def _count_all(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[FlopCount, tuple[_ByName, _ByName]]:
    ghost = _ghost(model)
    if not any(parameter.requires_grad for parameter in ghost.parameters()):
        raise MeterError(f"{type(ghost).__name__}: no parameter is trained, so a step has no cost. Unfreeze some.")
    with _without_fast_path(), torch.random.fork_rng(devices=[]):
        by_name = _count_forward(ghost, image_shape)
        # Not one image: batch normalization refuses to train on a single value per channel.
        pair, double = (_count_step(ghost, images, image_shape) for images in (2, 4))
        fvcore_by_name = _count_fvcore(_on_cpu(_plain(model)), image_shape)
    forward, step = sum(by_name.values()), (double - pair) // 2
    other = sum(fvcore_by_name.values())
    if abs(other - forward) > _AGREEMENT * max(forward, 1):
        raise MeterError(
            f"{type(_plain(model)).__name__}: forward FLOPs differ: PyTorch counts {forward:,}, fvcore {other:,}, expected "
            f"within {_AGREEMENT:.0%}. {_widest_gap(by_name, fvcore_by_name)} Trust neither; report this together with the model."
        )
    return FlopCount(forward, step, other, pair - 2 * step), (by_name, fvcore_by_name)


def _plain(model: nn.Module) -> nn.Module:
    """Return the module that torch.compile wraps, or the model itself."""
    return getattr(model, "_orig_mod", model)


def _count_forward(ghost: nn.Module, image_shape: tuple[int, int, int]) -> _ByName:
    """Count one image's evaluation pass by module, without the children's FLOPs."""
    ghost.eval()
    own: dict[nn.Module, int] = {}
    entered: list[tuple[int, int]] = []  # total on entry, and the children's FLOPs since
    handles = []
    with exact_counter() as counter, torch.no_grad():

        def enter(module: nn.Module, arguments: Any) -> None:
            entered.append((counter.get_total_flops(), 0))

        def leave(module: nn.Module, arguments: Any, output: Any) -> None:
            before, children = entered.pop()
            inside = counter.get_total_flops() - before
            own[module] = own.get(module, 0) + inside - children
            if entered:
                outer, siblings = entered[-1]
                entered[-1] = (outer, siblings + inside)

        for module in ghost.modules():
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        ghost(torch.empty(1, *image_shape, device="meta"))
    for handle in handles:
        handle.remove()
    names = {module: name for name, module in ghost.named_modules()}
    for module, flops in own.items():
        _refuse_uncounted(type(ghost).__name__, names[module], module, flops)
    return {names[module]: flops for module, flops in own.items() if flops}


def _refuse_uncounted(model: str, name: str, module: nn.Module, flops: int) -> None:
    """Raise MeterError for a layer whose FLOPs are not counted, or only on some devices."""
    kind = type(module).__name__
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        raise MeterError(
            f"{model}: layer {name or '(the model)'} ({kind}) is recurrent: its FLOPs are not counted on every device. "
            "Choose a model without recurrent layers."
        )
    silent = not flops and not isinstance(module, _WITHOUT_PRODUCTS) and not any(True for _ in module.children())
    if silent and any(
        parameter.dim() > 1 and parameter.numel() > max(parameter.shape) for parameter in module.parameters()
    ):
        raise MeterError(
            f"{model}: layer {name or '(the model)'} ({kind}) has weights, but its FLOPs are not counted: it uses an operator "
            "that PyTorch's counter does not know. Choose another model, or add a formula for the operator."
        )


def _count_step(ghost: nn.Module, images: int, image_shape: Sequence[int]) -> int:
    """Count a batch's forward and backward pass."""
    ghost.train()
    with exact_counter() as counter:
        _sum(ghost(torch.empty(images, *image_shape, device="meta"))).backward()
    return counter.get_total_flops()


def _sum(output: Any) -> Tensor:
    """Sum everything that a model returns, including auxiliary heads."""
    return sum(
        (leaf.sum() for leaf in tree_leaves(output) if isinstance(leaf, Tensor)), start=torch.zeros((), device="meta")
    )


def _on_cpu(model: nn.Module) -> nn.Module:
    """Return a float32 copy on the CPU, in evaluation mode; for a model on the meta device, with zeros for weights."""
    shadow = copy.deepcopy(model).eval()
    if not any(tensor.is_meta for tensor in shadow.state_dict().values()):
        return shadow.to("cpu").float()
    shadow.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in shadow.state_dict().values():
            tensor.zero_()
    return shadow


def _count_fvcore(shadow: nn.Module, image_shape: tuple[int, int, int]) -> _ByName:
    """Count one image's forward FLOPs with fvcore, by module, without the children's FLOPs."""
    with warnings.catch_warnings(), _quiet("fvcore"):
        warnings.simplefilter("ignore")  # fvcore builds on torch.jit, which is deprecated in newer versions
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(shadow, torch.zeros(1, *image_shape))
        # An explicit handle is needed: None leaves fvcore's own in place.
        for name in _FREE_IN_FVCORE:
            analysis.set_op_handle(f"aten::{name}", _free)
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        inclusive = analysis.by_module()
    names = {name for name, _ in shadow.named_modules()}
    own = {name: inclusive[name] for name in names}
    for name in names - {""}:
        own[name.rpartition(".")[0]] -= inclusive[name]
    return {name: 2 * int(count) for name, count in own.items() if count}


def _free(inputs: list[Any], outputs: list[Any]) -> int:
    return 0


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Count the multiply-adds of attention's two matrix products, an operator that fvcore does not know."""
    query, key, value = (list(tensor.type().sizes()) for tensor in inputs[:3])
    return prod(query) * key[-2] + prod(query[:-1]) * key[-2] * value[-1]


def _widest_gap(by_name: _ByName, fvcore_by_name: _ByName) -> str:
    """Say at which module the two counters are furthest apart."""
    name = max({*by_name, *fvcore_by_name}, key=lambda each: abs(by_name.get(each, 0) - fvcore_by_name.get(each, 0)))
    return (
        f"Furthest apart at {name or 'the model itself'}: {by_name.get(name, 0):,} and {fvcore_by_name.get(name, 0):,}."
    )


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Keep transformers off their fused evaluation path, which no counter sees."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    level = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(level)
