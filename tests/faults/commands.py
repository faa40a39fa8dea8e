"""Tiny commands, each run in a process of its own that is forked, so that importing torch is paid once."""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.catalog import shipped_folder
from bench.cli.main import main
from bench.data.files import prepare as preparing
from bench.records.versions import SCHEMA_VERSION
from bench.training import trial
from tests.data.trees import class_folders
from tests.equality import _learned
from tests.records.made_up import finished

# Everything that a command imports when it needs it. Another user may not be able to read the interpreter's folder.
_LATER = (
    "torch", "matplotlib.pyplot", "seaborn", "pandas", "pyarrow.parquet", "scipy.stats", "jinja2", "rich.progress",
    "bench.api.plans", "bench.api.results", "bench.api.horizons", "bench.api.updates", "bench.reporting.report",
    "bench.reporting.page.write", "bench.reporting.progress", "bench.reporting.updates", "bench.reporting.plans",
    "bench.execution.estimate", "bench.execution.local", "bench.execution.preflight", "bench.execution.on_processes",
    "bench.analysis.studies.equal_cost", "bench.api.tables", "bench.records.bulk", "bench.records.published",
    "bench.records.rows", "bench.reporting.ablations", "bench.reporting.latex", "bench.strategies.variants",
    "importlib.readers", "importlib.resources.readers", "pandas.core.methods.to_dict", "platformdirs.unix", "pyarrow.json",
    "pyarrow.pandas_compat", "rich._emoji_codes", "sklearn.datasets.data", "sklearn.datasets.descr", "encodings.ascii",
    "torch.utils.serialization.config", "torchvision", "sklearn.datasets",
    "encodings.utf_8_sig", "fvcore.nn", "safetensors.torch", "pynvml", "multiprocessing.pool",
)  # fmt: skip


def import_everything() -> None:
    """Import what commands need, on one thread; nothing is computed, so that a fork of this process is as good as a new one."""
    for name in _LATER:
        with suppress(ImportError):  # of an extra
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.freeze()


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: of exit; minus a signal's number, if one killed it. facts: what `after` returned."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    facts: dict[str, Any]

    @property
    def traceback(self) -> bool:
        return "Traceback" in self.stderr

    @property
    def one_line(self) -> bool:
        """Whether it ended as a mistake of the user's does: with one line that begins with bench."""
        return self.code in (1, 2) and not self.traceback and self.stderr.strip().splitlines()[-1].startswith("bench: ")


