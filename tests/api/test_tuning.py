"""A tuning reads validation accuracy alone, on seeds that are never scored, counts what it spent, and can go on later."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import bench
from bench import DirectionAwareShrink, InfoBatch, L2Init, LearningSpeed, Logistic, OneCycle, Strategy, TailMean
from bench.api.tuning import Tuned, tune
from bench.cli.main import main
from bench.data.feed.batches import HeldOutImages
from bench.errors import BenchError, ScenarioError
from bench.execution.listener import Silent
from bench.execution.tuning import Outcome, Progress, run_tried
from bench.records.listing import list_records
from bench.records.store import read_evals, read_trial
from bench.scenario import load_scenario
from bench.strategies.strategy import Entrant, load_strategy
from bench.training.learner import Learner
from bench.training.spec import Base, TrialSpec
from tests.cli.test_main import bench as command
from tests.cli.test_main import refused
from tests.conftest import CPU
from tests.records.made_up import finished

pytest.importorskip("optuna")
ROOT = Path(__file__).resolve().parents[2]
RANGES = ["schedule.peak=0.3:3:log", "averaging=NoAveraging,TailMean"]
# Scratch, the base model (0.69) and two trials.
BUDGET = 3.8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.toml: digits-7-3 in one epoch of 16 steps, evaluated four times."""
    folder = tmp_path_factory.mktemp("tuning")
    text = (ROOT / "scenarios" / "digits-7-3.toml").read_text().replace("digits-7-3", "tiny")
    (folder / "tiny.toml").write_text(text.replace("epochs = 24", "epochs = 1").replace("points = 20", "points = 4"))
    return folder


def tuned(place: Path, name: str, **options: Any) -> Tuned:
    options = {"budget": BUDGET, "device": "cpu", "threads": 1, **options}
    scenario = load_scenario(place / "tiny.toml")
    return tune(scenario, "naive", RANGES, results=place / name, cache=place / "cache", **options)


@pytest.fixture(scope="module")
def whole(place: Path) -> Tuned:
    return tuned(place, "whole")


def told(found: Tuned) -> list[tuple[Any, ...]]:
    return [(each.number, each.strategy, each.state, each.flops, each.validation_accuracy) for each in found.trials]


def test_the_first_trial_is_the_strategy_itself_and_the_best_is_the_highest(whole: Tuned, place: Path):
    assert whole.trials[0].strategy == "naive"
    assert len(whole.trials) == len({each.strategy for each in whole.trials}) == 2
    assert whole.best is not None
    assert whole.best.validation_accuracy == max(each.validation_accuracy or 0 for each in whole.trials)
    assert (
        json.loads((place / "whole/tiny/naive/tuning/tuning.json").read_text())["best"]["strategy"]
        == whole.best.strategy
    )
    assert whole.command.startswith(
        "bench run --scenario ./tiny.toml --strategy scratch --strategy naive --set naive:schedule.peak="
    )


def test_the_record_holds_what_everything_cost(whole: Tuned, place: Path):
    spent = {"trials": 0, "base": 0, "scratch": 0}
    for path in (place / "whole/tiny/naive/tuning/trials/tiny").rglob("trial.json"):
        record = read_trial(path.parent)
        assert record is not None
        row = read_evals(path.parent)[-1]
        spent["scratch" if record.strategy["name"] == "scratch" else "trials"] += row.train_flops + row.aux_flops
        if record.base:
            spent["base"] = record.base.train_flops + record.base.aux_flops
    assert whole.spent == spent
    assert min(spent.values()) > 0
    assert whole.scratch_flops == spent["scratch"]
    assert whole.scratch_trainings == pytest.approx(sum(spent.values()) / spent["scratch"])
    assert whole.scratch_trainings <= BUDGET


def test_a_fresh_process_goes_on_where_one_was_killed(whole: Tuned, place: Path):
    class Kill(Silent):
        seen = 0

        def evaluated(self, label: str, row: Any, total_steps: int) -> None:
            self.seen += label.startswith("naive[")
            if self.seen == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(place, "cut", listener=Kill())
    left = json.loads((place / "cut/tiny/naive/tuning/tuning.json").read_text())
    assert len(left["trials"]) == 1
    ranges = [word for text in RANGES for word in ("--range", text)]
    where = ["--results", place / "cut", "--cache", place / "cache", "--device", "cpu", "--threads", "1"]
    asked = ["tune", "--scenario", place / "tiny.toml", "--strategy", "naive", *ranges, "--budget", str(BUDGET), *where]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, asked)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trial ") == 1
    assert "run it: bench run --scenario ./tiny.toml" in done.stdout
    again = json.loads((place / "cut/tiny/naive/tuning/tuning.json").read_text())
    found = {each["strategy"]: (each["flops"], each["validation_accuracy"]) for each in again["trials"]}
    assert found == {each.strategy: (each.flops, each.validation_accuracy) for each in whole.trials}
    assert again["spent"] == whole.spent


