from __future__ import annotations

import numpy as np
import torch

from bench.streams import borrowed_generator, numpy_stream, stream_seed, torch_stream


def test_a_stream_seed_is_the_head_of_a_sha256():
    # printf "3/batch order/7" | sha256sum gives these first 16 hex digits; one bit is dropped to fit a signed integer.
    assert stream_seed(3, "batch order", 7) == 0x78D6D1F1181B74D3 >> 1


def test_streams_of_other_names_or_seeds_differ():
    draws = {
        tuple(torch.randint(1000, (4,), generator=torch_stream(seed, name)).tolist())
        for seed in (0, 1)
        for name in ("initialization", "batch order", "strategy")
    }
    assert len(draws) == 6


def test_drawing_from_streams_leaves_the_global_generators_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch.rand(3, generator=torch_stream(0, "a"))
    numpy_stream(0, "a").random(3)
    with borrowed_generator(0, "b"):
        torch.rand(100)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_borrowed_draws_depend_on_the_stream_alone():
    drawn = []
    for _ in range(2):
        torch.rand(1)
        with borrowed_generator(5, "c"):
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
