"""What a run on several ranks may not do, what its ranks must agree in, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench.errors import DeviceError, RanksError, ScenarioError
from bench.records.schema import RankFacts
from bench.scenario import Scenario
from bench.strategies.strategy import Entrant
from bench.torchrun import launch
from bench.training.ranks import World, require_shares
from bench.training.step import StepPart, StepWay


def require_alone(world: World) -> None:
    """Raise RanksError where torchrun started several processes, and each would train by itself."""
    found = launch()
    if found is not None and world.size == 1:
        raise RanksError(
            f"torchrun: found {found.size} ranks, expected one, as only the command bench run trains on several. "
            "Use it, or one."
        )


def way_on_ranks(way: StepWay, scenario: Scenario, entrants: Sequence[Entrant], size: int) -> StepWay:
    """Return how steps are taken on so many ranks. Raises a BenchError for what is not done on several."""
    if way.name != "eager" and not way.automatic:
        raise DeviceError(f"--step {way.name}: found together with torchrun, expected eager. Choose it, or auto.")
    parts: tuple[tuple[StepPart, bool], ...] = (("graph", way.mode == "graph"), ("compiled", way.compiled))
    for part, has in parts:
        way = way.without(part, "not tried on several ranks") if has else way
    if scenario.training.batch_size < size:
        raise ScenarioError(
            f"{scenario.name}: training.batch_size: found {scenario.training.batch_size} for {size} ranks, expected an image for "
            "each at least. Use fewer ranks."
        )
    for entrant in entrants:
        require_shares(entrant)
    return way


def require_same(
    world: World, scenario: Scenario, entrants: Sequence[Entrant], data_hash: str, device: torch.device
) -> None:
    """Raise RanksError unless all ranks would train the same."""
    hashes = {f"strategy {each.name}": each.hash() for each in entrants}
    world.require_same(
        {
            "scenario": scenario.hash(),
            "data": data_hash,
            **hashes,
            "kind of device": device.type,
            "PyTorch": torch.__version__,
        }
    )


def rank_facts(world: World, scenario: Scenario, devices: tuple[str, ...]) -> RankFacts | None:
    """Return what a record holds of several ranks, None of one. devices: of each."""
    if world.size == 1:
        return None
    assert world.backend is not None
    how = scenario.training.batch_norm
    return RankFacts(size=world.size, backend=world.backend, batch_norm=how, devices=devices)
