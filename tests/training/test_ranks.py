from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from bench import InfoBatch, Keep, L2Init, Objective, OldTeacher, OneCycle, Strategy, TailMean
from bench.catalog import find_strategy
from bench.errors import BenchError, DataError, DeviceError, LostRankError, RanksError, StrategyError, TrialError
from bench.models import build_model
from bench.records.schema import RankFacts
from bench.scenario import Scenario
from bench.strategies.strategy import Entrant, load_strategy
from bench.torchrun import Launch
from bench.training import evaluate
from bench.training.learner import Learner
from bench.training.provenance import describe_run
from bench.training.ranks import ALONE, Measured, Ranks, World, require_shares, synchronize_norms, total, unchanged
from bench.training.spec import Base, TrialSpec
from tests.conftest import CPU, shorten
from tests.training.ranks import on_threads

SHIPPED = Entrant("optimized", replace(load_strategy(find_strategy("optimized")).strategy, horizon=0.25))
EVERYTHING = Entrant(
    "everything",
    Strategy(
        title="What a step can have",
        start=Keep(),
        schedule=OneCycle(warmup=0.2),
        regularizer=L2Init(0.01),
        averaging=TailMean(0.5),
        teacher=OldTeacher(),
    ),
)
BUILDING = threading.Lock()  # weights are drawn from the process's one generator


def synchronized(scenario: Scenario, **training: object) -> Scenario:
    found = shorten(scenario, batch_norm="synchronized", **training)
    return found.model_copy(update={"model": found.model.model_copy(update={"name": "resnet8-narrow"})})


@pytest.fixture(scope="module")
def base() -> Base:
    weights = build_model("resnet8-narrow", 1, 10, 1, "base").state_dict()
    return Base({name: value.clone() for name, value in weights.items()}, None, None)


class Trained(NamedTuple):
    loss: float
    weights: dict[str, torch.Tensor]
    ledger: dict[str, int]
    accuracies: dict[str, float | None]
    speed: torch.Tensor


def trained(scenario: Scenario, entrant: Entrant, update, base: Base, steps: int, world: World = ALONE) -> Trained:
    with BUILDING:
        learner = Learner(TrialSpec(scenario, entrant, 1, 0), update, base, CPU, compiled=False, world=world)
    world.gather(None)  # while one traces its model, no other runs
    learner.start()
    loss = learner.train(steps)
    accuracies = learner.evaluate(with_test=True)
    return Trained(loss, learner.weights(), learner.ledger.state(), accuracies, learner.learning_speed())


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of any tensor's values, relative to the largest of them."""
    return max(
        float((value.double() - other[name].double()).abs().max() / value.double().abs().max().clamp(min=1e-3))
        for name, value in one.items()
    )


# 64 images among 3 ranks are 21, 21 and 22. Of the shipped strategy's 8 steps, two are in its second phase. Its features are
# kept in float16, where a difference in the last bit of a weight may become one of 2^-11.
@pytest.mark.parametrize(
    ("size", "entrant", "steps", "apart"),
    [(3, EVERYTHING, 6, 1e-4), (2, SHIPPED, 8, 2**-11)],
    ids=["everything", "optimized"],
)
def test_ranks_learn_and_cost_what_one_device_does(
    size: int, entrant: Entrant, steps: int, apart: float, short, updates, base: Base, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(evaluate, "_BATCH", {"cpu": 50})  # several for each rank
    scenario = synchronized(short, learning_rate=0.02)
    alone = trained(scenario, entrant, updates[1], base, steps)
    ranks = on_threads(size, lambda world: trained(scenario, entrant, updates[1], base, steps, world))
    for each in ranks:
        assert distance(each.weights, alone.weights) < apart
        assert all(torch.equal(value, ranks[0].weights[name]) for name, value in each.weights.items())
        assert each.ledger == alone.ledger
        assert each.accuracies == alone.accuracies
    assert ranks[0].loss == pytest.approx(alone.loss, rel=1e-5)
    assert torch.equal(ranks[0].speed.isnan(), alone.speed.isnan())
    assert (ranks[0].speed - alone.speed).nan_to_num().abs().mean() < 0.01
    for each in ranks[1:]:  # what they found out is rank 0's now
        assert each.loss == 0
        assert each.speed.isnan().all()


def test_local_batch_norm_keeps_the_mean_of_the_ranks_statistics():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))
    ranks = [copy.deepcopy(model) for _ in range(3)]
    batch = torch.arange(20.0).view(10, 2) ** 2

    def step(world: World) -> slice:
        mine, share = ranks[world.rank], world.share(10)
        part = batch[share]
        (len(part) / 10 * mine(part).mean()).backward()
        world.add_up(SimpleNamespace(trained=mine, parameters=list(mine.parameters())), len(part) / 10, statistics=True)
        return share

    shares = on_threads(3, step)
    assert shares == [slice(0, 3), slice(3, 6), slice(6, 10)]
    mean = 0.1 * batch.mean(0)  # momentum 0.1, from zeros
    variance = 0.9 + 0.1 * sum(batch[each].var(0) * len(batch[each]) / 10 for each in shares)
    for each in ranks:
        assert torch.allclose(each[0].running_mean, mean)
        assert torch.allclose(each[0].running_var, variance)
        assert int(each[0].num_batches_tracked) == 1
        assert each[1].bias.grad.item() == pytest.approx(1)  # of the mean over all ten
        assert torch.equal(each[1].weight.grad, ranks[0][1].weight.grad)


