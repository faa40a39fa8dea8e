"""Counting a model's floating-point operations: analytic, exact, and without touching the model."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.errors import MeterError

_AGREEMENT = 0.01
_BY_ELEMENT = ("batch_norm", "group_norm", "layer_norm", "instance_norm", "adaptive_avg_pool2d")


@dataclass(frozen=True)
class FlopCount:
    """What one image costs, a multiply-add being 2.

    forward: one forward pass. step: forward and backward, with no gradient of the image itself.
    forward_fvcore: fvcore's forward count, doubled, with normalization and pooling set to zero.
    """

    forward: int
    step: int
    forward_fvcore: int


def count_flops(model: nn.Module, image_shape: tuple[int, int, int]) -> FlopCount:
    """Count one image's forward and training step on copies of `model`; it and the random state stay as they were.

    image_shape: (channels, height, width).
    Raises MeterError where PyTorch's and fvcore's forward counts differ by more than 1 %.
    Source: ResNet-18 with a CIFAR stem is 555,422,720 multiply-adds forward; tests/metering/test_flops.py.
    """
    ghost = copy.deepcopy(model).to("meta")
    # Two images, since batch normalization refuses to train on a single value per channel.
    images = torch.empty(2, *image_shape, device="meta")
    ghost.eval()
    with torch.no_grad():
        forward = _count(lambda: ghost(images))
    ghost.train()
    step = _count(lambda: ghost(images).sum().backward())
    other = 2 * _count_fvcore(model, image_shape)
    if abs(other - forward) > _AGREEMENT * max(forward, 1):
        raise MeterError(
            f"{type(model).__name__}: forward FLOPs differ: PyTorch counts {forward:,}, fvcore {other:,}, expected within "
            f"{_AGREEMENT:.0%}. A layer goes uncounted in one of them; do not trust either."
        )
    return FlopCount(forward, step, other)


def _count(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    total = counter.get_total_flops()
    if total % 2:
        raise MeterError(f"an odd count of FLOPs for two images: {total}. The counter is not linear in the batch.")
    return total // 2


def _count_fvcore(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Count one image's forward multiply-adds by fvcore, on a CPU copy."""
    with warnings.catch_warnings(), _quiet("fvcore"):
        warnings.simplefilter("ignore")  # fvcore builds on torch.jit, which newer versions call deprecated
        from fvcore.nn import FlopCountAnalysis

        shadow = copy.deepcopy(model).to("cpu").float().eval()
        analysis = FlopCountAnalysis(shadow, torch.zeros(1, *image_shape))
        # fvcore counts these by element; a handle is needed, for None leaves its own one in place.
        for name in _BY_ELEMENT:
            analysis.set_op_handle(f"aten::{name}", _free)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return int(analysis.total())


def _free(inputs: list[Any], outputs: list[Any]) -> int:
    return 0


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    level = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(level)
