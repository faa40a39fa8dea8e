from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.catalog import shipped_folder
from bench.cli.main import main
from bench.errors import RecordError, StrategyError
from bench.execution.local import LocalRun
from bench.locks import locked
from bench.records.listing import list_records
from bench.records.store import find_trials, read_trial, trial_folder
from bench.scenario import Scenario
from bench.strategies.strategy import Entrant, load_strategy
from bench.training.checkpoint import save_checkpoint
from tests.held import Gate

BASELINES = [load_strategy(shipped_folder("baselines") / f"{name}.py") for name in ("scratch", "naive", "optimized")]


class Log:
    """A listener that remembers what began."""

    def __init__(self) -> None:
        self.began_: list[tuple[str, int]] = []
        self.total_steps = 0

    def planned(self, asked, due, total_steps) -> None:
        self.total_steps = total_steps

    def began(self, label, total_steps, done_steps) -> None:
        self.began_.append((label, done_steps))

    def evaluated(self, label, row, total_steps) -> None:
        pass

    def ended(self, label, record) -> None:
        pass


Make = Callable[..., LocalRun]


@pytest.fixture
def make(short: Scenario, tmp_path: Path) -> Make:
    def build(entrants=BASELINES, seeds=(0,), scenario=short, **options: bool) -> LocalRun:
        folders = {"data_root": tmp_path, "results": tmp_path / "results", "cache": tmp_path / "cache"}
        return LocalRun(scenario, entrants, seeds, device="cpu", **folders, **options)

    return build


def begun(run: LocalRun) -> list[str]:
    log = Log()
    run.run(log)
    return [label for label, _ in log.began_]


def test_asking_twice_runs_once_and_trains_the_base_once(make: Make):
    assert begun(make()) == ["scratch seed 0", "base seed 0", "naive seed 0", "optimized seed 0"]
    assert begun(make()) == []
    assert begun(make(seeds=(0, 1), entrants=BASELINES[1:])) == ["base seed 1", "naive seed 1", "optimized seed 1"]


def test_fresh_runs_again_and_keeps_the_base(make: Make):
    begun(make())
    assert begun(make(fresh=True)) == ["scratch seed 0", "naive seed 0", "optimized seed 0"]