def test_what_says_nothing_about_a_whole_batch_is_refused():
    with pytest.raises(
        StrategyError, match=r"own: selection.InfoBatch asks for each image's loss, .* Run it on one device"
    ):
        require_shares(Entrant("own", replace(EVERYTHING.strategy, selection=InfoBatch())))
    with pytest.raises(StrategyError, match=r"own: objective.Own may depend on a batch as a whole"):
        require_shares(Entrant("own", replace(EVERYTHING.strategy, objective=Own())))
    require_shares(EVERYTHING)
    require_shares(SHIPPED)


@dataclass(frozen=True)
class Own(Objective):
    pass


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return x


@pytest.mark.parametrize(
    ("module", "said"),
    [(nn.Dropout(), "draws random numbers, as dropout does"), (Counting(), "changes the buffer 1.seen")],
)
def test_a_model_whose_steps_would_differ_by_rank_is_refused(module: nn.Module, said: str):
    model = nn.Sequential(nn.BatchNorm1d(2), module)
    refused = pytest.raises(RanksError, match=rf"{said}, expected .* Run it on one device, without torchrun")
    with refused, unchanged(model, CPU):
        model(torch.ones(4, 2))
    with unchanged(model[0], CPU):
        model[0](torch.ones(4, 2))


def test_batch_norm_of_another_kind_is_not_synchronized():
    class Activated(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).relu()

    with pytest.raises(RanksError, match="synchronized, but 0 is a Activated, expected PyTorch's own"):
        synchronize_norms(nn.Sequential(Activated(2)), ALONE)


def test_meters_are_added_up_by_rank_and_by_machine():
    mine = {
        "gpu_joules": 5.0,
        "evaluate_gpu_joules": 1.0,
        "cpu_seconds": 10.0,
        "cpu_joules": 100.0,
        "other_cpu_seconds": 12.0,
    }
    mine["gpu_joules_reason"] = None
    # Two machines of two ranks. What else ran on the first, 12 s, is its second rank's 9 s and 3 s of others.
    found = [
        Measured(mine, True),
        Measured({**mine, "cpu_seconds": 9.0, "gpu_joules": 6.0, "other_cpu_seconds": 13.0}, False),
        Measured({**mine, "cpu_seconds": 8.0, "cpu_joules": 90.0, "other_cpu_seconds": 9.0}, True),
        Measured({**mine, "cpu_seconds": 7.0, "other_cpu_seconds": 10.0}, False),
    ]
    together = total(found, {**mine, "gpu_short_share": 0.5})
    assert together == {
        "gpu_joules": 21.0,
        "evaluate_gpu_joules": 4.0,
        "cpu_seconds": 34.0,
        "cpu_joules": 190.0,
        "other_cpu_seconds": 5.0,
        "gpu_joules_reason": None,
        "gpu_short_share": 0.5,
    }
    found[3] = Measured({**mine, "gpu_joules": None, "gpu_joules_reason": "no counter"}, False)
    assert total(found, mine)["gpu_joules"] is None
    assert total(found, mine)["gpu_joules_reason"] == "no counter"


def test_what_one_rank_cannot_do_none_begins():
    def ready(world: World) -> None:
        with world.agreed():
            if world.rank == 1:
                raise DataError("no images here. Copy them.")

    def said(world: World) -> str:
        with pytest.raises(BenchError) as caught:
            ready(world)
        return str(caught.value)

    assert on_threads(3, said) == [f"{where}no images here. Copy them." for where in ("rank 1: ", "", "rank 1: ")]


def test_ranks_with_other_files_or_weights_are_refused():
    def differing(world: World) -> None:
        world.require_same({"scenario": "a", "data": "b" if world.rank else "c"})

    with pytest.raises(
        RanksError, match=r"data: rank 1 has b, expected c, as rank 0 has. Give every machine the same files"
    ):
        on_threads(2, differing)

    def drifted(world: World) -> None:
        model = nn.Linear(2, 2)
        nn.init.ones_(model.weight)
        nn.init.constant_(model.bias, 1 + world.rank * 2**-20)
        world.require_same_weights(model, 7)

    with pytest.raises(TrialError, match="rank 1 has other weights than rank 0 after step 7"):
        on_threads(2, drifted)