def test_neither_tuner_nor_pruner_can_read_test_accuracy(whole: Tuned, place: Path, monkeypatch: pytest.MonkeyPatch):
    assert {field.name for field in dataclasses.fields(Progress)} == {"place", "validation_accuracy"}
    assert {field.name for field in dataclasses.fields(Outcome)} == {"validation_accuracy", "flops", "base_flops"}
    measure = Learner.evaluate

    def other_test(self: Learner, with_test: bool) -> dict[str, float | None]:
        found = measure(self, with_test)
        return {name: value and 1 - value if name.startswith("test_") else value for name, value in found.items()}

    monkeypatch.setattr(Learner, "evaluate", other_test)
    other = tuned(place, "other")
    assert told(other) == told(whole)
    assert other.best == whole.best
    folders = [place / name / "tiny/naive/tuning/trials/tiny/naive/1/seed-100" for name in ("whole", "other")]
    first, second = (read_trial(folder).summary.test_accuracy for folder in folders)  # pyright: ignore
    assert first + second == pytest.approx(1)


class Forbidden:
    """Held-out images, of which nobody may look at more than their number and shape."""

    def __init__(self, images: HeldOutImages) -> None:
        self.image_shape, self.normalize, self._count = images.image_shape, images.normalize, len(images)

    def __len__(self) -> int:
        return self._count

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"held-out images were asked for: {name}")


@pytest.mark.parametrize("selection", [InfoBatch(), LearningSpeed(0.1, 0.1)])
def test_no_piece_of_a_strategy_reaches_held_out_images(short, updates, base: Base, selection):
    hidden = dataclasses.replace(
        updates[1], validation=Forbidden(updates[1].validation), test=Forbidden(updates[1].test)
    )
    pieces = {"regularizer": L2Init(1e-4), "head": Logistic(images=100), "averaging": TailMean()}
    strategy = Strategy("All", DirectionAwareShrink(), OneCycle(0.1), selection=selection, **pieces)
    learner = Learner(TrialSpec(short, Entrant("all", strategy), 1, 0), hidden, base, CPU, compiled=False)
    learner.prepare()
    learner.start()
    learner.train(17)  # into the second epoch
    assert not torch.isnan(learner.learning_speed()).all()
    with pytest.raises(AssertionError, match="held-out images were asked for"):
        learner.evaluate(with_test=False)


def test_tuning_seeds_are_never_scored(whole: Tuned, place: Path):
    assert list_records(place / "whole").folders == ()
    there = bench.load_results(place / "whole/tiny/naive/tuning/trials")
    assert (len(there.trials), there.left_out) == (0, 3)
    with pytest.raises(BenchError, match="--seeds: 99: scored, and nothing must be tuned on what is scored"):
        tuned(place, "never", seeds=[99, 100])
    assert not (place / "never").exists()


def test_what_is_ended_early_is_counted_up_to_there(place: Path, whole: Tuned):
    options = {"results": place / "early", "cache": place / "cache", "device": "cpu", "threads": 1}
    plan = bench.plan(load_scenario(place / "tiny.toml"), ["naive"], [100], **options)
    seen: list[Progress] = []

    def give_up(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) == 2

    found = run_tried(plan._local, Silent(), give_up)
    assert found.validation_accuracy is None
    assert [each.place for each in seen] == [4, 8]
    folder = place / "early/tiny/naive/1/seed-100"
    record, rows = read_trial(folder), read_evals(folder)
    assert record is not None
    assert (record.status, len(rows)) == ("failed", 2)
    assert found.flops == rows[-1].train_flops + rows[-1].aux_flops
    assert list(found.base_flops) == [100]


