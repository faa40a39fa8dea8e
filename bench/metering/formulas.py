"""Corrections to PyTorch's FLOP counter: formulas for single operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]


def exact_counter() -> FlopCounterMode:
    """Return PyTorch's counter with this module's formulas in place of its own."""
    return FlopCounterMode(display=False, custom_mapping=_corrections())


class Tally(TorchDispatchMode):
    """Counts what exact_counter() counts, by the same formulas, in half of its time: without telling modules apart.

    For counting whole trainings. total: FLOPs so far, over all times that it was entered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._formulas: Mapping[Any, Callable[..., int]] = exact_counter().flop_registry
        self._whole: set[Any] = set()  # operators that are known to consist of no others

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in self._whole:
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
            self._whole.add(func)
        found = func(*args, **kwargs)
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=found)
        return found


def _corrections() -> dict[Any, Callable[..., int]]:
    """Operator -> formula, for the operators that this version of PyTorch has."""
    formulas: dict[Callable[..., int], tuple[str, ...]] = {
        convolution_backward_flops: ("convolution_backward",),
        attention_flops: ("_scaled_dot_product_flash_attention_for_cpu",),  # not counted before torch 2.7
        attention_backward_flops: (
            "_scaled_dot_product_efficient_attention_backward",
            "_scaled_dot_product_flash_attention_backward",
            "_scaled_dot_product_flash_attention_for_cpu_backward",
            "_scaled_dot_product_cudnn_attention_backward",
        ),
        matrix_vector_flops: ("mv",),
        added_matrix_vector_flops: ("addmv",),
    }
    return {
        getattr(torch.ops.aten, name): formula
        for formula, names in formulas.items()
        for name in names
        if hasattr(torch.ops.aten, name)
    }


def convolution_backward_flops(
    grad_out: Shape,
    x: Shape,
    weight: Shape,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_: Any,
) -> int:
    """Count a convolution's backward pass: as much as its forward pass for each requested gradient.

    PyTorch's formula computes the gradient of a grouped weight as if every input channel met every output channel, so it
    is `groups` times too high. A weight is (out, in / groups, *kernel); every element of it meets every pixel of the
    output (transposed: of the input) once, in the forward pass and in either gradient.
    """
    pixels = (x if transposed else grad_out)[2:]
    forward = 2 * x[0] * prod(weight) * prod(pixels)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))


def attention_flops(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Count attention's two matrix products, of (batch, heads, queries, width) with (batch, heads, keys, width)."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1])


def attention_backward_flops(_grad_out: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Count attention's backward pass as two forward passes: what its gradients need.

    Fused kernels recompute the scores, which PyTorch's formula counts (2.5 forward passes); plain attention does not.
    So the same model would cost less or more depending on the kernel that a machine happens to pick.
    """
    return 2 * attention_flops(query, key, value)


def matrix_vector_flops(matrix: Shape, _vector: Shape, *_: Any, **__: Any) -> int:
    """Count a matrix-vector product, which PyTorch's counter omits."""
    return 2 * prod(matrix)


def added_matrix_vector_flops(_added: Shape, matrix: Shape, _vector: Shape, *_: Any, **__: Any) -> int:
    """Count a matrix-vector product that is added to another vector."""
    return 2 * prod(matrix)