def test_after_a_failure_within_a_step_the_others_are_told_nothing_more():
    class First(World):
        size, told = 2, ()

        def tell(self, order: object) -> None:
            self.told = (*self.told, order)

    world = First()
    with world.leading(), world.doing("train", 3):
        pass
    assert world.told == (("train", (3,)), None)
    world = First()
    with pytest.raises(ZeroDivisionError), world.leading(), world.doing("train", 3):
        raise ZeroDivisionError
    assert world.broken
    assert world.told == (("train", (3,)),)
    with pytest.raises(LostRankError, match="an earlier trial failed"), world.doing("prepare"):
        pass


_LEAVES = """
import os, time, torch
from bench.errors import LostRankError
from bench.torchrun import Launch, launch
from bench.training.ranks import Ranks

def of_gloo():
    found = []
    for each in os.listdir("/proc/self/task"):
        try:
            found.append(open(f"/proc/self/task/{each}/comm").read().strip())
        except OSError:  # it has ended
            pass
    return [name for name in found if "gloo" in name]

world = Ranks(launch() or Launch(rank=0, size=1, local_rank=0, local_size=1))
world.sum([torch.ones(3)])
if world.rank:
    os._exit(0)
assert of_gloo()
try:
    while world.size > 1:
        world.sum([torch.ones(3)])
except LostRankError as cause:
    lost = cause
finally:
    world.close()
patience = time.monotonic() + 10
while of_gloo():
    assert time.monotonic() < patience, of_gloo()
    time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed in /proc")
@pytest.mark.parametrize("size", [1, 2], ids=["at the end", "after another rank has ended"])
def test_no_thread_is_left_behind(size: int):
    """One of gloo's that still runs while the interpreter ends aborts the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "TORCHELASTIC_RUN_ID": "test"}
    started = []
    for rank in range(size):
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        mine = dict(zip(names, map(str, (rank, size, rank, size)), strict=True))
        command = [sys.executable, "-c", _LEAVES]
        started.append(
            subprocess.Popen(command, env={**os.environ, **place, **mine}, stderr=subprocess.PIPE, text=True)
        )
    said = started[0].communicate(timeout=120)[1]
    for other in started[1:]:
        other.communicate(timeout=120)
    assert started[0].returncode == 0, said


def test_why_a_rank_ended_reaches_the_others(monkeypatch: pytest.MonkeyPatch):
    one, other = Ranks.__new__(Ranks), Ranks.__new__(Ranks)
    one.rank, one._store = 1, torch.distributed.HashStore()
    other._store = one._store
    gone = RuntimeError("[/a/gloo/pair.cc:5] Connection closed by peer [10.0.0.1]. Check the logs.")

    def heard() -> str:
        with pytest.raises(LostRankError) as caught, other._heard():
            raise gone
        return str(caught.value)

    again = "The same command resumes from the last checkpoint."
    assert heard() == f"a rank has ended or does not answer (Connection closed by peer [10.0.0.1]). {again}"
    one.report(LostRankError("another one has ended."))  # which is no reason
    assert "Connection closed" in heard()
    one.report(TrialError("out of memory at batch size 64.\nLower it."))
    assert heard() == f"a rank has ended or does not answer (rank 1: out of memory at batch size 64. Lower it). {again}"


@pytest.mark.parametrize(
    ("asked", "gpus", "found"),
    [
        ("auto", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("auto", 2, "cuda:1"),
        ("cuda", 4, "cuda:1"),
        ("cuda", 0, "--device cuda: 0 CUDA devices found"),
        (
            "auto",
            1,
            "torchrun: found 2 ranks and 1 GPU on this machine, expected one for each. Give --nproc-per-node 1",
        ),
        ("cuda:1", 2, "--device cuda:1: found together with torchrun, expected auto, cpu or cuda"),
    ],
)
def test_each_rank_has_a_gpu_of_its_own(asked: str, gpus: int, found: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    world = Ranks.__new__(Ranks)
    world._launch = Launch(rank=3, size=4, local_rank=1, local_size=2)
    if found.startswith(("cpu", "cuda")):
        assert world.device(asked) == found
        return
    with pytest.raises(DeviceError) as caught:
        world.device(asked)
    assert str(caught.value).startswith(found)


def test_only_a_scenario_that_synchronizes_batch_norm_has_another_hash(short: Scenario):
    assert "batch_norm" not in short.model_dump(mode="json")["training"]
    assert synchronized(short).hash() != short.hash()


def test_seconds_of_several_ranks_are_another_machines(short: Scenario):
    one = describe_run(short, "digits", "hash", CPU, False, "eager", "test")
    facts = {"size": 2, "backend": "gloo", "batch_norm": "local", "devices": ("cpu", "cpu")}
    two = one.model_copy(update={"ranks": RankFacts(**facts)})
    three = one.model_copy(update={"ranks": RankFacts(**{**facts, "size": 3})})
    assert len({one.machine(), two.machine(), three.machine()}) == 3
