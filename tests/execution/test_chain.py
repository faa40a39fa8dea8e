from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from bench import Keep, LearningSpeed, OneCycle, ShrinkAndPerturb, Strategy
from bench.catalog import find_scenario, shipped_folder
from bench.errors import RecordError, TrialError
from bench.execution.local import LocalRun
from bench.records.schema import TrialRecord
from bench.records.store import find_trials, read_evals, read_trial, sealed, trial_folder
from bench.scenario import Scenario, load_scenario, parse_scenario
from bench.strategies.strategy import Entrant, load_strategy
from bench.training.chain import ChainStore
from bench.training.spec import TrialSpec
from tests.conftest import shorten

SCRATCH, NAIVE = (load_strategy(shipped_folder("baselines") / f"{name}.py") for name in ("scratch", "naive"))
SPEEDY = Entrant(
    "speedy",
    Strategy(
        title="Speedy",
        start=ShrinkAndPerturb(0.8, 0.1),
        selection=LearningSpeed(drop_fastest=0.2, drop_slowest=0.1),
        schedule=OneCycle(warmup=0.2),
        horizon=0.5,
    ),
)


class Killed(BaseException):
    """Stands in for a signal: nothing may catch it."""


class Log:
    """A listener that remembers what began, and may end the process after the first evaluation of one trial."""

    def __init__(self, kill_in: str | None = None) -> None:
        self.began_: list[tuple[str, int]] = []
        self.total_steps = 0
        self._kill_in = kill_in

    def planned(self, asked, due, total_steps) -> None:
        self.total_steps = total_steps

    def began(self, label, total_steps, done_steps) -> None:
        self.began_.append((label, done_steps))

    def evaluated(self, label, row, total_steps) -> None:
        if label == self._kill_in:
            raise Killed

    def ended(self, label, record) -> None:
        pass


@pytest.fixture(scope="module")
def chain() -> Scenario:
    """digits-4-2-2-2 in one epoch."""
    return shorten(load_scenario(find_scenario("digits-4-2-2-2")), points=2, epochs=1)


Make = Callable[..., LocalRun]


@pytest.fixture
def make(chain: Scenario, tmp_path: Path) -> Make:
    def build(entrants=(NAIVE,), scenario=chain, place: str = "here", fresh: bool = False) -> LocalRun:
        folders = {"data_root": tmp_path, "results": tmp_path / place / "results", "cache": tmp_path / place / "cache"}
        return LocalRun(scenario, entrants, (0,), device="cpu", **folders, fresh=fresh)

    return build


def begun(run: LocalRun) -> list[str]:
    log = Log()
    run.run(log)
    return [label for label, _ in log.began_]


def record_of(folder: Path, entrant: Entrant, update: int) -> TrialRecord:
    record = read_trial(trial_folder(folder / "results", "short", entrant.name, entrant.strategy.horizon, 0, update))
    assert record is not None
    return record


def model_of(folder: Path, chain: Scenario, entrant: Entrant, update: int) -> dict:
    (bases,) = (folder / "cache" / "bases").iterdir()
    found = ChainStore(folder / "cache", bases.name).load(TrialSpec(chain, entrant, update, 0))
    assert found is not None
    return found[0].weights


@dataclass(frozen=True)
class Until:
    """Learns in trials of at most `limit` steps, and leaves the weights as they are in longer ones."""

    limit: int

    def factors(self, steps: int) -> list[float]:
        return [1.0 if steps <= self.limit else 0.0] * steps


def test_updates_run_in_order_and_asking_twice_runs_once(make: Make, tmp_path: Path):
    both = (SCRATCH, NAIVE)
    expected = ["scratch update 1 seed 0", "base seed 0", "naive update 1 seed 0"]
    expected += ["scratch update 2 seed 0", "naive update 2 seed 0", "scratch update 3 seed 0", "naive update 3 seed 0"]
    assert begun(make(both)) == expected
    assert begun(make(both)) == []
    assert len(list(find_trials(tmp_path / "here" / "results"))) == 6


def test_the_planned_steps_are_those_of_all_updates_and_the_base(make: Make, tmp_path: Path):
    run, log = make((SCRATCH, NAIVE)), Log()
    run.run(log)
    steps = [record.summary.steps for _, record in find_trials(tmp_path / "here" / "results")]
    assert log.total_steps == sum(steps) + record_of(tmp_path / "here", NAIVE, 1).base.steps
    assert steps[:3] == sorted(steps[:3])  # an update has all earlier images, too


def test_an_update_starts_from_the_strategys_own_previous_model(make: Make, chain: Scenario, tmp_path: Path):
    steps = make().budget(1)
    learner = Entrant("learner", Strategy("Learner", Keep(), Until(steps)))
    begun(make((learner,)))
    first, second = (model_of(tmp_path / "here", chain, learner, update) for update in (1, 2))
    (base_folder,) = (tmp_path / "here" / "cache" / "bases").glob("*/seed-0")
    base = torch.load(base_folder / "base.pt", weights_only=True)["weights"]
    weights = [key for key in base if key.endswith("weight") and "bn" not in key]
    assert all(torch.equal(first[key], second[key]) for key in weights)  # update 2 learned nothing
    assert not any(torch.equal(first[key], base[key]) for key in weights)
    records = [record_of(tmp_path / "here", learner, update) for update in (1, 2, 3)]
    assert records[0].previous_sha256 is None
    for before, after in pairwise(records):
        assert after.previous_sha256 == before.summary.weights_sha256
        assert after.base == records[0].base


