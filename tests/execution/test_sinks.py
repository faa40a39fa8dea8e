"""What is shown elsewhere while trials train: told of each evaluation, and never to a trial's harm."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.catalog import shipped_folder
from bench.cli.main import main
from bench.execution import sinks
from bench.training.trial import Trial


def run(tmp_path: Path, *words: str) -> Result:
    """Train scratch for one epoch of digits, evaluated twice."""
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    tiny = tmp_path / "tiny.toml"
    tiny.write_text(
        text.replace("digits-7-3", "tiny").replace("epochs = 24", "epochs = 1").replace("points = 20", "points = 2")
    )
    places = ["--results", tmp_path / "runs", "--cache", tmp_path / "cache", "--log-folder", tmp_path / "logs"]
    asked = ["run", "--scenario", tiny, "--strategy", "scratch", "--seeds", "0", "--device", "cpu", *places, *words]
    return CliRunner().invoke(main, list(map(str, asked)))


class Kept:
    """A sink that keeps what it is told; `fails` is called first, by what it is told of."""

    def __init__(self, fails: Callable[[str], None]) -> None:
        self.told: list[tuple[str, int, dict[str, float]]] = []
        self._fails = fails
        self.calls: list[str] = []

    def _called(self, what: str) -> None:
        self.calls.append(what)
        self._fails(what)

    def began(self, label: str) -> None:
        self._called("began")

    def evaluated(self, label: str, step: int, values: dict[str, float]) -> None:
        self._called("evaluated")
        self.told.append((label, step, values))

    def ended(self, label: str) -> None:
        self._called("ended")


def kept(monkeypatch: pytest.MonkeyPatch, fails: Callable[[str], None] = lambda what: None) -> Kept:
    sink = Kept(fails)
    monkeypatch.setitem(sinks.SINKS, "tensorboard", lambda folder, scenario: sink)
    return sink


def test_a_sink_is_told_of_each_evaluation_off_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    phases: list[str | None] = []
    clocks = []
    before = Trial._run

    def watch(trial: Trial):
        clocks.append(trial._clock)
        return before(trial)

    def fails(what: str) -> None:
        if what == "evaluated":
            phases.append(clocks[0]._running)

    monkeypatch.setattr(Trial, "_run", watch)
    sink = kept(monkeypatch, fails)
    result = run(tmp_path, "--log", "tensorboard")
    assert result.exit_code == 0, result.output
    rows = [
        json.loads(line) for path in (tmp_path / "runs").rglob("evals.jsonl") for line in path.read_text().splitlines()
    ]
    assert [step for _, step, _ in sink.told] == [row["step"] for row in rows]
    for (label, _, values), row in zip(sink.told, rows, strict=True):
        assert label == "scratch seed 0"
        assert (values["train_flops"], values["validation_accuracy"]) == (
            row["train_flops"],
            row["validation_accuracy"],
        )
    assert phases == ["io", "io"]
    assert sink.calls == ["began", "evaluated", "evaluated", "ended"]


@pytest.mark.parametrize(
    ("at", "error"),
    [("began", SystemExit(3)), ("evaluated", OSError(28, "no space")), ("ended", ValueError("two\nlines"))],
)
def test_a_broken_sink_is_one_line_and_harms_no_trial(
    at: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(what: str) -> None:
        if what == at:
            raise error

    sink = kept(monkeypatch, fails)
    result = run(tmp_path, "--log", "tensorboard")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if "--log" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"bench: --log tensorboard: failed ({type(error).__name__}")
    assert sink.calls[-1] == at  # nothing more after it
    assert json.loads(next((tmp_path / "runs").rglob("trial.json")).read_text())["status"] == "finished"


@pytest.mark.parametrize("name", sinks.SINKS)
def test_a_missing_package_is_one_line_that_names_the_extra_and_nothing_is_trained(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = importlib.import_module

    def missing(module: str, package: str | None = None):
        if module in ("torch.utils.tensorboard", "wandb", "mlflow"):
            raise ImportError(module)
        return found(module, package)

    monkeypatch.setattr(sinks.importlib, "import_module", missing)
    result = run(tmp_path, "--log", name)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert f"pip install 'compute-to-accuracy[{name}]'" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs tensorboard")
def test_tensorboard_holds_each_evaluation(tmp_path: Path):
    result = run(tmp_path, "--log", "tensorboard")
    assert result.exit_code == 0, result.output
    assert "--log" not in result.stderr
    events = found_in(tmp_path / "logs" / "tensorboard" / "tiny" / "scratch seed 0")
    row = json.loads(next((tmp_path / "runs").rglob("evals.jsonl")).read_text().splitlines()[-1])
    last = events.Scalars("validation_accuracy")[-1]
    assert (last.step, last.value) == (row["step"], pytest.approx(row["validation_accuracy"], abs=1e-6))


def found_in(folder: Path):
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return events


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs wandb")
def test_wandb_writes_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    result = run(tmp_path, "--log", "wandb")
    assert result.exit_code == 0, result.output
    assert "--log" not in result.stderr
    assert len(list((tmp_path / "logs").rglob("offline-run-*/*.wandb"))) == 1


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs mlflow")
def test_mlflow_holds_each_evaluation_in_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = run(tmp_path, "--log", "mlflow")
    assert result.exit_code == 0, result.output
    assert "--log" not in result.stderr
    metric = next((tmp_path / "logs" / "mlflow").rglob("metrics/validation_accuracy"))
    assert len(metric.read_text().splitlines()) == 2
