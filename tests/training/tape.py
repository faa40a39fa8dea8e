"""A recorder for the CPU: what a CUDA graph does, operator by operator, from and to the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
# On a GPU these wait for the device, because the host needs a value or a size.
WAITING = frozenset(
    {
        aten._local_scalar_dense.default,
        aten.item.default,  # in inference mode, where operators made of others are not taken apart
        aten.is_nonzero.default,
        aten.nonzero.default,
        aten.masked_select.default,
        aten._unique2.default,
        aten.unique_dim.default,
        aten.equal.default,
        aten.bincount.default,
        aten.repeat_interleave.Tensor,
    }
)


class Waits(TorchDispatchMode):
    """Counts the operators that would wait for a GPU, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITING:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITING:
            raise RuntimeError(f"{func}: operation not permitted while recording")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out


def record_on_tape(action: Callable[[], None]) -> Callable[[], None]:
    """Run an action once and return what repeats its operators. No Python of the action is run again."""
    tape = _Tape()
    with tape:
        action()

    def replay() -> None:
        with torch.no_grad():
            for func, args, kwargs, out in tape.calls:
                again = func(*args, **kwargs)
                for before, now in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if isinstance(before, Tensor) and before.data_ptr() != now.data_ptr():
                        before.copy_(now)

    return replay


def run_again(action: Callable[[], None]) -> Callable[[], None]:
    """Return the action itself: a recorder that records nothing, for comparison."""
    return action