def test_the_base_models_cost_is_in_every_record_that_used_it(make: Make, tmp_path: Path, short: Scenario):
    begun(make())
    horizon = BASELINES[2].strategy.horizon
    scratch, naive, optimized = (
        read_trial(trial_folder(tmp_path / "results", "short", name, share, 0))
        for name, share in (("scratch", 1.0), ("naive", 1.0), ("optimized", horizon))
    )
    assert scratch.base is None
    assert naive.base == optimized.base
    assert naive.base.steps == 2 * (761 // 64)
    assert naive.base.train_flops == naive.base.images * naive.flops_per_image.step
    assert naive.base.validation_accuracy > 0.3


def test_the_planned_steps_are_the_steps_taken(make: Make):
    run, log = make(), Log()
    run.run(log)
    horizon = BASELINES[2].strategy.horizon
    assert log.total_steps == 32 + 22 + 32 + round(horizon * 32)


def test_a_record_of_another_scenario_is_not_overwritten(make: Make, short: Scenario):
    begun(make(BASELINES[:1]))
    other = short.model_copy(update={"training": short.training.model_copy(update={"learning_rate": 0.05})})
    with pytest.raises(RecordError, match=r"holds a different trial: its scenario is .*--results.*--fresh"):
        make(BASELINES[:1], scenario=other)


def test_a_finished_record_that_lost_its_end_is_run_again(make: Make, tmp_path: Path):
    begun(make(BASELINES[:1]))
    evals = trial_folder(tmp_path / "results", "short", "scratch", 1.0, 0) / "evals.jsonl"
    whole = evals.read_text()
    evals.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert begun(make(BASELINES[:1])) == ["scratch seed 0"]
    assert len(evals.read_text().splitlines()) == len(whole.splitlines())


def test_records_and_bases_of_other_images_are_not_used(make: Make, tmp_path: Path, digits):
    begun(make(BASELINES[:2]))
    arrays = {"x_train": digits.x_train, "y_train": digits.y_train, "x_test": digits.x_test, "y_test": digits.y_test}
    order = list(range(len(digits.x_train)))[::-1]
    reversed_ = {**arrays, "x_train": digits.x_train[order], "y_train": digits.y_train[order]}
    import numpy as np

    np.savez(tmp_path / "digits.npz", **reversed_)
    with pytest.raises(RecordError, match="holds a different trial: its data is"):
        make(BASELINES[:2])
    assert "base seed 0" in begun(make(BASELINES[1:2], fresh=True))


def test_what_another_process_has_finished_is_not_run_again(make: Make):
    late = make(BASELINES[:1])
    begun(make(BASELINES[:1]))
    assert begun(late) == []


def test_a_record_of_another_strategy_is_not_overwritten(make: Make):
    begun(make(BASELINES[:1]))
    impostor = Entrant("scratch", BASELINES[1].strategy)
    with pytest.raises(RecordError, match="its strategy is"):
        make([impostor])


def test_two_strategies_with_the_same_name_are_refused(make: Make):
    with pytest.raises(StrategyError, match="scratch at horizon 1: listed twice"):
        make([BASELINES[0], BASELINES[0]])


def test_a_trial_killed_by_sigkill_resumes_with_the_same_command(tmp_path: Path):
    scenario = tmp_path / "short.toml"
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    scenario.write_text(text.replace("epochs = 24", "epochs = 2"))
    gate = Gate(tmp_path, after=20)
    words = ["run", "--scenario", str(scenario), "--strategy", str(gate.strategy), "--seeds", "0", "--device", "cpu"]
    words += ["--threads", "1", "--cache", str(tmp_path / "cache"), "--results"]
    command = [sys.executable, "-m", "bench", *words, str(tmp_path / "cut")]
    folder = trial_folder(tmp_path / "cut", "digits-7-3", "held", 1.0, 0)
    # Checkpoints are rare: it must be killed after the first one, or leave none.
    script = "from bench.training import trial; trial.CHECKPOINT_SECONDS = 0.0; from bench.cli.main import main; main()"
    command[1:3] = ["-c", script]
    victim = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    gate.wait(1, lambda: victim.poll() is None)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    gate.open()
    assert read_trial(folder).status == "running"
    run = CliRunner()
    assert run.invoke(main, [*words, str(tmp_path / "whole")]).exit_code == 0
    done = run.invoke(main, [*words, str(tmp_path / "cut")])
    assert done.exit_code == 0, done.output
    assert "resumes after step" in done.stderr
    whole = read_trial(trial_folder(tmp_path / "whole", "digits-7-3", "held", 1.0, 0))
    cut = read_trial(folder)
    assert cut.summary.sittings == 2
    assert cut.summary.weights_sha256 == whole.summary.weights_sha256


def test_a_run_that_finds_a_trial_taken_goes_on_and_comes_back_for_it(make: Make, tmp_path: Path):
    lock = trial_folder(tmp_path / "results", "short", "scratch", 1.0, 0).with_name("seed-0.lock")
    finished: list[str] = []

    class Other(Log):
        """Lets go of the lock once another trial has ended."""

        def ended(self, label, record) -> None:
            finished.append(label)
            if label == "naive seed 0":
                assert lock.exists()
                held.close()

    held = ExitStack()
    held.enter_context(locked(lock))
    make(BASELINES[:2]).run(Other())
    assert finished == ["base seed 0", "naive seed 0", "scratch seed 0"]
    assert list((tmp_path).rglob("*.lock")) == []
    assert len(list(find_trials(tmp_path / "results"))) == 2


def test_a_lock_is_no_record(make: Make, tmp_path: Path):
    begun(make(BASELINES[:1]))
    folder = trial_folder(tmp_path / "results", "short", "scratch", 1.0, 0)
    before = list_records(tmp_path / "results")
    with locked(folder.with_name("seed-0.lock")), locked(folder / "update-1.lock"):
        assert list_records(tmp_path / "results") == before
        ignored = subprocess.run(
            ["git", "check-ignore", "results/x/y/1/seed-0.lock", "results/x/y/1/seed-0/update-1.lock"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
    assert ignored.returncode == 128 or len(ignored.stdout.splitlines()) == 2  # 128: not a checkout


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        (
            "base.pt",
            flip,
            "not have the SHA-256 that it was written with; put aside as base.pt.damaged, and made anew",
        ),
        ("base.pt", lambda path: path.write_bytes(b""), "base.pt: empty; put aside"),
        ("base.pt", Path.unlink, None),
        (
            "base.pt",
            lambda path: save_checkpoint(path, {"weights": {}, "learning_speed": None}),
            "not those of its record",
        ),
        ("trial.json", lambda path: path.write_bytes(path.read_bytes()[:200]), "trial.json: cannot be read; put aside"),
        ("evals.jsonl", Path.unlink, None),  # nobody reads them again
    ],
    ids=["flipped", "empty", "gone", "another's", "half a record", "no evaluations"],
)
def test_a_base_model_that_is_damaged_is_trained_again_without_a_flag(
    name: str, damage, said: str | None, make: Make, tmp_path: Path, short: Scenario, caplog: pytest.LogCaptureFixture
):
    naive = BASELINES[1:2]
    begun(make(naive))
    first = read_trial(trial_folder(tmp_path / "results", "short", "naive", 1.0, 0))
    (base,) = (tmp_path / "cache").glob("bases/*/seed-0")
    damage(base / name)
    assert begun(make(naive)) == []  # nothing is due
    again = begun(make(naive, fresh=True))
    assert again == (["naive seed 0"] if name == "evals.jsonl" else ["base seed 0", "naive seed 0"])
    assert [said in line for line in caplog.messages] == ([True] if said else [])
    second = read_trial(trial_folder(tmp_path / "results", "short", "naive", 1.0, 0))
    assert second.summary.weights_sha256 == first.summary.weights_sha256
    assert begun(make(naive, fresh=True)) == ["naive seed 0"]


def test_a_base_model_whose_record_was_finished_has_its_weights(make: Make, tmp_path: Path, monkeypatch):
    """Killed between the two, it would otherwise be trained again."""
    from bench.records.store import RecordWriter

    save = RecordWriter.save

    def look(writer, record):
        if record.status == "finished" and record.update == 0:
            assert (writer.folder / "base.pt").exists()
        return save(writer, record)

    monkeypatch.setattr(RecordWriter, "save", look)
    assert "base seed 0" in begun(make(BASELINES[1:2]))


def test_a_record_copied_from_another_seed_is_no_finished_trial(make: Make, tmp_path: Path):
    make().run(Log())
    first = tmp_path / "results/short/scratch/1/seed-0"
    shutil.copytree(first, first.with_name("seed-3"))
    with pytest.raises(RecordError, match="seed-3: holds a copy of seed 0's record, expected seed 3's"):
        make(seeds=(3,))
    # What is damaged is run again, by the same command and without a flag.
    (first / "trial.json").write_text("nonsense")
    run = make()
    assert [trial.state for trial in run.trials if trial.folder == first] == ["damaged"]
    run.run(Log())
    assert [trial.state for trial in make().trials if trial.folder == first] == ["finished"]
    (first / "evals.jsonl").write_bytes((first / "evals.jsonl").read_bytes().replace(b'"epoch": ', b'"epoch": 1', 1))
    assert [trial.state for trial in make().trials if trial.folder == first] == ["damaged"]


def test_interleaved_strategies_run_in_an_order_drawn_from_the_seed_and_recorded(make: Make, tmp_path: Path):
    entrants, seeds = [BASELINES[0].at(horizon) for horizon in (1.0, 0.25, 0.5)], range(6)

    def slots(run: LocalRun) -> list[list[float]]:
        found = [trial.spec for trial in run.trials]
        assert [spec.seed for spec in found] == [seed for seed in seeds for _ in entrants]  # still seed by seed
        return [[spec.horizon for spec in found if spec.seed == seed] for seed in seeds]

    drawn = slots(make(entrants, seeds, interleave=True))
    assert drawn == slots(make(entrants, seeds, interleave=True))
    assert all(sorted(slot) == [0.25, 0.5, 1.0] for slot in drawn)
    assert len({tuple(slot) for slot in drawn}) > 2
    assert {tuple(slot) for slot in slots(make(entrants, seeds))} == {(1.0, 0.25, 0.5)}
    seed = next(seed for seed in seeds if drawn[seed] != [1.0, 0.25, 0.5])
    log = Log()
    make(entrants, [seed], interleave=True).run(log)
    assert [label for label, _ in log.began_] == [f"scratch horizon {each:g} seed {seed}" for each in drawn[seed]]
    records = [record for _, record in find_trials(tmp_path / "results")]
    expected = tuple(f"scratch@{horizon:g}" for horizon in drawn[seed])
    assert [record.provenance.interleaved for record in records] == [expected] * 3