def test_scratch_starts_over_at_every_update(make: Make, tmp_path: Path):
    still = Entrant("scratch", Strategy("Still", SCRATCH.strategy.start, Until(0)))
    begun(make((still,)))
    records = [record_of(tmp_path / "here", still, update) for update in (1, 2, 3)]
    assert [record.base for record in records] == [None] * 3
    assert len({record.summary.weights_sha256 for record in records}) == 3
    assert not (tmp_path / "here" / "cache" / "updates").exists()


@dataclass(frozen=True)
class Looks:
    """Chooses every image, and remembers what it was told."""

    seen: ClassVar[dict] = {}
    needs_speed: ClassVar[bool] = True

    def choose(self, pool, epoch, stream):
        self.seen[len(pool)] = pool
        return torch.arange(len(pool))


def test_learning_speeds_are_those_of_the_previous_update(make: Make, chain: Scenario):
    Looks.seen.clear()
    looks = Entrant("looks", Strategy("Looks", Keep(), OneCycle(0.2), selection=Looks()))
    begun(make((looks,), scenario=shorten(chain, points=2)))  # in two epochs: in the first, nothing was right before
    pools = [Looks.seen[size] for size in sorted(Looks.seen)]
    assert len(pools) == 3
    for before, pool in zip([None, *pools], pools, strict=False):
        assert pool.learning_speed[pool.new].isnan().all()
        known = ~pool.learning_speed.isnan()
        assert known[~pool.new].float().mean() > 0.9  # except what a dropped last batch left out
        if before is not None:  # images that were new before have a speed now
            assert torch.equal(pool.labels[: len(before)], before.labels)
            assert known[: len(before)][before.new].float().mean() > 0.9


@pytest.mark.parametrize("entrant", [NAIVE, SPEEDY], ids=lambda entrant: entrant.name)
def test_an_interrupted_chain_resumes_bit_identically(make: Make, entrant: Entrant, tmp_path: Path):
    begun(make((entrant,), place="whole"))
    with pytest.raises(Killed):
        make((entrant,), place="cut").run(Log(kill_in=f"{entrant.name} update 2 seed 0"))
    log = Log()
    make((entrant,), place="cut").run(log)
    (label, done), (last, _) = log.began_
    assert (label, last) == (f"{entrant.name} update 2 seed 0", f"{entrant.name} update 3 seed 0")
    assert done > 0
    for update in (1, 2, 3):
        whole, cut = (record_of(tmp_path / place, entrant, update) for place in ("whole", "cut"))
        assert cut.summary.weights_sha256 == whole.summary.weights_sha256
        assert cut.summary.validation_accuracy == whole.summary.validation_accuracy


def test_killed_between_the_model_and_the_record_nothing_is_lost(make: Make, tmp_path: Path, monkeypatch):
    keep = ChainStore.keep

    def keep_and_die(self, *content) -> None:
        keep(self, *content)
        raise Killed

    monkeypatch.setattr(ChainStore, "keep", keep_and_die)
    with pytest.raises(Killed):
        make().run(Log())
    assert record_of(tmp_path / "here", NAIVE, 1).status == "running"
    monkeypatch.setattr(ChainStore, "keep", keep)
    assert begun(make()) == [f"naive update {update} seed 0" for update in (1, 2, 3)]
    begun(make(place="whole"))
    for update in (1, 2, 3):
        whole, cut = (record_of(tmp_path / place, NAIVE, update) for place in ("whole", "here"))
        assert cut.summary.weights_sha256 == whole.summary.weights_sha256


def test_models_that_are_missing_are_made_again_without_a_flag(make: Make, tmp_path: Path, caplog):
    with pytest.raises(Killed):
        make().run(Log(kill_in="naive update 3 seed 0"))
    before = [record_of(tmp_path / "here", NAIVE, update) for update in (1, 2)]
    for model in (tmp_path / "here" / "cache" / "updates").rglob("*.pt"):
        model.unlink()
    log = Log()
    make().run(log)
    assert [label for label, _ in log.began_] == [f"naive update {update} seed 0" for update in (1, 2, 3)]
    assert log.began_[2][1] > 0  # update 3 goes on
    for update, record in enumerate(before, 1):
        assert record_of(tmp_path / "here", NAIVE, update).summary.weights_sha256 == record.summary.weights_sha256
        said = f"update-{update}: finished, but the model that update {update + 1} starts from is missing"
        assert said in caplog.text


