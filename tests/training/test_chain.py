from __future__ import annotations

import numpy as np
import torch

from bench.records.schema import BaseCost
from bench.training.chain import align
from bench.training.learner import Base


def cost() -> BaseCost:
    numbers = {name: 0 for name in BaseCost.model_fields if name not in ("key", "gpu_joules")}
    return BaseCost.model_validate({**numbers, "key": "k", "gpu_joules": None})


def test_learning_speeds_follow_their_images_into_another_order():
    base = Base({}, torch.tensor([0.1, 0.2, torch.nan, 0.4]), cost(), "sha")
    aligned = align(base, np.array([7, 3, 5, 9]), np.array([3, 4, 5, 7, 12]))
    expected = torch.tensor([0.2, torch.nan, torch.nan, 0.1, torch.nan])
    assert torch.allclose(aligned.learning_speed, expected, equal_nan=True)
    assert (aligned.cost, aligned.previous_sha256) == (base.cost, "sha")
