"""Showing trials elsewhere while they train: TensorBoard, Weights & Biases, MLflow. Off the clock, and never to their harm."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from bench.errors import BenchError
from bench.execution.listener import Listener
from bench.extras import extra_package
from bench.records.schema import EvalRow, TrialRecord


class Sink(Protocol):
    """Is told of each trial's evaluations, by a label such as "naive seed 0". Several trials may be in progress at a time."""

    def began(self, label: str) -> None: ...
    def evaluated(self, label: str, step: int, values: dict[str, float]) -> None: ...
    def ended(self, label: str) -> None: ...


class TensorBoard:
    """Event files, by torch's own writer, in a folder for each trial."""

    def __init__(self, folder: Path, scenario: str) -> None:
        self._writer = extra_package(("torch.utils.tensorboard",), "tensorboard", "--log tensorboard").SummaryWriter
        self._folder = folder / "tensorboard" / scenario
        self._open: dict[str, Any] = {}

    def began(self, label: str) -> None:
        self._open[label] = self._writer(str(self._folder / label))

    def evaluated(self, label: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._open[label].add_scalar(name, value, step)
        self._open[label].flush()

    def ended(self, label: str) -> None:
        self._open.pop(label).close()


class WeightsAndBiases:
    """A run for each trial, in the group of its scenario. Offline, unless the variable WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, scenario: str) -> None:
        self._wandb = extra_package(("wandb",), "wandb", "--log wandb")
        self._folder, self._scenario = folder, scenario
        self._open: dict[str, Any] = {}

    def began(self, label: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open[label] = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bench"),
            group=self._scenario,
            name=label,
            dir=str(self._folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            reinit="create_new",
            settings=self._wandb.Settings(silent=True),
        )

    def evaluated(self, label: str, step: int, values: dict[str, float]) -> None:
        self._open[label].log(values, step=step)

    def ended(self, label: str) -> None:
        self._open.pop(label).finish()


class MLflow:
    """A run for each trial, in the experiment of its scenario. In local files, unless MLFLOW_TRACKING_URI says otherwise."""

    def __init__(self, folder: Path, scenario: str) -> None:
        extra_package(("mlflow",), "mlflow", "--log mlflow")
        self._tracking, self._entities = (
            importlib.import_module(f"mlflow.{name}") for name in ("tracking", "entities")
        )
        self._place = os.environ.get("MLFLOW_TRACKING_URI")
        if self._place is None:
            self._place = (folder / "mlflow").absolute().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 refuses plain files otherwise
        self._scenario = scenario
        self._client: Any = None
        self._open: dict[str, str] = {}

    def began(self, label: str) -> None:
        if self._client is None:
            self._client = self._tracking.MlflowClient(self._place)
        known = self._client.get_experiment_by_name(self._scenario)
        number = known.experiment_id if known else self._client.create_experiment(self._scenario)
        self._open[label] = self._client.create_run(number, run_name=label).info.run_id

    def evaluated(self, label: str, step: int, values: dict[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._open[label], metrics=metrics)

    def ended(self, label: str) -> None:
        self._client.set_terminated(self._open.pop(label))


SINKS: dict[str, Callable[[Path, str], Sink]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def open_sinks(names: Sequence[str], folder: Path, scenario: str) -> dict[str, Sink]:
    """Return sinks by name; they write to `folder`. Raises BenchError for an unknown one, and for a package that is missing."""
    unknown = next((name for name in names if name not in SINKS), None)
    if unknown is not None:
        raise BenchError(f"--log {unknown}: unknown, expected one of {', '.join(SINKS)}. Choose one of these.")
    return {name: SINKS[name](folder, scenario) for name in names}


@contextmanager
def logging_to(sinks: dict[str, Sink], listener: Listener, tell: Callable[[str], object]) -> Iterator[Listener]:
    """Yield a listener that tells the sinks, too. A sink that fails is told nothing more, and `tell` is given a line, once."""
    logged = _Logged(sinks, listener, tell)
    try:
        yield logged
    finally:
        logged.close()


class _Logged:
    """Listeners are told while the trial's clock counts neither training nor evaluating, only "io"."""

    def __init__(self, sinks: dict[str, Sink], listener: Listener, tell: Callable[[str], object]) -> None:
        self._sinks = dict(sinks)
        self._listener = listener
        self._tell = tell
        self._open: dict[str, None] = {}

    def planned(self, asked: int, due: int, total_steps: int) -> None:
        self._listener.planned(asked, due, total_steps)

    def began(self, label: str, total_steps: int, done_steps: int) -> None:
        self._listener.began(label, total_steps, done_steps)
        self._open[label] = None
        self._each(lambda sink: sink.began(label))

    def evaluated(self, label: str, row: EvalRow, total_steps: int) -> None:
        self._listener.evaluated(label, row, total_steps)
        values = {name: float(value) for name, value in row.model_dump(exclude={"step"}).items() if value is not None}
        self._each(lambda sink: sink.evaluated(label, row.step, values))

    def ended(self, label: str, record: TrialRecord | None) -> None:
        self._listener.ended(label, record)
        if label in self._open:
            del self._open[label]
            self._each(lambda sink: sink.ended(label))

    def close(self) -> None:
        """End what was begun, after an interruption."""
        for label in list(self._open):
            del self._open[label]
            self._each(lambda sink, label=label: sink.ended(label))

    def _each(self, action: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                action(sink)
            except (Exception, SystemExit) as cause:  # whatever it is, the trial goes on
                del self._sinks[name]
                said = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
                self._tell(
                    f"--log {name}: failed ({said}) and gets nothing more; the trials go on, and their records are whole"
                )
