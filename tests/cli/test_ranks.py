from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import bench
from bench.cli.main import main
from bench.errors import DeviceError, RanksError, ScenarioError
from bench.torchrun import Launch, launch
from bench.training import step, trial
from bench.training.ranks import World

ROOT = Path(__file__).resolve().parents[2]
# Rank 1 kills itself in its 40th step, if there is a file that asks for it.
MODEL = """
import os, signal
from pathlib import Path
from torch import nn

class Small(nn.Sequential):
    steps = 0

    def forward(self, x):
        self.steps += self.training
        if self.steps == 40 and os.environ.get("RANK") == "1" and Path(os.environ["KILL"]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

def make(channels, classes):
    return Small(nn.Flatten(), nn.Linear(channels * 64, 16), nn.ReLU(), nn.Linear(16, classes))
"""


class Runs:
    """Runs a command in this process, alone or with another one, each of them a rank."""

    def __init__(self, folder: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._scenario, self._patch = folder, scenario, monkeypatch
        self.weights: dict[str, torch.Tensor] = {}
        fingerprint = trial.weights_sha256

        def kept(weights: dict[str, torch.Tensor]) -> str:
            self.weights = weights
            return fingerprint(weights)

        monkeypatch.setattr(trial, "weights_sha256", kept)

    def alone(self, results: str, *more: str) -> Result:
        for name in ("TORCHELASTIC_RUN_ID", "RANK"):
            self._patch.delenv(name, raising=False)
        return CliRunner().invoke(main, self._command(results, *more))

    def on_two(self, results: str, *more: str) -> tuple[Result, int, str]:
        """Return what rank 0 came to, and the exit code of rank 1 and all that it printed."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {
            "TORCHELASTIC_RUN_ID": "test",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            **dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2"),
        }
        command = [sys.executable, "-m", "bench", *self._command(results, *more)]
        other = {**os.environ, **shared, "RANK": "1", "LOCAL_RANK": "1", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, env=other, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, value in {**shared, "RANK": "0", "LOCAL_RANK": "0"}.items():
            self._patch.setenv(name, value)
        found = CliRunner().invoke(main, self._command(results, *more))
        said, _ = process.communicate(timeout=120)
        return found, process.returncode, said

    def _command(self, results: str, *more: str) -> list[str]:
        where = ("--results", str(self.folder / results), "--cache", str(self.folder / f"{results} cache"))
        asked = ("--scenario", str(self._scenario), "--strategy", "scratch", "--seeds", "0", "--device", "cpu")
        return ["run", *asked, "--threads", "1", *where, *more]

    def record(self, results: str) -> tuple[dict, list[dict]]:
        folder = self.folder / results / "tiny" / "scratch" / "1" / "seed-0"
        rows = [json.loads(line) for line in (folder / "evals.jsonl").read_text().splitlines()]
        return json.loads((folder / "trial.json").read_text()), rows


@pytest.fixture
def runs(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.setenv("KILL", str(tmp_path / "kill"))
    text = tiny.read_text().replace('"resnet8"', f'"{tmp_path / "model.py"}:make"')
    tiny.write_text(text.replace("epochs = 1\n", "epochs = 4\n").replace("points = 2\n", "points = 8\n"))
    return Runs(tmp_path, tiny, monkeypatch)


COUNTED = ("step", "epoch", "images", "train_flops", "aux_flops", "evaluate_flops", "learning_rate")


def test_two_processes_learn_what_one_does_survive_the_death_of_one_and_refuse_to_go_on_as_one(runs: Runs):
    (runs.folder / "kill").touch()
    found, code, said = runs.on_two("two")
    assert (found.exit_code, code, said) == (1, -signal.SIGKILL, "")
    *_, last = found.stderr.splitlines()
    assert found.stderr.count("bench:") == 1
    assert last.startswith("bench: a rank has ended or does not answer (")
    assert last.endswith("). The same command resumes from the last checkpoint.")

    (runs.folder / "kill").unlink()
    begun, rows = runs.record("two")
    assert begun["status"] == "running"
    assert 0 < len(rows) < 8
    refused = runs.alone("two")
    assert refused.exit_code == 2
    assert "begun on 2 ranks, found 1 rank, expected as many" in refused.stderr
    assert refused.stderr.count("bench:") == 1
    assert runs.record("two") == (begun, rows)

    found, code, said = runs.on_two("two")
    assert (found.exit_code, code, said) == (0, 0, ""), found.output
    together = runs.weights
    assert runs.alone("one").exit_code == 0
    for name, value in runs.weights.items():
        assert float((together[name] - value).norm() / value.norm()) < 1e-6
    (one, alone), (two, rows) = runs.record("one"), runs.record("two")
    assert one["summary"]["steps"] >= 50
    for row, other in zip(rows, alone, strict=True):
        assert {name: row[name] for name in COUNTED} == {name: other[name] for name in COUNTED}
        assert row["validation_accuracy"] == other["validation_accuracy"]
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
        assert row["device_seconds"] == 2 * row["train_seconds"]
    assert two["summary"]["sittings"] == 2
    assert two["provenance"]["ranks"] == {
        "size": 2,
        "backend": "gloo",
        "batch_norm": "local",
        "devices": ["cpu", "cpu"],
    }
    assert one["provenance"]["ranks"] is None


def as_rank(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2")
    for name, value in {"TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "LOCAL_RANK": str(rank), **sizes}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan"], "bench plan: found 2 processes of torchrun, expected one"),
        (["run", "--jobs", "2"], "torchrun: found together with --jobs 2, expected one trial at a time."),
        (["run", "--executor", "local"], "torchrun: found together with --executor local, expected none."),
        (
            ["run", "--scenario", "a", "--scenario", "b"],
            "torchrun: found together with several scenarios, expected one.",
        ),
        (["run", "--seeds", "x"], "--seeds 'x': expected whole numbers"),
        (["run", "--unknown"], "No such option"),
    ],
)
def test_what_is_not_for_several_processes_is_one_line_of_one_of_them(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
):
    as_rank(0, monkeypatch)
    first = CliRunner().invoke(main, arguments)
    assert (first.exit_code, first.output.count("\n")) == (2, 1)
    assert first.output.startswith(f"bench: {said}")
    as_rank(1, monkeypatch)
    other = CliRunner().invoke(main, arguments)
    assert (other.exit_code, other.output) == (2, "")


def test_one_process_that_torchrun_started_is_alone(monkeypatch: pytest.MonkeyPatch):
    as_rank(0, monkeypatch)
    assert launch() == Launch(0, 2, 0, 2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launch() is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # somebody else's
    assert launch() is None


class Echo(World):
    """Two ranks that say the same."""

    size, backend = 2, "gloo"

    def gather(self, value: object) -> list[object]:
        return [value, value]


def test_a_run_in_python_joins_no_ranks_by_itself(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = bench.plan(tiny, ["scratch"], [0], results=tmp_path / "runs", cache=tmp_path / "cache", device="cpu")
    as_rank(0, monkeypatch)
    with pytest.raises(RanksError, match="torchrun: found 2 ranks, expected one, as only the command bench run trains"):
        bench.run(plan)
    assert not (tmp_path / "runs").exists()


def test_steps_of_several_ranks_are_eager_and_say_why(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step, "lacking_compiler", lambda device: None)
    local = bench.plan(tiny, ["scratch"], [0], device="cpu", compiled=True, results=tiny.parent / "runs")._local
    local.join(Echo())
    assert local.notes == ("steps run eager: no torch.compile: not tried on several ranks",)
    facts = local._provenance("hash")
    assert (facts.step, facts.compiled, facts.step_reason) == (
        "eager",
        False,
        "no torch.compile: not tried on several ranks",
    )
    assert facts.ranks is not None
    assert facts.ranks.devices == ("cpu", "cpu")
    with pytest.raises(DeviceError, match="--step compiled: found together with torchrun, expected eager"):
        bench.plan(tiny, ["scratch"], [0], device="cpu", step="compiled", results=tiny.parent / "runs")._local.join(
            Echo()
        )


def test_a_batch_has_an_image_for_each_rank(tiny: Path):
    tiny.write_text(tiny.read_text().replace("batch_size = 64", "batch_size = 1"))
    with pytest.raises(
        ScenarioError, match=r"tiny: training.batch_size: found 1 for 2 ranks, expected an image for each"
    ):
        bench.plan(tiny, ["scratch"], [0], device="cpu", results=tiny.parent / "runs")._local.join(Echo())
