from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bench
from bench.errors import DataError
from bench.records.provenance import COPIED_FROM, code_state
from bench.records.speed import read_speeds
from bench.records.store import find_trials
from tests.gpu import pack as packing
from tests.gpu import visit
from tests.gpu.pack import PackError, Pieces, distribute, pack
from tests.records.made_up import change

ROOT = Path(__file__).resolve().parents[2]
# Six classes of a made-up cifar100, so that a trial is a few steps.
SCENARIO = """
name = "tiny-visit"
title = "A tiny visit"
kind = "class-incremental"
stages = [{ classes = 4 }, { classes = 2 }]
data = { set = "cifar100", classes = ["c00", "c01", "c02", "c03", "c04", "c05"], validation_share = 0.2 }
model = { name = "resnet8-narrow" }
evaluation = { points = 2, test_every = 1 }
[training]
epochs = 1
batch_size = 8
learning_rate = 0.1
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.1
precision = "fp32"
crop_padding = 4
flip = true
"""


def made_up_cifar100() -> dict[str, np.ndarray]:
    """Seven training images and one test image of each of 100 classes, in no order: noise, which WebP cannot make small."""
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(100), 7)).astype(np.uint8)
    return {
        "x_train": random.integers(256, size=(700, 32, 32, 3), dtype=np.uint8),
        "y_train": labels,
        "x_test": random.integers(256, size=(100, 32, 32, 3), dtype=np.uint8),
        "y_test": np.arange(100, dtype=np.uint8),
        "classes": np.array([f"c{number:02d}" for number in range(100)]),
    }


def git(root: Path, *words: str) -> str:
    owner = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", "-C", str(root), *owner, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Packed:
    root: Path
    data: Path
    scenario: Path
    pieces: Pieces


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A clean checkout of the code as it is here, and a visit that was packed from it into pieces of 2.5 MiB."""
    folder = tmp_path_factory.mktemp("packed")
    root, data, scenario = folder / "checkout", folder / "data", folder / "tiny-visit.toml"
    for name in ("bench", "scenarios", "baselines", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root / name)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "all")
    data.mkdir()
    np.savez(data / "cifar100.npz", **made_up_cifar100())
    scenario.write_text(SCENARIO)
    pieces = pack(root, data, "cifar100", folder / "visit", piece_mib=2.5, wheels=None)
    return Packed(root, data, scenario, pieces)


def call(*words: object) -> subprocess.CompletedProcess[str]:
    """Run visit.py as the GPU machine would: away from the checkout, without bench on its path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, timeout=600
    )


def options(packed: Packed) -> list[object]:
    found = ["--device", "cpu", "--skip-tests", "--skip-throughput", "--speed", "", "--seconds", 500]
    return [*found, "--scenario", packed.scenario, "--seeds", "0"]


def run(work: Path, out: Path, packed: Packed, *more: object) -> subprocess.CompletedProcess[str]:
    return call(work / "visit.py", "run", "--work", work, "--out", out, *options(packed), *more)


