"""The ledger: the running total of what a trial has cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bench.metering.flops import FlopCount, StepFlops


@dataclass
class Ledger:
    """Totals since the start of a trial, in every currency but seconds and joules, which the clock and the meters keep.

    flops: of a whole pass. step: what a training step costs now, which is less while a part of the network is frozen.
    parameters: of the whole network; trained: of the part that is trained now.
    images: forward+backward passes of one image, extra passes included. train_flops: model passes of training and of
    the strategy; feature_flops, head_flops: the parts of it for kept features and for fitting a head. aux_flops:
    element-wise work on the parameters; regularizer_flops: the regularizer's part of it. evaluate_flops: evaluations, not
    part of any cost.
    """

    flops: FlopCount
    parameters: int
    steps: int = 0
    images: int = 0
    train_flops: int = 0
    feature_flops: int = 0
    head_flops: int = 0
    aux_flops: int = 0
    regularizer_flops: int = 0
    evaluate_flops: int = 0

    def __post_init__(self) -> None:
        self.step = StepFlops(self.flops.step, self.flops.batch)
        self.trained = self.parameters

    def charge_step(self, images: int, optimizer_passes: int, regularizer_passes: int = 0) -> None:
        """Charge one optimizer step on `images` images, and the FLOPs that optimizer and regularizer spend on every parameter."""
        self.steps += 1
        self.charge_pass(images)
        self.aux_flops += (optimizer_passes + regularizer_passes) * self.trained
        self.regularizer_flops += regularizer_passes * self.trained

    def charge_pass(self, images: int) -> None:
        """Charge a forward and backward pass."""
        self.images += images
        self.train_flops += images * self.step.image + self.step.batch

    def charge_scoring(self, images: int) -> None:
        """Charge a forward pass that the strategy requested."""
        self.train_flops += images * self.flops.forward

    def charge_features(self, flops: int) -> None:
        """Charge passes through a frozen part of the network, whose results are kept."""
        self.train_flops += flops
        self.feature_flops += flops

    def charge_head(self, flops: int) -> None:
        """Charge fitting a head: the passes that make its features, and the fit."""
        self.train_flops += flops
        self.head_flops += flops

    def charge_parameters(self, passes: int) -> None:
        """Charge `passes` FLOPs for every parameter of the network."""
        self.aux_flops += passes * self.parameters

    def charge_objective(self, flops: int, passes: int) -> None:
        """Charge an objective's hooks for a step. flops: on networks. passes: FLOPs for every trained parameter."""
        self.train_flops += flops
        self.aux_flops += passes * self.trained

    def charge_averaging(self, flops: int) -> None:
        """Charge taking the weights into their average."""
        self.aux_flops += flops

    def charge_evaluation(self, images: int) -> None:
        """Charge the forward pass of an evaluation."""
        self.evaluate_flops += images * self.flops.forward

    def state(self) -> dict[str, int]:
        """Return the totals as plain values."""
        return {key: value for key, value in asdict(self).items() if key not in ("flops", "parameters")}

    def restore(self, state: Mapping[str, int]) -> None:
        """Set the totals to those of `state`."""
        for key, value in state.items():
            setattr(self, key, value)
