"""A visit to a GPU machine without network: receive what `python -m tests.gpu.pack` packed, and run it stage by stage.

Stands alone: it lies in every piece and needs Python 3.11, numpy and Pillow until the packages and bench are unpacked.

    python3 piece-1/visit.py receive --work DIR     # for every piece; says what is still missing
    python3 DIR/visit.py run --work DIR --out OUT   # again in the same DIR: resumes
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
# Held back from bench run: to stop it, and to pack the records.
RESERVE_SECONDS = 10.0
_INSTALL_SECONDS, _TREE_SECONDS, _DATA_SECONDS, _DOCTOR_SECONDS = 60.0, 20.0, 90.0, 60.0
_TEST_SECONDS, _THROUGHPUT_SECONDS, _SPEED_SECONDS = 90.0, 60.0, 60.0
_SPEED = "--model resnet18-32 --precision bf16 --pairs 5 --seconds 0.5"
_STOP_SECONDS = 5.0  # for a command to end by itself after SIGINT
_TOLD_LINES = 30  # of what bench run said; all of it is in run.log
_STRATEGIES = ("scratch", "optimized", "naive")

_DOCTOR = """
import os, platform, sys
import torch
def bench_imports():
    try:
        import bench.cli.main, bench.execution.local
        return "bench imports"
    except Exception as cause:
        return f"bench does not import: {type(cause).__name__}: {cause}"
words = [f"python {platform.python_version()}", f"torch {torch.__version__}", f"{len(os.sched_getaffinity(0))} CPUs"]
if torch.cuda.is_available():
    words += [torch.cuda.get_device_name(0), f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
    try:
        from bench.records.provenance import gpu_driver
        words.append(f"driver {gpu_driver()}")
    except Exception as cause:
        words.append(f"no driver's version: {cause}")
else:
    words.append("no CUDA device")
said = bench_imports()
print(", ".join([*words, said]))
sys.exit(said != "bench imports")
"""


class VisitError(Exception):
    """What whoever runs the visit can mend: one line, exit code 2."""


class StageError(Exception):
    """A stage that failed, and why, in one line."""


def sha256_of(content: bytes | memoryview) -> str:
    """Return the SHA-256 of some bytes, as hex digits."""
    return hashlib.sha256(content).hexdigest()


def array_sha256(array: Any) -> str:
    """Return the SHA-256 of an array's bytes in C order; for the shape and the type, see the manifest."""
    import numpy as np

    return sha256_of(np.ascontiguousarray(array).tobytes())


def tiles_of(content: bytes, images: int, height: int, width: int) -> Any:
    """Return the images of a mosaic, uint8 (images, height, width, 3). They lie in rows, from the top left."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        mosaic = np.asarray(opened.convert("RGB"))
    rows, columns = mosaic.shape[0] // height, mosaic.shape[1] // width
    tiles = mosaic.reshape(rows, height, columns, width, 3).swapaxes(1, 2)
    return tiles.reshape(rows * columns, height, width, 3)[:images]


def receive(piece: Path, work: Path) -> str:
    """Copy a piece's items to `work`, and return which pieces are still missing, in words.

    An item that is there already from an earlier visit, with the same content, need not come again.
    Raises VisitError for an item that is missing or damaged.
    """
    manifest = _manifest(piece)
    items = work / "items"
    items.mkdir(parents=True, exist_ok=True)
    for name, facts in manifest["items"].items():
        source = piece / name
        if facts["piece"] != manifest["piece"]:
            continue
        if not source.is_file():
            raise VisitError(f"{source}: missing, expected an item of {facts['bytes']} bytes. Carry this piece again.")
        content = source.read_bytes()
        if (found := sha256_of(content)) != facts["sha256"]:
            raise VisitError(
                f"{source}: SHA-256 {found[:12]}, expected {facts['sha256'][:12]}: damaged on its way. Carry this piece again."
            )
        _write(items / name, content)
    shutil.copyfile(Path(__file__), work / "visit.py")
    _write(work / MANIFEST, json.dumps(manifest).encode())
    missing = _missing_pieces(manifest, work)
    if missing:
        return f"still missing: {_listed(missing)}"
    return f"complete: commit {manifest['commit'][:10]}, {len(manifest['items'])} items"


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise VisitError(
            f"{path}: not a readable manifest, expected one from python -m tests.gpu.pack. Run receive for a piece first."
        ) from None


def _missing_pieces(manifest: dict[str, Any], work: Path) -> list[int]:
    """Return the numbers of the pieces of which an item is not there, or is another visit's."""

    def there(entry: tuple[str, dict[str, Any]]) -> bool:
        name, facts = entry
        path = work / "items" / name
        same_size = path.is_file() and path.stat().st_size == facts["bytes"]
        return same_size and sha256_of(path.read_bytes()) == facts["sha256"]

    entries = list(manifest["items"].items())
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(there, entries))
    return sorted({facts["piece"] for (_, facts), good in zip(entries, found, strict=True) if not good})


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"piece-{number}" for number in numbers)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