def test_another_tuning_in_the_same_folder_is_refused(place: Path, whole: Tuned):
    where = {"results": place / "whole", "cache": place / "cache", "device": "cpu", "threads": 1}
    with pytest.raises(BenchError, match=r"holds a tuning with another ranges. Give --results another folder"):
        tune(load_scenario(place / "tiny.toml"), "naive", RANGES[:1], budget=1, **where)
    assert told(tuned(place, "whole", budget=1)) == told(whole)  # with nothing left to spend, what is there is read


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "3"], "bench: --seeds: 3: scored"),
        (["--budget", "0"], "bench: --budget 0: expected a number of scratch trainings above 0"),
        (["--budget", "nan"], "bench: --budget nan: expected"),
        (["--range", "schedule.peak=2:1"], "LOW below HIGH"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(place: Path, options: list[str], said: str):
    asked = ["tune", "--scenario", place / "tiny.toml", "--strategy", "naive", "--range", RANGES[1], *options]
    assert said in refused(command(*asked, "--results", place / "nothing", "--cache", place / "nothing"))
    assert not (place / "nothing").exists()


def test_without_optuna_one_line_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = refused(command("tune", "--strategy", "optimized", "--results", place / "nothing"))
    assert line == "bench: bench tune: needs the package optuna, which is not installed. Run: pip install optuna"
    with pytest.raises(ScenarioError, match="needs the package optuna"):
        tune("digits-7-3", "optimized")
    assert not (place / "nothing").exists()
    assert "tune" in main.commands


class TestWhatTuningCost:
    def test_the_written_strategy_is_the_best_and_names_what_it_cost(self, whole: Tuned, place: Path):
        entrant = load_strategy(place / "whole/tiny/naive/tuning/naive-tuned.py")
        assert whole.best is not None
        assert entrant.hash() == bench.strategy(whole.best.strategy).hash()
        assert entrant.describe()["tuned_on"] == {"tiny": 2}
        cost = {"scenario": "tiny", "trials": 2, "flops": sum(whole.spent.values())}
        assert entrant.describe()["tuning"] == {**cost, "scratch_trainings": whole.scratch_trainings}
        assert bench.strategy(entrant, schedule=OneCycle(0.5)).describe()["tuning"]["flops"] == cost["flops"]

    def test_it_is_neither_hashed_nor_described_where_it_is_unknown(self):
        plain = load_strategy(ROOT / "baselines" / "naive.py")
        assert "tuning" not in plain.describe()
        assert dataclasses.replace(plain, tuning={"flops": 1}).hash() == plain.hash()

    @pytest.mark.parametrize("content", [None, "no json", "[]", '{"scenario": "tiny"}'])
    def test_a_file_that_is_none_is_one_line(self, tmp_path: Path, content: str | None):
        if content is not None:
            (tmp_path / "tuning.json").write_text(content)
        (tmp_path / "mine.py").write_text(
            "from bench import Keep, OneCycle, Strategy\nstrategy = Strategy('M', Keep(), OneCycle(0.1), tuning='tuning.json')\n"
        )
        with pytest.raises(BenchError, match=r"mine: tuning: .*tuning.json cannot be read .*, expected a tuning.json"):
            load_strategy(tmp_path / "mine.py")

    def test_the_leaderboard_shows_it_and_when_it_is_paid_for(self, tmp_path: Path):
        scratch = finished(tmp_path, [0.1, 0.2, 0.3, 0.8])
        row = read_evals(scratch)[-1]
        flops = 6 * (row.train_flops + row.aux_flops)

        for name, accuracies, tuning in (
            ("held", [0.1, 0.8], {"tuning": {"flops": flops}}),  # 2 times cheaper: half of a training saved each time
            ("missed", [0.1, 0.2], {"tuning": {"flops": flops}}),
            ("unknown", [0.1, 0.8], {}),
        ):
            lines = finished(tmp_path, accuracies, strategy=name, horizon=0.5)
            record = json.loads((lines / "trial.json").read_text())
            record["strategy"] |= tuning
            (lines / "trial.json").write_text(json.dumps(record))
        board = bench.load_results(tmp_path).leaderboard()
        rows = board.frame.set_index("strategy")
        assert rows.loc["held", "tuning"] == pytest.approx(6)
        assert rows.loc["held", "value_flops"] == pytest.approx(2)
        assert rows.loc["held", "pays_after"] == 12
        shown = board.markdown()
        assert "6.0 scratch trainings, paid for after 12 updates" in shown
        assert "6.0 scratch trainings, never paid for" in shown
        assert "not recorded" in next(line for line in shown.splitlines() if line.startswith("|") and "unknown" in line)

    def test_a_table_without_such_a_record_is_as_it_was(self, tmp_path: Path):
        finished(tmp_path, [0.1, 0.8])
        board = bench.load_results(tmp_path).leaderboard()
        assert not {"tuning", "pays_after", "tuning_flops"} & set(board.frame)
