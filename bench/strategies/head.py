"""The head's rows before training: random for the new classes, or fitted to features of the starting network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.errors import StrategyError

ChargeFlops = Callable[[int], None]


@runtime_checkable
class Head(Protocol):
    """The sixth aspect. A frozen dataclass; its fields go into the strategy's hash.

    images: how many of the update's training images it is fitted to, drawn at random; 0 for none, and then `fit` is not called.
    rows: which rows of the head are replaced: those of the "new" classes, or of "all" seen so far.
    One that has `expected_flops(images, width, classes)` says what its fit will cost, which estimates then include.
    """

    @property
    def images(self) -> int: ...

    @property
    def rows(self) -> Literal["new", "all"]: ...

    def fit(
        self, features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, new: Tensor, charge: ChargeFlops
    ) -> tuple[Tensor, Tensor]:
        """Return a head's (weight, bias) for all classes; the rows that `rows` names replace the network's.

        features: float32 (images, width), of images without augmentation, from the network that the update starts from, in
        evaluation mode. labels: int64 (images,). weight: float32 (classes, width), bias: (classes,): the network's own rows.
        new: bool (classes,), those that came with this update. charge: call it with the number of FLOPs spent. On the clock.
        """
        ...


@dataclass(frozen=True)
class RandomHead:
    """Rows of new classes as a new network has them."""

    @property
    def images(self) -> int:
        return 0

    @property
    def rows(self) -> Literal["new", "all"]:
        return "new"

    def fit(
        self, features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, new: Tensor, charge: ChargeFlops
    ) -> tuple[Tensor, Tensor]:
        return weight, bias


@dataclass(frozen=True)
class ClassMeans:
    """Nearest class mean as a linear layer: w_c = m_c, b_c = -|m_c|^2 / 2, with m_c the mean feature of class c.

    Equal to the squared distance to each mean up to a term that all classes share (Mensink et al. 2013, TPAMI 35:11).
    A class without an image keeps its row.
    """

    images: int = 30_000
    rows: Literal["new", "all"] = "all"

    def __post_init__(self) -> None:
        _check("ClassMeans", self.images, self.rows)

    def fit(
        self, features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, new: Tensor, charge: ChargeFlops
    ) -> tuple[Tensor, Tensor]:
        counts = torch.bincount(labels, minlength=len(weight))
        sums = torch.zeros_like(weight).index_add_(0, labels, features)
        means = sums / counts.clamp(min=1)[:, None]
        images, width = features.shape
        charge(self.expected_flops(images, width, len(weight)))
        there = counts > 0
        return torch.where(there[:, None], means, weight), torch.where(there, -means.square().sum(1) / 2, bias)

    def expected_flops(self, images: int, width: int, classes: int) -> int:
        """Return the FLOPs of a fit: the sums; division, squares and their sum."""
        return images * width + 3 * classes * width


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on one-hot targets: minimizes the mean of |W x + b - onehot(y)|^2, plus strength * |W|^2.

    Features are centered, so that b is not penalized. Source: Hoerl & Kennard 1970.
    """

    strength: float = 0.01
    images: int = 30_000
    rows: Literal["new", "all"] = "all"

    def __post_init__(self) -> None:
        _check("Ridge", self.images, self.rows)
        if not self.strength > 0:
            raise StrategyError(f"Ridge: strength {self.strength}, expected above 0. Change it.")

    def fit(
        self, features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, new: Tensor, charge: ChargeFlops
    ) -> tuple[Tensor, Tensor]:
        (images, width), classes = features.shape, len(weight)
        mean = features.mean(0)
        centered = features - mean
        targets = F.one_hot(labels, classes).float()
        gram = centered.T @ centered / images + self.strength * torch.eye(width, device=features.device)
        moments = centered.T @ (targets - targets.mean(0)) / images
        found = torch.linalg.solve(gram, moments).T
        charge(self.expected_flops(images, width, classes))
        return found, targets.mean(0) - found @ mean

    def expected_flops(self, images: int, width: int, classes: int) -> int:
        """Return the FLOPs of a fit: two products over the images, and LU's 2/3 width^3 and 2 width^2 for each class."""
        return 2 * images * width * (width + classes) + 2 * width**3 // 3 + 2 * width**2 * classes


@dataclass(frozen=True)
class Logistic:
    """Multinomial logistic regression: minimizes the mean cross-entropy, plus strength / 2 * |W|^2, by L-BFGS.

    It starts from the network's own rows for the old classes and zeros for the new ones. With rows "new", the old rows are part
    of the model, but are not changed. Features are scaled by one number, the root of their mean square, so that strength means
    the same in every network. iterations: of L-BFGS, at most. Source of L-BFGS: Liu & Nocedal 1989; PyTorch's, strong Wolfe.
    """

    strength: float = 1e-4
    iterations: int = 100
    images: int = 30_000
    rows: Literal["new", "all"] = "all"

    def __post_init__(self) -> None:
        _check("Logistic", self.images, self.rows)
        if not self.strength >= 0 or self.iterations < 1:
            raise StrategyError(
                f"Logistic: strength {self.strength}, iterations {self.iterations}, expected at least 0 and 1. Change them."
            )

    def fit(
        self, features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, new: Tensor, charge: ChargeFlops
    ) -> tuple[Tensor, Tensor]:
        scale = features.square().mean().sqrt().clamp(min=1e-12)
        scaled = features / scale
        first = torch.where(new[:, None], torch.zeros_like(weight), weight * scale)
        offset = torch.where(new, torch.zeros_like(bias), bias)
        moving = (new if self.rows == "new" else torch.ones_like(new)).float()
        step, shift = torch.zeros_like(first, requires_grad=True), torch.zeros_like(offset, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [step, shift], max_iter=self.iterations, history_size=10, line_search_fn="strong_wolfe"
        )
        calls = 0

        def loss() -> Tensor:
            nonlocal calls
            calls += 1
            optimizer.zero_grad()
            matrix = first + moving[:, None] * step
            value = F.cross_entropy(F.linear(scaled, matrix, offset + moving * shift), labels)
            value = value + self.strength / 2 * matrix.square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            optimizer.step(loss)
        images, width = features.shape
        charge(calls * _logistic_flops(images, width, len(weight)))
        with torch.no_grad():
            return (first + moving[:, None] * step) / scale, offset + moving * shift

    def expected_flops(self, images: int, width: int, classes: int) -> int:
        """Return the FLOPs of a fit that takes all of its iterations: PyTorch's L-BFGS then asks 5/4 times for the loss."""
        return self.iterations * 5 // 4 * _logistic_flops(images, width, classes)


def _logistic_flops(images: int, width: int, classes: int) -> int:
    """Return the FLOPs of the loss and its gradient, once: the logits, and the gradient of the matrix."""
    return 4 * images * width * classes


def _check(piece: str, images: int, rows: str) -> None:
    if images < 1:
        raise StrategyError(f"{piece}: images {images}, expected 1 or more. Change it.")
    if rows not in ("new", "all"):
        raise StrategyError(f"{piece}: rows {rows!r}, expected 'new' or 'all'. Change it.")
