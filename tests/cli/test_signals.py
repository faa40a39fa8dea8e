"""A signal ends every command after the step, with a checkpoint, and exit code 128 + its number; the same command goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.data.files import prepare as preparing
from bench.interrupts import SIGNALS
from bench.records.store import find_trials, read_evals, read_trial, trial_folder
from bench.training.learner import Learner
from tests.cli.test_main import QUICK, bench
from tests.data.trees import class_folders


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Whoever started the tests may have told them to ignore a signal, as shells do for background commands."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signalling(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int, calls: int) -> None:
    """Let a signal arrive within one call of a function, once."""
    made = counting(monkeypatch, owner, name, lambda: os.kill(os.getpid(), number) if len(made) == calls else None)


def counting(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, within: Callable[[], object] = lambda: None
) -> list[None]:
    """Return a list that grows with each call of a function. within: called in each, before it."""
    plain, made = getattr(owner, name), []

    def call(*arguments, **options):
        made.append(None)
        within()
        return plain(*arguments, **options)

    monkeypatch.setattr(owner, name, call)
    return made


def learned(folder: Path) -> list[dict]:
    rows = [row.model_dump() for row in read_evals(folder)]
    return [{key: value for key, value in row.items() if not key.endswith(("seconds", "joules"))} for row in rows]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_finishes_its_step_and_resumes_in_the_middle_of_an_evaluation(
    number: signal.Signals, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    command = ["run", "--scenario", tiny, "--strategy", "scratch", "--seeds", "0", "--device", "cpu"]
    assert bench(*command, "--results", tmp_path / "whole", "--cache", tmp_path / "other").exit_code == 0
    command += ["--results", tmp_path / "cut", "--cache", tmp_path / "cache"]
    with monkeypatch.context() as patch:
        signalling(patch, Learner, "_take_step", number, 11)
        stopped = bench(*command)
    assert stopped.exit_code == 128 + number, stopped.output
    last = stopped.stderr.splitlines()[-1]
    assert last == "bench: stopped. The same command resumes from the last checkpoint."
    whole, cut = (trial_folder(tmp_path / place, "tiny", "scratch", 1.0, 0) for place in ("whole", "cut"))
    assert read_trial(cut).status == "interrupted"
    assert [row.step for row in read_evals(cut)] == [8]
    assert list(tmp_path.rglob("*.lock")) == []
    assert "resumes after step 11" in bench(*command).stderr
    assert learned(cut) == learned(whole)  # the mean loss since step 8, too
    one, other = read_trial(whole).summary, read_trial(cut).summary
    assert (one.weights_sha256, other.sittings) == (other.weights_sha256, 2)


def test_a_signal_during_the_last_step_finishes_the_trial(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command = ["run", "--scenario", tiny, "--strategy", "scratch", "--seeds", "0-1", "--device", "cpu"]
    command += ["--results", tmp_path / "results", "--cache", tmp_path / "cache"]
    signalling(monkeypatch, Learner, "_take_step", signal.SIGTERM, 16)
    assert bench(*command).exit_code == 143
    assert [(record.seed, record.status) for _, record in find_trials(tmp_path / "results")] == [(0, "finished")]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_base_model_and_a_frontier_go_on(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command = ["frontier", "--scenario", tiny, "--strategy", "scratch", "--strategy", "naive", "--seeds", "0"]
    command += ["--horizons", "1,0.5", "--device", "cpu", "--reports", tmp_path / "reports"]
    command += ["--results", tmp_path / "results", "--cache", tmp_path / "cache"]
    with monkeypatch.context() as patch:
        signalling(patch, Learner, "_take_step", signal.SIGTERM, 16 + 8 + 5)
        stopped = bench(*command)
    assert stopped.exit_code == 143, stopped.output
    (base,) = (tmp_path / "cache").glob("bases/*/seed-0")
    assert read_trial(base).status == "interrupted"
    done = bench(*command)
    assert done.exit_code == 0, done.output
    assert "base seed 0: resumes after step 5" in done.stderr


def test_a_preparation_keeps_what_it_has_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tree = class_folders(tmp_path / "tree", ("ant", "bee"), each=4)
    monkeypatch.setattr(preparing, "_CHUNK_IMAGES", 2)
    command = ["data", "prepare", "--folder", tree, "--size", "8", "--data-root", tmp_path, "--workers", "1"]
    with monkeypatch.context() as patch:
        signalling(patch, preparing, "decode_chunk", signal.SIGHUP, 2)
        stopped = bench(*command)
    assert (stopped.exit_code, stopped.stderr) == (129, "bench: stopped.\n")
    (journal,) = tmp_path.glob("prepared/*/done.jsonl")
    assert len(journal.read_text().splitlines()) == 2
    decoded: list[int] = []
    plain = preparing.decode_chunk
    monkeypatch.setattr(preparing, "decode_chunk", lambda chunk: decoded.append(chunk.number) or plain(chunk))
    assert bench(*command).exit_code == 0
    assert decoded == [2, 3]


_HANGS = """
import signal, sys, threading
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
from bench.cli.main import main
from bench.data.files import prepare as preparing
from bench.interrupts import asked

