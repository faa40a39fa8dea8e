"""What a training step costs when a model's leading stages are frozen."""

from __future__ import annotations

from dataclasses import dataclass

from bench.metering.flops import FlopCount, count_flops, count_pass, count_step
from bench.models.build import build_model, head_keys
from bench.models.stages import Parts, find_stages


@dataclass(frozen=True)
class StageCost:
    """A model's stage. forward: its own FLOPs for one image. modules: those it is made of.

    recomputed, kept: FLOPs of one image's training step with everything up to and including this stage frozen, its features
    computed in each step or kept; None for the head, which is always trained.
    """

    name: str
    modules: tuple[str, ...]
    forward: int
    recomputed: int | None
    kept: int | None


def stage_costs(name: str, image: tuple[int, int, int], classes: int) -> tuple[FlopCount, list[StageCost]]:
    """Count a model's stages. image: (channels, height, width). Returns the whole model's count as well.

    Raises ScenarioError for an unknown model, StrategyError for one that cannot be cut into stages, and MeterError for one whose
    FLOPs cannot be counted.
    """
    model = build_model(name, image[0], classes, 0, "stages", image[1])
    parts = Parts(model, find_stages(model, head_keys(name, image[0], classes, image[1])))
    whole = count_flops(model, image)
    found, before = [], 0
    for place, stage in enumerate(parts.stages[:-1], 1):
        if not stage.modules:
            continue
        model.eval()
        forward, features = count_pass(parts.between(0, place), image)
        model.train()
        step = count_step(parts.between(place), features)
        found.append(StageCost(stage.name, stage.modules, forward - before, step.image + forward, step.image))
        before = forward
    head = parts.stages[-1]
    return whole, [*found, StageCost(head.name, head.modules, whole.forward - before, None, None)]