class Forked:
    """A command of bench in a child process."""

    def __init__(
        self,
        words: list[str],
        before: Callable[[], None] = lambda: None,
        after: Callable[[], dict[str, Any]] = lambda: {},
    ) -> None:
        """before, after: called in the child."""
        self._folder = Path(tempfile.mkdtemp(prefix="bench-faults-"))
        self._begun = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._work(words, before, after)

    def _work(self, words: list[str], before: Callable[[], None], after: Callable[[], dict[str, Any]]) -> None:
        code = 1
        try:
            facts = os.open(self._folder / "facts", os.O_WRONLY | os.O_CREAT)
            for number, name in ((1, "stdout"), (2, "stderr")):
                handle = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(handle, number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            sys.argv = ["bench", *words]
            before()
            try:
                main(words, prog_name="bench")
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0
            os.write(facts, json.dumps(after()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self._begun
        texts = [(self._folder / name) for name in ("stdout", "stderr", "facts")]
        out, err, facts = (path.read_text(errors="replace") if path.exists() else "" for path in texts)
        shutil.rmtree(self._folder)
        return Ended(os.waitstatus_to_exitcode(status), out, err, seconds, json.loads(facts or "{}"))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def checkpoint_always() -> None:
    """Save a checkpoint at each evaluation, however short the trial, and decode in small chunks."""
    trial.CHECKPOINT_SECONDS = 0.0
    preparing._CHUNK_IMAGES = 2


@dataclass(frozen=True)
class Command:
    """A command on a folder of its own. words: given the folder. outputs: what must be equal however it came to be."""

    name: str
    words: Callable[[Path], list[str]]
    outputs: Callable[[Path], dict[str, Any]]
    set_up: Callable[[Path], None] = lambda folder: None


def scenario_file(folder: Path, of: str = "digits-7-3", *, points: int = 4, batch: int = 64) -> Path:
    """Write a shipped scenario of digits in one epoch, as tiny."""
    text = (shipped_folder("scenarios") / f"{of}.toml").read_text().replace(of, "tiny")
    for name, value in (("epochs", 1), ("points", points), ("batch_size", batch)):
        text = re.sub(rf"(?m)^{name} = \d+", f"{name} = {value}", text)
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def records(folder: Path) -> dict[str, Any]:
    """Return every learned and counted field of every record below a folder, and its status."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("trial.json")):
        lines = (path.parent / "evals.jsonl").read_text().splitlines()
        found[str(path.parent.relative_to(folder))] = [
            _learned(json.loads(path.read_text())),
            [_learned(json.loads(line)) for line in lines],
        ]
    return found


def leftovers(folder: Path) -> list[str]:
    """Return temporary files, locks and checkpoints: a command that has ended leaves none."""
    names = ("*.part*", "*.lock", "*.damaged", "*.checkpoint*")
    found = [str(path.relative_to(folder)) for name in names for path in folder.rglob(name)]
    return found + [str(path) for path in folder.glob("cache/checkpoints/*")]


def _training(command: str, folder: Path, *more: str) -> list[str]:
    where = [
        "--results",
        str(folder / "results"),
        "--cache",
        str(folder / "cache"),
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    return [command, "--scenario", str(folder / "tiny.toml"), "--seeds", "0", *where, *more]


def _images(folder: Path) -> None:
    class_folders(folder / "tree", ("ant", "bee", "cat"), each=6)


def _old_and_new(folder: Path) -> None:
    class_folders(folder / "old", ("ant", "bee"), each=10)
    class_folders(folder / "new", ("bee", "cat"), each=10, first=100)


def _prepared(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("data/prepared/*/*")):
        if path.name != "done.jsonl":  # one line a chunk, in any order
            found[path.name] = path.read_bytes().hex()[-4000:]
    return found


def _updated(folder: Path) -> dict[str, Any]:
    model = (folder / "up" / "model.safetensors").read_bytes().hex()
    return {**records(folder / "up"), "model": model, "bases": records(folder / "cache" / "bases")}


def _ran(folder: Path) -> dict[str, Any]:
    return {**records(folder / "results"), "bases": records(folder / "cache" / "bases")}


def _sizes(folder: Path) -> dict[str, Any]:
    return {path.name: path.stat().st_size > 0 for path in sorted(folder.rglob("*")) if path.is_file()}


def _frontier(folder: Path) -> dict[str, Any]:
    return {**_ran(folder), "drawn": _sizes(folder / "reports")}


TRIALS = Command(
    "trials", lambda at: _training("run", at, "--strategy", "scratch"), _ran, lambda at: void(scenario_file(at))
)
BASES = Command(
    "base models", lambda at: _training("run", at, "--strategy", "naive"), _ran, lambda at: void(scenario_file(at))
)
CHAINS = Command(
    "chains",
    lambda at: _training("run", at, "--strategy", "naive"),
    _ran,
    lambda at: void(scenario_file(at, "digits-4-2-2-2", points=2)),
)
PREPARATIONS = Command(
    "preparations",
    lambda at: [
        *("data", "prepare", "--folder", str(at / "tree"), "--size", "8"),
        *("--data-root", str(at / "data"), "--workers", "1"),
    ],
    _prepared,
    _images,
)
UPDATES = Command(
    "updates",
    lambda at: [
        *("update", "--old", str(at / "old"), "--new", str(at / "new"), "--output", str(at / "up")),
        *("--image-size", "8", "--epochs", "2", "--batch-size", "4", "--architecture", "resnet8-narrow"),
        *("--only", "naive", "--seeds", "0", "--device", "cpu", "--threads", "1"),
        *("--cache", str(at / "cache"), "--data-root", str(at / "data")),
    ],
    _updated,
    _old_and_new,
)
FRONTIERS = Command(
    "frontiers",
    lambda at: _training(
        "frontier", at, "--strategy", "scratch", "--horizons", "1,0.5", "--reports", str(at / "reports")
    ),
    _frontier,
    lambda at: void(scenario_file(at)),
)
REPORTS = Command(
    "reports",
    lambda at: [
        *("report", "--results", str(at / "results"), "--reports", str(at / "reports")),
        *("--formats", "svg", "--width", "column"),
    ],
    lambda at: _sizes(at / "reports"),
    lambda at: made_up(at / "results"),
)
COLLECTIONS = Command(
    "collections",
    lambda at: ["collect", "--results", str(at / "results")],
    lambda at: _sizes(at / "results"),
    lambda at: made_up(at / "results"),
)


def made_up(results: Path) -> None:
    """Write two seeds of two strategies, as this version of bench does."""
    for strategy, gain in (("scratch", 0.0), ("naive", 0.02)):
        for seed in (0, 1):
            accuracies = [round(0.2 * place + gain + seed / 100, 4) for place in (1, 2, 3, 4)]
            finished(results, accuracies, strategy=strategy, seed=seed, schema_version=SCHEMA_VERSION)


def void(_: object) -> None:
    """Return nothing."""