def never(waiting):
    waiting[0].result()
    print("hangs", flush=True)
    while not asked():
        threading.Event().wait(0.01)
    print("asked", flush=True)
    threading.Event().wait()
    yield

if __name__ == "__main__":
    preparing._CHUNK_IMAGES = 2
    preparing.as_completed = never
    main()
"""


def test_a_second_signal_ends_a_preparation_that_hangs_and_its_workers(tmp_path: Path):
    tree = class_folders(tmp_path / "tree", ("ant", "bee"), each=4)
    (tmp_path / "hangs.py").write_text(_HANGS)
    command = [sys.executable, tmp_path / "hangs.py", "data", "prepare", "--folder", tree, "--size", "8"]
    command += ["--data-root", tmp_path, "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # The workers hold the other end of its output, which closes when the last of them ends.
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert run.stdout is not None
    assert run.stdout.readline() == "hangs\n"
    run.send_signal(signal.SIGINT)
    # Of two signals at once the kernel may give the second to another thread, which does not wake the one that waits.
    assert run.stdout.readline() == "asked\n"
    run.send_signal(signal.SIGTERM)
    assert "Traceback" not in run.communicate()[1]  # the interpreter itself may say that it cleans up semaphores
    assert run.returncode == 128 + signal.SIGTERM


def test_a_report_stops_where_it_is(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command = ["run", "--scenario", tiny, "--strategy", "scratch", "--seeds", "0", "--device", "cpu"]
    assert bench(*command, "--results", tmp_path / "results", "--cache", tmp_path / "cache").exit_code == 0
    from bench.reporting.figures import sheet

    drawn = ["report", "--results", tmp_path / "results", "--reports", tmp_path / "reports", *QUICK]
    with monkeypatch.context() as patch:
        signalling(patch, sheet, "save", signal.SIGINT, 2)
        stopped = bench(*drawn)
    assert (stopped.exit_code, stopped.stderr) == (130, "bench: stopped.\n")
    assert not list((tmp_path / "reports").rglob(".*"))
    assert bench(*drawn).exit_code == 0


def test_an_update_goes_on_and_leaves_the_model_that_an_undisturbed_one_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = class_folders(tmp_path / "old", ("ant", "bee"), each=10)
    new = class_folders(tmp_path / "new", ("bee", "cat"), each=10, first=100)
    command = ["update", "--old", old, "--new", new, "--image-size", "8", "--epochs", "2", "--batch-size", "4"]
    command += ["--architecture", "resnet8-narrow", "--only", "naive", "--seeds", "0", "--device", "cpu"]
    command += ["--data-root", tmp_path / "data"]
    whole = [*command, "--output", tmp_path / "whole", "--cache", tmp_path / "other"]
    with monkeypatch.context() as patch:
        taken = counting(patch, Learner, "_take_step")
        assert bench(*whole).exit_code == 0
    command += ["--output", tmp_path / "cut", "--cache", tmp_path / "cache"]
    with monkeypatch.context() as patch:
        signalling(patch, Learner, "_take_step", signal.SIGTERM, len(taken) - 2)
        stopped = bench(*command)
    assert stopped.exit_code == 143, stopped.output
    assert "The same command resumes from the last checkpoint." in stopped.stderr
    assert not list((tmp_path / "cut").rglob("model.safetensors"))
    done = bench(*command)
    assert done.exit_code == 0, done.output
    assert re.search(r"naive seed 0: resumes after step \d+", done.stderr)
    one, other = (tmp_path / name / "model.safetensors" for name in ("whole", "cut"))
    assert one.read_bytes() == other.read_bytes()


def test_tuning_goes_on_with_the_trial_that_a_signal_stopped(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("optuna")
    command = ["tune", "--scenario", tiny, "--strategy", "naive", "--range", "schedule.warmup=0.1:0.3", "--budget", "4"]
    command += ["--device", "cpu", "--threads", "1", "--results", tmp_path / "results", "--cache", tmp_path / "cache"]
    with monkeypatch.context() as patch:
        signalling(patch, Learner, "_take_step", signal.SIGTERM, 16 + 16 + 5)
        stopped = bench(*command)
    assert stopped.exit_code == 143, stopped.output
    assert "The same command resumes from the last checkpoint." in stopped.stderr
    done = bench(*command)
    assert done.exit_code == 0, done.output
    assert "resumes after step" in done.stderr