def test_a_damaged_model_that_is_needed_is_made_again_without_a_flag(make: Make, tmp_path: Path):
    with pytest.raises(Killed):
        make().run(Log(kill_in="naive update 2 seed 0"))
    before = record_of(tmp_path / "here", NAIVE, 1)
    (model,) = (tmp_path / "here" / "cache" / "updates").rglob("update-1.pt")
    model.write_bytes(model.read_bytes()[:1000])
    log = Log()
    make().run(log)
    assert [label for label, _ in log.began_] == [f"naive update {update} seed 0" for update in (1, 2, 3)]
    assert log.began_[1][1] > 0  # what had been trained of update 2 fits the same weights, and goes on
    assert record_of(tmp_path / "here", NAIVE, 1).summary.weights_sha256 == before.summary.weights_sha256
    model.write_bytes(b"")
    assert begun(make()) == []  # nobody needs it any more


def test_updates_of_different_runs_are_not_taken_for_one_chain(make: Make, tmp_path: Path):
    begun(make())
    record = record_of(tmp_path / "here", NAIVE, 1)
    summary = record.summary.model_copy(update={"weights_sha256": "0" * 64})
    folder = trial_folder(tmp_path / "here" / "results", "short", "naive", 1.0, 0, 1)
    (folder / "trial.json").write_text(sealed(record.model_copy(update={"summary": summary})).model_dump_json())
    with pytest.raises(RecordError, match=r"update-2: started from weights .*, but update 1 next to it left"):
        make()


def test_chains_of_one_strategy_at_two_horizons_are_separate(make: Make):
    both = (NAIVE.at(0.5), NAIVE.at(0.25))
    assert len(begun(make(both))) == 1 + 2 * 3
    assert begun(make(both)) == []  # on the second look, neither is taken for the other's next update


def test_a_model_of_another_run_in_the_cache_is_not_started_from(make: Make, tmp_path: Path):
    for place, entrant in (("here", NAIVE), ("there", Entrant("naive", Strategy("Still", Keep(), Until(0))))):
        with pytest.raises(Killed):
            make((entrant,), place=place).run(Log(kill_in="naive update 2 seed 0"))
    (mine,), (other,) = ((tmp_path / place / "cache" / "updates").rglob("update-1.pt") for place in ("here", "there"))
    mine.write_bytes(other.read_bytes())
    before = record_of(tmp_path / "here", NAIVE, 1)
    assert begun(make()) == [f"naive update {update} seed 0" for update in (1, 2, 3)]
    assert record_of(tmp_path / "here", NAIVE, 1).summary.weights_sha256 == before.summary.weights_sha256


@dataclass(frozen=True)
class Breaks:
    """A regularizer that fails."""

    passes: ClassVar[int] = 0
    anchor: ClassVar[None] = None

    def apply(self, parameters, anchors) -> None:
        raise RuntimeError("no good")


def test_after_a_failure_the_rest_of_its_chain_is_not_run_and_others_are(make: Make):
    broken = Entrant("broken", Strategy("Broken", Keep(), OneCycle(0.2), regularizer=Breaks()))
    log = Log()
    with pytest.raises(
        TrialError, match=r"3 of 6 trials failed: .*broken update 2 seed 0 \(TrialError: not run: update 1 left"
    ):
        make((broken, SCRATCH)).run(log)
    assert [label for label, _ in log.began_ if "scratch" in label] == [f"scratch update {k} seed 0" for k in (1, 2, 3)]


def test_with_restricted_memory_scratch_has_everything_and_the_others_their_share(
    make: Make, chain: Scenario, tmp_path: Path
):
    content = chain.model_dump(mode="json")
    content["stages"] = [{"classes": 7}, {"classes": 3, "old_share": 0.25}]
    Looks.seen.clear()
    looks = Entrant("looks", Strategy("Looks", Keep(), OneCycle(0.2), selection=Looks()))
    begun(make((SCRATCH, NAIVE, looks), scenario=parse_scenario(content, "test")))
    scratch, naive, told = (
        read_trial(trial_folder(tmp_path / "here" / "results", "short", name, 1.0, 0))
        for name in ("scratch", "naive", "looks")
    )
    assert scratch.old_share == 1.0
    assert naive.old_share == told.old_share == pytest.approx(0.25, abs=0.01)
    assert scratch.total_steps == naive.total_steps  # the same budget, on the same grid
    (pool,) = Looks.seen.values()
    assert (~pool.new).sum() == pytest.approx(0.25 * 761, abs=4)  # rounded class by class
    assert (~pool.learning_speed[~pool.new].isnan()).float().mean() > 0.9


def test_more_of_the_same_has_one_accuracy_and_a_full_head_from_the_start(make: Make, chain: Scenario, tmp_path: Path):
    content = {**chain.model_dump(mode="json"), "kind": "data-incremental", "stages": [{"share": 0.5}, {"share": 0.5}]}
    begun(make((NAIVE,), scenario=parse_scenario(content, "test")))
    folder = trial_folder(tmp_path / "here" / "results", "short", "naive", 1.0, 0)
    for row in read_evals(folder):
        assert row.validation_accuracy_old is None
        assert row.validation_accuracy_new is None
    (base_folder,) = (tmp_path / "here" / "cache" / "bases").glob("*/seed-0")
    bases = read_trial(base_folder)
    assert bases.scenario["kind"] == "data-incremental"
    assert read_trial(folder).summary.validation_accuracy > bases.summary.validation_accuracy > 0.2
