from __future__ import annotations

import numpy as np
import torch

from bench.catalog import find_scenario
from bench.records.schema import BaseCost
from bench.scenario import load_scenario
from bench.training.base import BASE
from bench.training.chain import align
from bench.training.spec import Base, TrialSpec


def cost() -> BaseCost:
    numbers = {name: 0 for name in BaseCost.model_fields if name not in ("key", "gpu_joules")}
    return BaseCost.model_validate({**numbers, "key": "k", "gpu_joules": None})


def test_learning_speeds_follow_their_images_when_reordered():
    base = Base({}, torch.tensor([0.1, 0.2, torch.nan, 0.4]), cost(), "sha")
    aligned = align(base, np.array([7, 3, 5, 9]), np.array([3, 4, 5, 7, 12]))
    expected = torch.tensor([0.2, torch.nan, torch.nan, 0.1, torch.nan])
    assert torch.allclose(aligned.learning_speed, expected, equal_nan=True)
    assert (aligned.cost, aligned.previous_sha256) == (base.cost, "sha")


def test_each_update_of_a_chain_draws_from_its_own_stream():
    scenario = load_scenario(find_scenario("digits-4-2-2-2"))
    seeds = [[TrialSpec(scenario, BASE, update, seed).stream_seed for update in range(4)] for seed in range(3)]
    for seed, drawn in enumerate(seeds):
        assert drawn[:2] == [seed, seed]  # as in a scenario of two stages
    later = [drawn for row in seeds for drawn in row[2:]]
    assert len(set(later)) == 6