@pytest.fixture(scope="module")
def received(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that received every piece."""
    work = tmp_path_factory.mktemp("received")
    said = [call(piece / "visit.py", "receive", "--work", work) for piece in packed.pieces.folders]
    assert [done.returncode for done in said] == [0] * len(said), said
    assert said[0].stdout.startswith("still missing: piece-2")
    assert said[-1].stdout.startswith(f"complete: commit {packed.pieces.commit[:10]}")
    return work


def test_no_piece_is_larger_than_asked(packed: Packed):
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in packed.pieces.folders]
    assert len(sizes) > 1
    assert max(sizes) <= 2.5 * 2**20


def test_a_visit_brings_finished_trials_of_a_clean_commit_home_and_resumes(
    packed: Packed,
    received: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    first = run(received, tmp_path / "out", packed, "--strategy", "scratch")
    assert first.returncode == 0, first.stdout + first.stderr
    restored = np.load(received / "data" / "cifar100.npz")
    for key, array in made_up_cifar100().items():
        assert restored[key].dtype == array.dtype
        assert np.array_equal(restored[key], array)
    # An unfinished trial stays on the machine, where the same command resumes it.
    [scratch] = received.glob("results/tiny-visit/scratch/*/seed-0")
    running = scratch.with_name("seed-1")
    shutil.copytree(scratch, running)
    change(running, lambda record: record.update(status="running", summary=None, seed=1))

    monkeypatch.setattr(visit.Visit, "_doctor", lambda self, limit: "as before")
    words = ["run", "--work", received, "--out", tmp_path / "out2", *options(packed)]
    assert visit.main([*map(str, words), "--strategy", "scratch", "--strategy", "naive"]) == 0
    assert "there already" in capsys.readouterr().out
    assert "1 finished already" in (tmp_path / "out2" / "run.log").read_text()
    assert sorted(path.name for path in (tmp_path / "out2").iterdir()) == ["results.tgz", "run.log", "summary.txt"]
    assert "2 finished, 1 running" in (tmp_path / "out2" / "summary.txt").read_text()
    with tarfile.open(tmp_path / "out2" / "results.tgz") as archive:
        archive.extractall(tmp_path / "home", filter="data")
    trials = [record for _, record in find_trials(tmp_path / "home" / "results")]
    assert [(record.strategy["name"], record.status) for record in trials] == [
        ("naive", "finished"),
        ("scratch", "finished"),
    ]
    for record in trials:
        assert (record.provenance.commit, record.provenance.modified) == (packed.pieces.commit, False)
        assert str(tmp_path) not in record.provenance.command
    broken = bench.load_results(tmp_path / "home" / "results").check().frame
    assert set(broken["rule"]) <= {"learned scratch"}  # two epochs on random images may teach it nothing


def test_a_run_that_is_out_of_time_is_stopped_and_still_packs_what_there_is(
    received: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    endless = tmp_path / "endless.toml"
    endless.write_text(SCENARIO.replace("epochs = 1", "epochs = 100000").replace("tiny-visit", "endless"))
    log, wait = tmp_path / "out" / "run.log", visit._wait

    def wait_until_it_trains(process: subprocess.Popen[bytes], limit: float) -> bool:
        while process.poll() is None and "scratch seed 0:" not in log.read_text():
            time.sleep(0.1)
        return wait(process, 0)

    monkeypatch.setattr(visit.Visit, "_doctor", lambda self, limit: "not now")
    monkeypatch.setattr(visit, "_wait", wait_until_it_trains)
    monkeypatch.setattr(visit, "_STOP_SECONDS", 600.0)
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    words = ["run", "--work", received, "--out", tmp_path / "out", "--skip-tests", "--skip-throughput", "--speed", ""]
    words += ["--device", "cpu", "--scenario", endless, "--strategy", "scratch", "--seeds", "0", "--seconds", 600]
    try:
        assert visit.main([str(word) for word in words]) == 0
    finally:
        signal.signal(signal.SIGINT, heeded)
    assert "The same command resumes" in (tmp_path / "out" / "run.log").read_text()
    with tarfile.open(tmp_path / "out" / "results.tgz") as archive:
        assert not [name for name in archive.getnames() if "endless" in name]


def test_a_stage_that_fails_is_named_and_the_next_ones_get_their_turn(
    received: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails(*_: object) -> str:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(
        visit.Visit, "_doctor", lambda self, limit: self._command(["-c", "exit('oh')"], limit, "doctor")
    )
    monkeypatch.setattr(visit.Visit, "_bench_run", fails)
    words = ["run", "--work", received, "--out", tmp_path / "out", "--skip-tests", "--skip-throughput", "--speed", ""]
    assert visit.main([str(word) for word in words]) == 1
    said = capsys.readouterr().out
    assert said == (tmp_path / "out" / "summary.txt").read_text()
    assert "doctor: FAILED: exit code 1; oh (" in said
    assert "bench run: FAILED: RuntimeError: two lines (" in said
    assert "failed: doctor, bench run" in said
    assert (tmp_path / "out" / "results.tgz").is_file()


def test_a_visit_brings_the_speed_of_the_step_home(
    packed: Packed, received: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for stage in ("_doctor", "_bench_run"):
        monkeypatch.setattr(visit.Visit, stage, lambda self, limit: "not now")
    monkeypatch.setattr(visit, "_SPEED_SECONDS", 400.0)  # torch is loaded, by a busy machine perhaps
    speed = "--model mlp --pairs 2 --seconds 0.01 --images 256 --workers 0 --threads 1"
    words = [
        "run",
        "--work",
        received,
        "--out",
        tmp_path / "out",
        "--skip-tests",
        "--skip-throughput",
        "--device",
        "cpu",
    ]
    assert visit.main([*map(str, words), f"--speed={speed}"]) == 0
    [record] = read_speeds(tmp_path / "out")
    assert (record.model, record.provenance.commit) == ("mlp", packed.pieces.commit)
    assert "to bare" in capsys.readouterr().out


def test_a_command_that_ignores_its_limit_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(visit, "_STOP_SECONDS", 0.2)
    deaf = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    assert visit._wait(process, 0.1)
    assert process.returncode < 0
    process.stdout.close()


def test_a_corrupted_item_is_refused_in_one_line(packed: Packed, tmp_path: Path):
    piece = shutil.copytree(packed.pieces.folders[0], tmp_path / "piece-1")
    item = next(path for path in piece.iterdir() if path.name not in ("visit.py", visit.MANIFEST))
    content = bytearray(item.read_bytes())
    content[len(content) // 2] ^= 1
    item.write_bytes(content)
    done = call(piece / "visit.py", "receive", "--work", tmp_path / "work")
    assert done.returncode == 2
    assert done.stderr.startswith(f"visit: {item}: SHA-256 ")
    assert len(done.stderr.splitlines()) == 1
    item.unlink()
    done = call(piece / "visit.py", "receive", "--work", tmp_path / "work")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"{item}: missing" in done.stderr


def test_a_missing_piece_is_refused_in_one_line(packed: Packed, tmp_path: Path):
    work = tmp_path / "work"
    call(packed.pieces.folders[0] / "visit.py", "receive", "--work", work)
    done = run(work, tmp_path / "out", packed)
    missing = ", ".join(folder.name for folder in packed.pieces.folders[1:])
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"{missing} missing, expected all {len(packed.pieces.folders)} pieces" in done.stderr
    done = call(packed.pieces.folders[0] / "visit.py", "run", "--work", tmp_path / "nothing", "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_the_packed_tree_is_its_commit(packed: Packed, tmp_path: Path):
    items = {path.name: path for folder in packed.pieces.folders for path in folder.iterdir()}
    with tarfile.open(items["tree.tar.gz"]) as archive:
        archive.extractall(tmp_path, filter="data")
    assert (tmp_path / COPIED_FROM).is_file()
    assert (tmp_path / "tests" / "conftest.py").is_file()
    assert code_state(tmp_path)[:2] == (git(packed.root, "rev-parse", "HEAD"), False)


def test_a_modified_tree_is_not_packed(packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    added = packed.root / "scenarios" / "mine.toml"
    added.write_text("")
    try:
        with pytest.raises(PackError, match="Commit first"):
            pack(packed.root, packed.data, "cifar100", tmp_path / "visit", wheels=None)
        monkeypatch.setattr(packing, "ROOT", packed.root)
        done = CliRunner().invoke(packing.main, ["--data-root", str(packed.data), "--no-wheels"])
        assert (done.exit_code, len(done.output.splitlines())) == (2, 1)
    finally:
        added.unlink()
    with pytest.raises(DataError, match=r"svhn\.npz: not found"):
        pack(packed.root, packed.data, "svhn", tmp_path / "visit", wheels=None)


def test_the_commands_name_every_piece_in_order(packed: Packed):
    said = packing.instructions(packed.pieces)
    places = [said.index(f"python3 {folder}/visit.py receive") for folder in packed.pieces.folders]
    assert places == sorted(places)
    assert said.index("visit.py run") > places[-1]


def test_the_largest_items_are_placed_first_and_small_ones_fill_the_gaps():
    assert distribute({"a": 2, "b": 6, "c": 4, "d": 7}, 10) == [["d", "a"], ["b", "c"]]
    with pytest.raises(PackError, match="d takes"):
        distribute({"d": 7}, 6)


@pytest.mark.parametrize(("shape", "kind"), [((26, 7, 5, 3), "webp"), ((3, 9, 9), "npy.xz"), ((2, 9, 9, 1), "npy.xz")])
def test_images_of_any_shape_come_back_bit_for_bit(shape: tuple[int, ...], kind: str):
    images = np.random.default_rng(1).integers(256, size=shape, dtype=np.uint8)
    items, facts = packing._pack_array("x", images)
    assert facts["kind"] == kind
    if kind == "webp":
        assert np.array_equal(visit.tiles_of(items[0].content, len(images), *shape[1:3]), images)