class Visit:
    """The stages, and the clock that they share. Stages that were done by an earlier run of the same items are not repeated.

    asked: the command line. Every line that is said also goes to summary.txt in the folder `out`.
    """

    def __init__(self, asked: argparse.Namespace, bench_options: Sequence[str], began: float) -> None:
        self._asked = asked
        self._bench_options = bench_options
        self._began = began
        self._work = asked.work.resolve()
        self._out = asked.out.resolve()
        self._manifest = _manifest(self._work)
        self._failed: list[str] = []
        if missing := _missing_pieces(self._manifest, self._work):
            raise VisitError(
                f"{self._work}: {_listed(missing)} missing, expected all {self._manifest['pieces']} pieces. "
                "Carry and receive them first."
            )
        self._out.mkdir(parents=True, exist_ok=True)
        self._results = self._work / "results"

    def run(self) -> int:
        """Run every stage, and return the exit code: 1 if any failed."""
        asked = self._asked
        self._say(f"commit {self._manifest['commit']}, {asked.seconds:g} s")
        self._stage("install", _INSTALL_SECONDS, self._install)
        self._stage("tree", _TREE_SECONDS, self._unpack_tree)
        self._stage("data", _DATA_SECONDS, self._restore_data)
        self._stage("doctor", _DOCTOR_SECONDS, self._doctor)
        if not asked.skip_tests:
            self._stage("tests", _TEST_SECONDS, self._test)
        if not asked.skip_throughput:
            self._stage("throughput", _THROUGHPUT_SECONDS, self._throughput)
        if asked.speed:
            self._stage("speed", _SPEED_SECONDS, self._speed)
        self._stage("bench run", asked.seconds, self._bench_run)
        self._stage("results", asked.seconds, self._pack_results, reserve=0.0)
        if self._failed:
            self._say(f"failed: {', '.join(self._failed)}")
        return int(bool(self._failed))

    def _left(self) -> float:
        return self._asked.seconds - (time.monotonic() - self._began)

    def _say(self, line: str) -> None:
        print(line, flush=True)
        with (self._out / "summary.txt").open("a", encoding="utf-8") as summary:
            summary.write(f"{line}\n")

    def _stage(self, name: str, limit: float, action: Callable[[float], str], reserve: float = RESERVE_SECONDS) -> None:
        """Run one stage and say what came of it. limit: the most seconds that it may take, passed on to the action."""
        begin = time.monotonic()
        limit = min(limit, self._left() - reserve)
        try:
            if limit <= 0 and reserve:
                raise StageError("no time left")
            said = action(limit)
        except Exception as cause:  # a visit is short: whatever goes wrong, the other stages get their turn
            self._failed.append(name)
            kind = "" if isinstance(cause, StageError) else f"{type(cause).__name__}: "
            said = f"FAILED: {kind}{' '.join(str(cause).split())}"
        spent = time.monotonic() - begin
        self._say(f"{name}: {said} ({spent:.1f} s spent, {self._left():.0f} s left)")

    def _done(self, stage: str, key: object) -> bool:
        """Return whether a stage was done already for this key."""
        with suppress(OSError, ValueError):
            return json.loads((self._work / f"{stage}.done").read_text(encoding="utf-8")) == key
        return False

    def _mark(self, stage: str, key: object) -> None:
        _write(self._work / f"{stage}.done", json.dumps(key).encode())

    def _items(self, kind: str) -> dict[str, str]:
        """Return the items of a kind: name and SHA-256."""
        return {name: facts["sha256"] for name, facts in self._manifest["items"].items() if facts["kind"] == kind}

    def _install(self, limit: float) -> str:
        wheels = self._items("wheel")
        if self._done("install", wheels):
            return f"{len(wheels)} packages there already"
        site = self._work / "site"
        shutil.rmtree(site, ignore_errors=True)
        if wheels:
            options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-compile"]
            command = ["-m", "pip", "install", *options, "--target", str(site)]
            self._command([*command, *(str(self._work / "items" / name) for name in wheels)], limit, "install")
        self._mark("install", wheels)
        return f"{len(wheels)} packages"

    def _unpack_tree(self, limit: float) -> str:
        tree, [(name, sha256)] = self._work / "tree", self._items("tree").items()
        if self._done("tree", sha256):
            return "there already"
        shutil.rmtree(tree, ignore_errors=True)
        with tarfile.open(self._work / "items" / name) as archive:
            archive.extractall(tree, filter="data")
        self._mark("tree", sha256)
        return "unpacked"

    def _restore_data(self, limit: float) -> str:
        import numpy as np

        arrays, name = self._manifest["arrays"], self._manifest["set"]
        target = self._work / "data" / f"{name}.npz"
        if self._done("data", arrays) and target.is_file():
            return f"{target.name} there already"
        target.parent.mkdir(exist_ok=True)
        made = {key: self._restore(key, facts) for key, facts in arrays.items()}
        part = target.with_suffix(".part.npz")
        np.savez(part, **made)
        part.replace(target)
        self._mark("data", arrays)
        return f"{target.name}, {sum(array.nbytes for array in made.values()) / 2**20:.0f} MiB, as it was packed"

    def _restore(self, key: str, facts: dict[str, Any]) -> Any:
        import numpy as np

        contents = [self._work / "items" / name for name in facts["items"]]
        if facts["kind"] == "npy.xz":
            with lzma.open(contents[0]) as packed:
                array = np.load(io.BytesIO(packed.read()), allow_pickle=False)
        else:
            array = np.empty(facts["shape"], np.uint8)
            height, width = array.shape[1:3]
            each = facts["images_per_item"]

            def place(number: int) -> None:
                part = array[number * each : (number + 1) * each]
                part[:] = tiles_of(contents[number].read_bytes(), len(part), height, width)

            with ThreadPoolExecutor() as pool:
                list(pool.map(place, range(len(contents))))
        if array_sha256(array) != facts["sha256"]:
            raise StageError(f"{key} is not what was packed, expected SHA-256 {facts['sha256'][:12]}")
        return array

    def _doctor(self, limit: float) -> str:
        return self._command(["-c", _DOCTOR], limit, None).strip().splitlines()[-1]

    def _test(self, limit: float) -> str:
        words = ["-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider", "--durations=8"]
        said = self._command([*words, "tests/training", "tests/data/feed"], limit, "tests")
        return (said.strip().splitlines() or ["no output"])[-1].strip("= ")

    def _throughput(self, limit: float) -> str:
        words = ["-m", "tests.gpu.throughput", "--scenario", self._asked.scenario, "--device", self._asked.device]
        paths = ["--data-root", str(self._work / "data"), "--out", str(self._out / "throughput.json")]
        return f"\n{self._command([*words, *paths], limit, 'throughput').strip()}\n "

    def _speed(self, limit: float) -> str:
        words = ["-m", "bench", "speed", "--device", self._asked.device, "--results", str(self._out), "--profile"]
        return f"\n{self._command([*words, *shlex.split(self._asked.speed)], limit, 'speed').strip()}\n "

    def _bench_run(self, limit: float) -> str:
        asked = self._asked
        words = ["-m", "bench", "run", "--scenario", asked.scenario, "--seeds", asked.seeds, "--device", asked.device]
        for strategy in asked.strategy or _STRATEGIES:
            words += ["--strategy", strategy]
        folders = {"data-root": self._work / "data", "cache": self._work / "cache", "results": self._results}
        for name, folder in folders.items():
            words += [f"--{name}", str(folder)]
        said = self._command([*words, *self._bench_options], limit, "run", stoppable=True)
        return "\n{}\n ".format("\n".join(said.strip().splitlines()[-_TOLD_LINES:]))

    def _pack_results(self, limit: float) -> str:
        """Pack the finished trials; one that still runs would be refused where records are read."""
        finished, counts = [], dict[str, int]()
        for path in sorted(self._results.rglob("trial.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            counts[record["status"]] = counts.get(record["status"], 0) + 1
            if record["status"] == "finished":
                finished.append(path.parent)
            elif record.get("reason"):
                self._say(f"{path.parent.relative_to(self._results)}: {record['status']}: {record['reason']}")
        part = self._out / "results.part"
        with tarfile.open(part, "w:gz") as archive:
            for folder in finished:
                archive.add(folder, arcname=Path("results", folder.relative_to(self._results)))
        part.replace(self._out / "results.tgz")
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        return f"results.tgz holds {len(finished)} finished trials; found: {told or 'none'}"

    def _command(self, words: Sequence[str], limit: float, log: str | None, *, stoppable: bool = False) -> str:
        """Run Python with bench and its packages, and return what it said; also to OUT/<log>.log.

        At its limit it gets SIGINT. stoppable: that is no failure. Raises StageError.
        """
        tree = self._work / "tree"
        folders = [str(folder) for folder in (self._work / "site", tree) if folder.is_dir()]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONUNBUFFERED": "1"}
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in all records from GPUs so far
        path = self._work / "said.log" if log is None else self._out / f"{log}.log"
        with path.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=tree if tree.is_dir() else self._work,
                env=environment,
                start_new_session=True,
            )
            stopped = _wait(process, limit)
        said = path.read_text(encoding="utf-8", errors="replace")
        if stopped and not stoppable:
            raise StageError(f"stopped after {limit:.0f} s; {_last_line(said)}")
        if process.returncode and not stopped:
            raise StageError(f"exit code {process.returncode}; {_last_line(said)}")
        return said


def _wait(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Wait for a process and return whether it had to be stopped, which SIGTERM to the visit also does."""
    try:
        process.wait(limit)
        return False
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[-1][:300]


def _heed_signals() -> None:
    """Let SIGTERM end the present command like its limit does, and let commands heed SIGINT."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    # A shell that starts this in the background has SIGINT ignored, and commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. What follows `--` goes to bench run as it is."""
    began = time.monotonic()
    arguments, bench_options = list(arguments), []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, bench_options = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(prog="visit.py", description="Receive what was packed for a GPU, and run it.")
    commands = parser.add_subparsers(dest="command", required=True)
    received = commands.add_parser("receive", help="copy this piece's items to a folder")
    running = commands.add_parser("run", help="run every stage; what follows -- goes to bench run")
    for command in (received, running):
        command.add_argument("--work", type=Path, required=True, help="folder for everything that is kept")
    running.add_argument("--out", type=Path, required=True, help="folder of what is brought back")
    running.add_argument("--seconds", type=float, default=540.0, help="for everything together (default: 540)")
    running.add_argument("--scenario", default="cifar100-70-30", help="name, or path of a .toml file")
    running.add_argument("--seeds", default="0-2")
    running.add_argument("--strategy", action="append", help=f"may be repeated (default: {', '.join(_STRATEGIES)})")
    running.add_argument("--device", default="cuda")
    running.add_argument("--skip-tests", action="store_true")
    running.add_argument("--skip-throughput", action="store_true")
    running.add_argument(
        "--speed", default=_SPEED, help=f"options of bench speed; empty: none is run (default: {_SPEED})"
    )
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "receive":
            print(receive(Path(__file__).resolve().parent, asked.work))
            return 0
        if asked.scenario.endswith(".toml") and Path(asked.scenario).is_file():
            asked.scenario = str(Path(asked.scenario).resolve())  # commands run in another folder
        return Visit(asked, bench_options, began).run()
    except VisitError as cause:
        print(f"visit: {cause}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    _heed_signals()
    sys.exit(main(sys.argv[1:]))
